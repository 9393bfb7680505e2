"""A training step of the sweep kernel against the loop anybody would write, and against the machine's matrix product.

First both are shown to end with the same parameters (float64). Then they take turns, each in a process of its own with
one thread, since they leave memory allocators in different states: ours in a worker of a sweep, the obvious loop in a
plain process. A cell is the median over the turns, in GFLOP/s of the convolutions (three forward passes, without the
gradient of the images).

    python benchmarks/training_step.py [--turns 7] [--channels 64] [--json FILE]
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import cache, partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from tracked.obvious import standardized, train

import ammup
from ammup.data.minibatches import Feed
from ammup.experiments.pool import LocalPool
from ammup.training.allocator import freed_memory_kept
from ammup.training.loop import LoopTrainer
from ammup.training.precision import DTYPES
from ammup.training.runs import Training
from ammup.training.stacked import StackedTrainer

BATCH, DEPTH = 128, 10
SHAPES = ((8, 8), (16, 16), (64, 32))  # channels, side of the images
NOT_KEPT = "ours, in a plain process"
NETS: dict[str, Callable[..., nn.Module]] = {
    "plain": ammup.cnn,
    "residual": partial(ammup.resnet, branch=2),
    "batch norm": partial(ammup.resnet, branch=2, batchnorm=True),
    "dropout": partial(ammup.resnet, branch=2, dropout=0.2),
    "GELU": partial(ammup.cnn, activation="gelu"),
    "zeros": partial(ammup.cnn, padding="zero"),
    "1D": partial(ammup.cnn, dims=1, kernel=9),  # as many taps, on the raster sequence
}
RESIDUAL = ("residual", "batch norm", "dropout")


def convolutions(net: str) -> int:
    return DEPTH + 1 if net in RESIDUAL else DEPTH  # the stem; DEPTH counts a residual net's branch layers


def build(net: str, width: int, seed: int) -> nn.Module:
    return NETS[net](DEPTH // 2 if net in RESIDUAL else DEPTH, width=width, seed=seed)


def flops(net: str, width: int, side: int) -> float:
    first, rest = 3 * width, (convolutions(net) - 1) * width**2
    return BATCH * 2 * 9 * side**2 * (2 * first + 3 * rest)


def check_equality() -> None:
    """Same minibatches, float64, five steps: the same parameters.

    Dropout is left to the tests: a DataLoader draws from the generator that the masks come from.
    """
    data = ammup.load_data("synthetic", image_size=16, train=BATCH * 5, validation=10)
    compared = [net for net in NETS if net != "dropout"]
    for net in compared:
        obvious = build(net, 16, 0).double()
        feed = Feed(data, batch_size=BATCH, device="cpu", dtype=torch.float64)
        order = torch.randperm(len(data.train_images), generator=ammup_stream())
        train(obvious, standardized(data, torch.float64), lr=0.1, steps=5, batch=BATCH, order=order)
        for trainer in (LoopTrainer, StackedTrainer):
            (ours,) = trainer(partial(build, net, 16), feed, Training(dtype="float64")).train([0.1], 0, steps=5)
            for name, value in obvious.state_dict().items():
                torch.testing.assert_close(ours.weights[name].contiguous(), value, rtol=1e-10, atol=1e-12)
    print(f"five steps in float64 give the same parameters to 1e-10, loop and stacked: {', '.join(compared)}")


def ammup_stream() -> torch.Generator:
    from ammup.models.streams import random_stream

    return random_stream("minibatches", 0, 0)


@cache
def _obvious(net: str, width: int, side: int, steps: int) -> Callable[[int], None]:
    data = ammup.load_data("synthetic", image_size=side, train=BATCH * steps, validation=10)
    model, images = build(net, width, 0), standardized(data)
    return lambda steps: train(model, images, lr=0.01, steps=steps, batch=BATCH)


@cache
def _ours(net: str, width: int, side: int, steps: int, dtype: str) -> LoopTrainer:
    data = ammup.load_data("synthetic", image_size=side, train=BATCH * steps, validation=10)
    feed = Feed(data, batch_size=BATCH, device="cpu", dtype=DTYPES[dtype])
    return LoopTrainer(partial(build, net, width), feed, Training(dtype=dtype))


def time_obvious(net: str, width: int, side: int, steps: int) -> float:
    """Seconds of a step, after one to warm up."""
    loop = _obvious(net, width, side, steps)
    loop(1)
    start = time.perf_counter()
    loop(steps)
    return (time.perf_counter() - start) / steps


def time_ours(net: str, width: int, side: int, steps: int, dtype: str, kept: bool) -> float:
    """The same of ours, with and without keeping freed memory in the process."""
    trainer = _ours(net, width, side, steps, dtype)
    with freed_memory_kept() if kept else nullcontext():
        trainer.train([0.01], 0, steps=1)
        start = time.perf_counter()
        trainer.train([0.01], 0, steps=steps)
        return (time.perf_counter() - start) / steps


def share_of_convolutions(net: str, width: int, side: int, steps: int, dtype: str) -> float:
    """Share of a step's time that is spent in torch's convolution kernels: the floor of what we can do around them."""
    trainer = _ours(net, width, side, steps, dtype)
    with freed_memory_kept(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        trainer.train([0.01], 0, steps=steps)
    spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    kernels = ("aten::mkldnn_convolution", "aten::convolution_backward")
    return sum(spent.get(kernel, 0.0) for kernel in kernels) / sum(spent.values())


def product_peaks() -> dict[str, float]:
    """GFLOP/s of the best matrix product: torch.mm (MKL or OpenBLAS in fp32) and a 1×1 convolution (oneDNN)."""
    best: dict[str, float] = {}
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        for n in (512, 1024, 2048):
            a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
            image = torch.randn(1, 1024, 32, n // 32).to(dtype).to(memory_format=torch.channels_last)
            weight = torch.randn(1024, 1024, 1, 1).to(dtype).to(memory_format=torch.channels_last)
            products = {
                f"matrix product, {name}": (partial(torch.mm, a, b), 2 * n**3),
                f"1×1 convolution, {name}": (partial(F.conv2d, image, weight), 2 * 32 * (n // 32) * 1024**2),
            }
            for key, (product, operations) in products.items():
                start = time.perf_counter()
                product()
                best[key] = max(best.get(key, 0.0), operations / (time.perf_counter() - start) / 1e9)
    return best


def measure(
    width: int, side: int, *, turns: int, plain: ProcessPoolExecutor, worker: LocalPool
) -> list[dict[str, object]]:
    """All variants of all nets of one shape, printed and returned."""
    steps = 3 if width == 64 else 20
    shape = (width, side, steps)
    cells: dict[tuple[str, str], Callable[[], float]] = {}
    for net in NETS:
        cells[net, "obvious loop"] = lambda net=net: plain.submit(time_obvious, net, *shape).result()
        for dtype in ("float32", "bfloat16"):
            cells[net, f"ours, {dtype}"] = lambda net=net, dtype=dtype: worker.submit(
                time_ours, net, *shape, dtype, True
            ).result()
    # Not in the worker: an allocator that has kept memory once goes on with what it has.
    cells["plain", NOT_KEPT] = lambda: plain.submit(time_ours, "plain", *shape, "float32", False).result()
    seen: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    peaks: dict[str, list[float]] = {}
    for turn in range(turns + 1):
        for cell, timed in cells.items():
            rate = flops(cell[0], width, side) / timed() / 1e9
            if turn:  # the first one warms up
                seen[cell].append(rate)
        for name, rate in worker.submit(product_peaks).result().items():
            peaks.setdefault(name, []).append(rate)
    medians = {cell: statistics.median(rates) for cell, rates in seen.items()}
    print(f"\nC = {width}, {side}×{side} images, {DEPTH} convolutions, batch {BATCH}, one thread; GFLOP/s")
    rows: list[dict[str, object]] = []
    for name, rates in peaks.items():
        print(f"  {name:30} {statistics.median(rates):6.0f}")
        rows.append({"C": width, "H": side, "variant": name, "gflops": statistics.median(rates)})
    for (net, name), rate in medians.items():
        ratio, of_plain = rate / medians[net, "obvious loop"], rate / medians["plain", name]
        share = float("nan")
        if name not in ("obvious loop", NOT_KEPT):
            share = worker.submit(share_of_convolutions, net, *shape, name.removeprefix("ours, ")).result()
        floor = "" if share != share else f"   {share:4.0%} of it in convolution kernels"
        print(f"  {net:12} {name:24} {rate:5.0f}   {ratio:4.2f} × obvious   {of_plain:4.0%} of plain{floor}")
        rows.append({"C": width, "H": side, "net": net, "variant": name, "gflops": rate, "times_obvious": ratio})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--channels", type=int, choices=[width for width, _ in SHAPES], help="only this shape")
    parser.add_argument("--json", type=argparse.FileType("w"))
    arguments = parser.parse_args()
    shapes = [shape for shape in SHAPES if arguments.channels in (None, shape[0])]
    check_equality()
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as plain,
        LocalPool(1) as worker,
    ):
        rows = [row for shape in shapes for row in measure(*shape, turns=arguments.turns, plain=plain, worker=worker)]
    if arguments.json:
        about = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "rows": rows}
        json.dump(about, arguments.json, indent=1)


if __name__ == "__main__":
    sys.exit(main())
