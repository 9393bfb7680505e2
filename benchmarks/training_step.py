"""Compare a training step of the sweep kernel with a plain PyTorch loop, and with a matrix product.

First, the script checks in float64 that both give the same parameters. Then they alternate in separate processes with
one thread, because they leave memory allocators in different states: the kernel runs in a worker of a sweep, the plain
loop in an ordinary process. Values are medians in GFLOP/s of the convolutions (three forward passes, without the
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
from tracked.obvious import standardized_data, train

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
NOT_KEPT = "kernel, ordinary process"
NETS: dict[str, Callable[..., nn.Module]] = {
    "plain": ammup.cnn,
    "residual": partial(ammup.resnet, branch=2),
    "batch norm": partial(ammup.resnet, branch=2, batchnorm=True),
    "dropout": partial(ammup.resnet, branch=2, dropout=0.2),
    "GELU": partial(ammup.cnn, activation="gelu"),
    "zeros": partial(ammup.cnn, padding="zero"),
    "1D": partial(ammup.cnn, dims=1, kernel=9),  # as many weights as 3×3, on the flattened image
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
    """Check that five steps in float64 on the same minibatches give the same parameters.

    Dropout is excluded (the tests cover it): a DataLoader draws from the generator of the masks.
    """
    data = ammup.load_data("synthetic", image_size=16, train=BATCH * 5, validation=10)
    compared = [net for net in NETS if net != "dropout"]
    for net in compared:
        reference = build(net, 16, 0).double()
        feed = Feed(data, batch_size=BATCH, device="cpu", dtype=torch.float64)
        order = torch.randperm(len(data.train_images), generator=minibatch_stream())
        train(reference, standardized_data(data, torch.float64), lr=0.1, steps=5, batch=BATCH, order=order)
        for trainer in (LoopTrainer, StackedTrainer):
            (run,) = trainer(partial(build, net, 16), feed, Training(dtype="float64")).train([0.1], 0, steps=5)
            for name, value in reference.state_dict().items():
                torch.testing.assert_close(run.weights[name].contiguous(), value, rtol=1e-10, atol=1e-12)
    print(f"five steps in float64 give the same parameters to 1e-10, loop and stacked: {', '.join(compared)}")


def minibatch_stream() -> torch.Generator:
    from ammup.models.streams import random_stream

    return random_stream("minibatches", 0, 0)


@cache
def _plain_loop(net: str, width: int, side: int, steps: int) -> Callable[[int], None]:
    data = ammup.load_data("synthetic", image_size=side, train=BATCH * steps, validation=10)
    model, images = build(net, width, 0), standardized_data(data)
    return lambda steps: train(model, images, lr=0.01, steps=steps, batch=BATCH)


@cache
def _kernel(net: str, width: int, side: int, steps: int, dtype: str) -> LoopTrainer:
    data = ammup.load_data("synthetic", image_size=side, train=BATCH * steps, validation=10)
    feed = Feed(data, batch_size=BATCH, device="cpu", dtype=DTYPES[dtype])
    return LoopTrainer(partial(build, net, width), feed, Training(dtype=dtype))


def time_plain_loop(net: str, width: int, side: int, steps: int) -> float:
    """Seconds of a step of the plain loop, after one warm-up step."""
    loop = _plain_loop(net, width, side, steps)
    loop(1)
    start = time.perf_counter()
    loop(steps)
    return (time.perf_counter() - start) / steps


def time_kernel(net: str, width: int, side: int, steps: int, dtype: str, kept: bool) -> float:
    """Seconds of a step of the kernel; ``kept`` makes the allocator keep freed memory in the process."""
    trainer = _kernel(net, width, side, steps, dtype)
    with freed_memory_kept() if kept else nullcontext():
        trainer.train([0.01], 0, steps=1)
        start = time.perf_counter()
        trainer.train([0.01], 0, steps=steps)
        return (time.perf_counter() - start) / steps


def share_of_convolutions(net: str, width: int, side: int, steps: int, dtype: str) -> float:
    """Fraction of the time of a step in torch's convolution kernels, which bounds the possible gain."""
    trainer = _kernel(net, width, side, steps, dtype)
    with freed_memory_kept(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        trainer.train([0.01], 0, steps=steps)
    spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    kernels = ("aten::mkldnn_convolution", "aten::convolution_backward")
    return sum(spent.get(kernel, 0.0) for kernel in kernels) / sum(spent.values())


def product_peaks() -> dict[str, float]:
    """GFLOP/s of the fastest matrix product: torch.mm (MKL or OpenBLAS in float32) and a 1×1 convolution (oneDNN)."""
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
    """Measure, print and return all variants of all nets of one shape."""
    steps = 3 if width == 64 else 20
    shape = (width, side, steps)
    cells: dict[tuple[str, str], Callable[[], float]] = {}
    for net in NETS:
        cells[net, "plain loop"] = lambda net=net: plain.submit(time_plain_loop, net, *shape).result()
        for dtype in ("float32", "bfloat16"):
            cells[net, f"kernel, {dtype}"] = lambda net=net, dtype=dtype: worker.submit(
                time_kernel, net, *shape, dtype, True
            ).result()
    # Not in the worker, whose allocator continues to use the memory that it has kept.
    cells["plain", NOT_KEPT] = lambda: plain.submit(time_kernel, "plain", *shape, "float32", False).result()
    measured: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    peaks: dict[str, list[float]] = {}
    for turn in range(turns + 1):
        for cell, timed in cells.items():
            rate = flops(cell[0], width, side) / timed() / 1e9
            if turn:  # the first turn warms up
                measured[cell].append(rate)
        for name, rate in worker.submit(product_peaks).result().items():
            peaks.setdefault(name, []).append(rate)
    medians = {cell: statistics.median(rates) for cell, rates in measured.items()}
    print(f"\nC = {width}, {side}×{side} images, {DEPTH} convolutions, batch {BATCH}, one thread; GFLOP/s")
    rows: list[dict[str, object]] = []
    for name, rates in peaks.items():
        print(f"  {name:30} {statistics.median(rates):6.0f}")
        rows.append({"C": width, "H": side, "variant": name, "gflops": statistics.median(rates)})
    for (net, name), rate in medians.items():
        ratio, of_plain = rate / medians[net, "plain loop"], rate / medians["plain", name]
        share = float("nan")
        if name not in ("plain loop", NOT_KEPT):
            share = worker.submit(share_of_convolutions, net, *shape, name.removeprefix("kernel, ")).result()
        floor = "" if share != share else f"   {share:4.0%} in convolution kernels"
        print(f"  {net:12} {name:24} {rate:5.0f}   {ratio:4.2f} × plain loop   {of_plain:4.0%} of plain net{floor}")
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
