"""Compare a complete sweep in single-threaded processes on all cores with a plain loop with torch's default threads.

The two alternate. The time of the sweep is printed with the start of its workers (importing torch), which is negligible
in a sweep of minutes, and without it: the seconds of the cells divided by the number of workers. Values are medians.

    python benchmarks/sweep.py [--turns 3] [--channels 16]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from tracked.obvious import standardized_data, train
from training_step import BATCH, build

import ammup
from ammup.experiments.experiment import Experiment
from ammup.experiments.pool import usable_cores

LRS = [0.001 * 1.5**i for i in range(12)]
SHAPES = ((16, 16, 75), (64, 32, 4))  # channels, side of the images, minibatches of a cell


def experiment(width: int, side: int, steps: int) -> Experiment:
    return Experiment.from_toml(
        f"""
        name = "sweep of {len(LRS)} learning rates"
        model = {{factory = "cnn", arguments = {{width = {width}}}}}
        data = {{source = "synthetic", image_size = {side}, train = {steps * BATCH}, validation = {BATCH}}}
        grid = {{depths = [10], lrs = {LRS}}}
        strategy = "loop"
        """.replace("\n        ", "\n")
    )


def time_sweep(width: int, side: int, steps: int) -> tuple[float, float]:
    """(Total seconds, seconds without the start of the workers)."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        runs = ammup.run_sweep(experiment(width, side, steps), store=Path(folder) / "runs.db", progress=False)
        return time.perf_counter() - start, float(runs["seconds"].sum()) / usable_cores()


@torch.no_grad()
def _validate(model: nn.Module, images: torch.Tensor) -> None:
    model.eval()
    model(images)


def time_loop(width: int, side: int, steps: int) -> float:
    data = ammup.load_data("synthetic", image_size=side, train=steps * BATCH, validation=BATCH)
    start = time.perf_counter()
    for lr in LRS:
        model, images = build("plain", width, 0), standardized_data(data)
        train(model, images, lr=lr, steps=steps, batch=BATCH)
        _validate(model, images.tensors[0][:BATCH])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--channels", type=int, choices=[shape[0] for shape in SHAPES], help="only this shape")
    arguments = parser.parse_args()
    print(f"{usable_cores()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads by default")
    for shape in (shape for shape in SHAPES if arguments.channels in (None, shape[0])):
        turns = [(time_loop(*shape), *time_sweep(*shape)) for _ in range(arguments.turns)]
        loop, sweep, cells = (statistics.median(times) for times in zip(*turns, strict=True))
        print(
            f"C = {shape[0]}, {shape[1]}×{shape[1]}, {len(LRS)} cells of {shape[2]} minibatches: plain loop "
            f"{loop:.1f} s, ammup sweep {sweep:.1f} s ({loop / sweep:.2f} times as fast), {cells:.1f} s without the "
            f"start of the workers ({loop / cells:.2f} ×)"
        )


if __name__ == "__main__":
    main()
