"""Estimate the cost of a sweep: the number of floating-point operations, and the time from timed training steps."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from ammup.experiments.block import Block, WorkerContext, translate_errors, worker_context
from ammup.experiments.experiment import Cell, Experiment
from ammup.experiments.measuring import ShortRunJob
from ammup.experiments.pool import single_thread
from ammup.measurement.depth_law import PASSES_PER_STEP, STEPS_PER_MEASUREMENT
from ammup.training.runs import Training

COLUMNS = ["depth", "cells", "flops", "seconds"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of the missing cells and short runs of an experiment.

    Attributes:
        table: one row for each depth: depth, number of missing cells, flops of all these cells, seconds of one cell.
        workers: number of workers that run simultaneously.
        strategy: the strategy that was timed.
        searched: whether an adaptive search will leave out many of these cells.
        short_run_seconds: seconds of all missing short runs, one after another.
        core_share: the share of a core that was available while steps were timed; below 1, other programs used it.
    """

    table: pd.DataFrame
    workers: int
    strategy: str
    searched: bool
    short_run_seconds: float = 0.0
    core_share: float = 1.0

    @property
    def flops(self) -> float:
        """Number of floating-point operations of all missing cells, if none diverges."""
        return float(self.table["flops"].sum())

    @property
    def seconds(self) -> float:
        """Wall-clock time, if no cell diverges and the load of the machine does not change."""
        cells = float((self.table["cells"] * self.table["seconds"]).sum())
        return (cells + self.short_run_seconds) / self.workers

    @property
    def hours(self) -> float:
        """The same time in hours."""
        return self.seconds / 3600


def estimate_cost(
    experiment: Experiment,
    missing: Iterable[Cell],
    *,
    workers: int,
    device: str | None,
    strategy: str | None = None,
    jobs: Sequence[ShortRunJob] = (),
) -> Cost:
    """Estimate the cost of the missing cells by timing a few training steps at each depth in this process.

    With large images the workers of a sweep are up to 25 % faster than estimated, because they reuse freed memory
    (`ammup.training.allocator`).

    Args:
        experiment: the sweep.
        missing: the cells that are not yet stored.
        workers: number of workers of the sweep.
        device: torch device; None uses a GPU if there is one.
        strategy: "loop" or "stacked"; "auto" chooses the faster one, and None uses the setting of the experiment.
        jobs: the short runs that are not yet stored.
    """
    cells = list(missing)
    strategy = strategy or experiment.strategy
    clock = _Clock()
    rows: list[dict[str, float]] = []
    short_run_seconds = 0.0
    if cells or jobs:
        context = worker_context(experiment.to_toml(), device)
        with single_thread(), clock.running():
            if strategy == "auto":
                strategy = context.choose_strategy(min(experiment.grid.depths)).strategy
            rows = _cell_rows(context, cells, strategy)
            short_run_seconds = _short_run_seconds(context, jobs)
    searched = experiment.search == "adaptive"
    if searched:  # a job of an adaptive search is one depth and seed
        workers = max(1, min(workers, len({(cell.depth, cell.seed) for cell in cells})))
    return Cost(
        table=pd.DataFrame(rows, columns=COLUMNS),
        workers=workers,
        strategy=strategy,
        searched=searched,
        short_run_seconds=short_run_seconds,
        core_share=clock.core_share,
    )


def _cell_rows(context: WorkerContext, cells: Sequence[Cell], strategy: str) -> list[dict[str, float]]:
    """The rows of :attr:`Cost.table`."""
    rows: list[dict[str, float]] = []
    for depth, count in sorted(Counter(cell.depth for cell in cells).items()):
        with translate_errors(_block(context, depth, strategy)):
            flops = count * _flops(context, depth, context.experiment.training)
            seconds = context.seconds_per_cell(depth, strategy)
        rows.append({"depth": depth, "cells": count, "flops": flops, "seconds": seconds})
    return rows


def _short_run_seconds(context: WorkerContext, jobs: Sequence[ShortRunJob]) -> float:
    """The seconds of the short runs, whose replicas are trained one after another."""
    steps: Counter[int] = Counter()
    for job in jobs:
        steps[job.depth] += max(job.steps) + 1 + STEPS_PER_MEASUREMENT * len(job.steps)
    seconds = 0.0
    for depth, count in sorted(steps.items()):
        with translate_errors(_block(context, depth, "loop")):
            seconds += count * context.seconds_per_step(depth, "loop")
    return seconds


def _block(context: WorkerContext, depth: int, strategy: str) -> Block:
    """The block of which a few steps are timed, for error messages."""
    grid = context.experiment.grid
    lrs = grid.learning_rates[:1]
    return Block(specification="", depth=depth, seed=grid.seed_numbers[0], lrs=lrs, strategy=strategy)


class _Clock:
    """Measures which share of a core was available."""

    def __init__(self) -> None:
        self.core_share = 1.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure this context."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        elapsed = time.perf_counter() - wall
        self.core_share = min(1.0, (time.process_time() - processor) / elapsed) if elapsed else 1.0


def _flops(context: WorkerContext, depth: int, training: Training) -> float:
    """Return the operations of one cell: three forward passes per training image, one per validation image."""
    model = context.build(depth)(context.experiment.grid.seed_numbers[0]).to(context.feed.dtype).eval()
    images, _ = next(context.feed.training_batches(0, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images[:2].contiguous())
    forward = float(counter.get_total_flops()) / len(images[:2])
    return forward * (PASSES_PER_STEP * training.epochs * len(context.feed.train) + len(context.feed.val))
