"""Estimate the cost of a sweep: the number of floating-point operations, and hours from timed training steps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from ammup.experiments.block import WorkerContext
from ammup.experiments.experiment import Cell, Experiment
from ammup.training.runs import Training

# A training step costs as much as three forward passes, because a backward pass costs as much as two. This ignores that
# the gradient with respect to the images is not computed.
PASSES_PER_STEP = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of the missing cells of an experiment.

    Attributes:
        table: one row for each depth: depth, number of missing cells, flops of all these cells, seconds of one cell.
        workers: number of workers that run simultaneously.
        strategy: the strategy that was timed.
        searched: whether an adaptive search will leave out many of these cells.
    """

    table: pd.DataFrame
    workers: int
    strategy: str
    searched: bool

    @property
    def flops(self) -> float:
        """Number of floating-point operations of all missing cells, if none diverges."""
        return float(self.table["flops"].sum())

    @property
    def hours(self) -> float:
        """Wall-clock time in hours, if no cell diverges."""
        return float((self.table["cells"] * self.table["seconds"]).sum() / self.workers / 3600)


def estimate_cost(experiment: Experiment, missing: Iterable[Cell], *, workers: int, device: str | None) -> Cost:
    """Estimate the cost of the missing cells by timing a few training steps at each depth in this process.

    With large images the workers of a sweep are up to 25 % faster than estimated, because they reuse freed memory
    (`ammup.training.allocator`).

    Args:
        experiment: the sweep.
        missing: the cells that are not yet stored.
        workers: number of workers of the sweep.
        device: torch device; None uses a GPU if there is one.
    """
    cells = list(missing)
    cells_at_depth = Counter(cell.depth for cell in cells)
    context = WorkerContext(experiment, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if workers > 1 else threads)
    try:
        strategy = experiment.strategy
        if strategy == "auto":
            strategy = context.choose_strategy(min(experiment.grid.depths)).strategy
        rows = [
            {
                "depth": depth,
                "cells": count,
                "flops": count * _flops(context, depth, experiment.training),
                "seconds": context.seconds_per_cell(depth, strategy),
            }
            for depth, count in sorted(cells_at_depth.items())
        ]
    finally:
        torch.set_num_threads(threads)
    columns = ["depth", "cells", "flops", "seconds"]
    searched = experiment.search == "adaptive"
    if searched:  # a job of an adaptive search is one depth and seed
        jobs = {(cell.depth, cell.seed) for cell in cells}
        workers = max(1, min(workers, len(jobs)))
    return Cost(table=pd.DataFrame(rows, columns=columns), workers=workers, strategy=strategy, searched=searched)


def _flops(context: WorkerContext, depth: int, training: Training) -> float:
    """Return the operations of one cell: three forward passes per training image, one per validation image."""
    model = context.build(depth)(context.experiment.grid.seed_numbers[0]).to(context.feed.dtype).eval()
    images, _ = next(context.feed.training_batches(0, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images[:2].contiguous())
    forward = float(counter.get_total_flops()) / len(images[:2])
    return forward * (PASSES_PER_STEP * training.epochs * len(context.feed.train) + len(context.feed.val))
