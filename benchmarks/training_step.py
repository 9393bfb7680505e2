"""A training step of the sweep kernel against the loop anybody would write, and against the machine's matrix product.

First both are shown to end with the same parameters (float64). Then, on one thread, all variants take turns in one
process; a cell is the median over the turns, in GFLOP/s of the convolutions (three forward passes, without the gradient
of the images).

    python benchmarks/training_step.py [--turns 7] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as the workers of a sweep have it; for every variant

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup.measurement.data import Data
from ammup.measurement.feed import Feed
from ammup.measurement.loop import LoopTrainer
from ammup.measurement.memory import freed_memory_kept
from ammup.measurement.replica import DTYPES, Training
from ammup.measurement.stacked import StackedTrainer

BATCH, DEPTH = 128, 10
SHAPES = ((8, 8), (16, 16), (64, 32))  # channels, side of the images
NETS: dict[str, Callable[..., nn.Module]] = {
    "plain": ammup.cnn,
    "residual": partial(ammup.resnet, branch=2),
    "batch norm": partial(ammup.resnet, branch=2, batchnorm=True),
}


def convolutions(net: str) -> int:
    return DEPTH if net == "plain" else DEPTH + 1  # the stem; DEPTH counts a residual net's branch layers


def build(net: str, width: int, seed: int) -> nn.Module:
    return NETS[net](DEPTH if net == "plain" else DEPTH // 2, width=width, seed=seed)


def flops(net: str, width: int, side: int) -> float:
    first, rest = 3 * width, (convolutions(net) - 1) * width**2
    return BATCH * 2 * 9 * side**2 * (2 * first + 3 * rest)


class ObviousLoop:
    """`Conv2d(padding_mode="circular")`, a DataLoader, torch.optim.SGD, and nothing else."""

    def __init__(self, net: str, width: int, data: Data, dtype: torch.dtype) -> None:
        self.model = build(net, width, 0).to(dtype)
        mean, deviation = data.standardization()
        images = (torch.tensor(data.train_images / 255.0) - torch.tensor(mean)) / torch.tensor(deviation)
        self.data = TensorDataset(images.permute(0, 3, 1, 2).contiguous().to(dtype), torch.tensor(data.train_labels))

    def train(self, lr: float, steps: int, order: torch.Tensor | None = None) -> None:
        """So many steps of SGD, in a random order where none is given."""
        sgd = torch.optim.SGD(self.model.parameters(), lr=lr)
        loader = DataLoader(self.data, batch_size=BATCH, shuffle=order is None, sampler=order)
        for _, (images, labels) in zip(range(steps), loader, strict=False):
            sgd.zero_grad()
            F.cross_entropy(self.model(images), labels).backward()
            sgd.step()


def check_equality() -> None:
    """Same minibatches, float64, five steps: the same parameters."""
    data = ammup.load_data("synthetic", image_size=16, train=BATCH * 5, validation=10)
    for net in NETS:
        obvious = ObviousLoop(net, 16, data, torch.float64)
        feed = Feed(data, batch_size=BATCH, device="cpu", dtype=torch.float64)
        order = torch.randperm(len(data.train_images), generator=ammup_stream())
        obvious.train(0.1, 5, order)
        for trainer in (LoopTrainer, StackedTrainer):
            (ours,) = trainer(partial(build, net, 16), feed, Training(dtype="float64")).train([0.1], 0, steps=5)
            for name, value in obvious.model.state_dict().items():
                torch.testing.assert_close(ours.weights[name].contiguous(), value, rtol=1e-10, atol=1e-12)
    print("five steps in float64 give the same parameters to 1e-10: plain, residual, batch norm; loop and stacked")


def ammup_stream() -> torch.Generator:
    from ammup.models.initialization import random_stream

    return random_stream("minibatches", 0, 0)


def variants(net: str, width: int, side: int, steps: int) -> dict[str, Callable[[], float]]:
    """Seconds of a step of each."""
    data = ammup.load_data("synthetic", image_size=side, train=BATCH * 8, validation=10)
    obvious = ObviousLoop(net, width, data, torch.float32)

    def time_obvious() -> float:
        start = time.perf_counter()
        obvious.train(0.01, steps)
        return (time.perf_counter() - start) / steps

    def time_ours(trainer: LoopTrainer) -> float:
        with freed_memory_kept():
            trainer.train([0.01], 0, steps=1)
            start = time.perf_counter()
            trainer.train([0.01], 0, steps=steps)
            return (time.perf_counter() - start) / steps

    found: dict[str, Callable[[], float]] = {"obvious loop": time_obvious}
    for dtype in ("float32", "bfloat16"):
        feed = Feed(data, batch_size=BATCH, device="cpu", dtype=DTYPES[dtype])
        trainer = LoopTrainer(partial(build, net, width), feed, Training(dtype=dtype))
        found[f"ours, {dtype}"] = partial(time_ours, trainer)
    return found


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=argparse.FileType("w"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    check_equality()
    rows = []
    for width, side in SHAPES:
        steps = 3 if width == 64 else 20
        cells = {(net, name): timed for net in NETS for name, timed in variants(net, width, side, steps).items()}
        seen: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
        peaks: dict[str, list[float]] = {}
        for turn in range(arguments.turns + 1):
            for cell, timed in cells.items():
                rate = flops(cell[0], width, side) / timed() / 1e9
                if turn:  # the first one warms up
                    seen[cell].append(rate)
            for name, rate in product_peaks().items():
                peaks.setdefault(name, []).append(rate)
        medians = {cell: statistics.median(rates) for cell, rates in seen.items()}
        print(f"\nC = {width}, {side}×{side} images, {DEPTH} convolutions, batch {BATCH}, one thread; GFLOP/s")
        for name, rates in peaks.items():
            print(f"  {name:30} {statistics.median(rates):6.0f}")
        for (net, name), rate in medians.items():
            ratio, of_plain = rate / medians[net, "obvious loop"], rate / medians["plain", name]
            print(f"  {net:12} {name:18} {rate:5.0f}   {ratio:4.2f} × obvious   {of_plain:4.0%} of plain")
            rows.append({"C": width, "H": side, "net": net, "variant": name, "gflops": rate, "times_obvious": ratio})
        rows += [{"C": width, "H": side, "variant": n, "gflops": statistics.median(r)} for n, r in peaks.items()]
    if arguments.json:
        about = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "rows": rows}
        json.dump(about, arguments.json, indent=1)


if __name__ == "__main__":
    sys.exit(main())
