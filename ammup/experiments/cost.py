"""Estimate the cost of a sweep: counted operations, and hours from measured steps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from ammup.experiments.block import WorkerContext
from ammup.experiments.experiment import Cell, Experiment
from ammup.training.runs import Training

# A backward pass costs two forward passes, except for the gradient of the images, which is not computed.
PASSES = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of the missing cells of an experiment.

    Attributes:
        table: one row for each depth: depth, missing cells, flops of all of them, seconds of one of them.
        workers: number of simultaneous workers.
        strategy: the timed strategy.
        searched: whether an adaptive search will leave out many of these cells.
    """

    table: pd.DataFrame
    workers: int
    strategy: str
    searched: bool

    @property
    def flops(self) -> float:
        """Floating-point operations of all missing cells if none diverges."""
        return float(self.table["flops"].sum())

    @property
    def hours(self) -> float:
        """Wall time if no cell diverges."""
        return float((self.table["cells"] * self.table["seconds"]).sum() / self.workers / 3600)


def estimate_cost(experiment: Experiment, missing: Iterable[Cell], *, workers: int, device: str | None) -> Cost:
    """Time some training steps at each depth in this process, and count a step's operations.

    A worker is up to a quarter faster at large images, because it reuses freed memory (`ammup.training.allocator`).
    """
    cells_missing = list(missing)
    counts, places = Counter(cell.depth for cell in cells_missing), {(cell.depth, cell.seed) for cell in cells_missing}
    context = WorkerContext(experiment, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if workers > 1 else threads)
    try:
        strategy = experiment.strategy
        if strategy == "auto":
            strategy = context.choice(min(experiment.grid.depths)).strategy
        rows = [
            {
                "depth": depth,
                "cells": cells,
                "flops": cells * _flops(context, depth, experiment.training),
                "seconds": context.seconds_a_cell(depth, strategy),
            }
            for depth, cells in sorted(counts.items())
        ]
    finally:
        torch.set_num_threads(threads)
    columns = ["depth", "cells", "flops", "seconds"]
    searched = experiment.search == "adaptive"
    if searched:  # a job is a depth and a seed
        workers = max(1, min(workers, len(places)))
    return Cost(table=pd.DataFrame(rows, columns=columns), workers=workers, strategy=strategy, searched=searched)


def _flops(context: WorkerContext, depth: int, training: Training) -> float:
    """Operations of one cell: three forward passes for each training image and one for each validation image."""
    model = context.build(depth)(context.experiment.grid.seed_numbers[0]).to(context.feed.dtype).eval()
    images, _ = next(context.feed.training_batches(0, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images[:2].contiguous())
    forward = float(counter.get_total_flops()) / len(images[:2])
    return forward * (PASSES * training.epochs * len(context.feed.train) + len(context.feed.val))
