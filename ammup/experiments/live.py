"""What a sweep shows while it runs: cells done, time left, and the best learning rate so far at each depth."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from types import TracebackType

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ammup.experiments.experiment import Experiment
from ammup.experiments.schema import LeftOut
from ammup.experiments.status import status_of
from ammup.training.runs import Run

CELL = ["depth", "lr", "seed"]


class Display:
    """A live table on standard error; silent where that is no terminal.

    Args:
        experiment: whose grid is run.
        stored: its runs so far.
        left_out: cells so far that searches were done with.
        show: whether to show anything at all.
    """

    def __init__(self, experiment: Experiment, stored: pd.DataFrame, left_out: pd.DataFrame, *, show: bool) -> None:
        self.experiment, self.stored, self.left_out = experiment, stored, left_out
        self.runs: list[dict[str, object]] = []
        self.others: list[dict[str, object]] = []
        self.seen = {cell for table in (stored, left_out) for cell in table[CELL].itertuples(index=False, name=None)}
        self.start, self.work = time.monotonic(), 0.0
        console = Console(stderr=True)
        visible = show and console.is_terminal
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=2) if visible else None

    def __enter__(self) -> "Display":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def add(self, runs: Sequence[Run], left_out: Sequence[LeftOut] = ()) -> None:
        """Count runs that have ended, and cells that are left out."""
        for cells, known in ((runs, self.runs), (left_out, self.others)):
            for cell in cells:
                place = (cell.depth, cell.lr, cell.seed)
                if place not in self.seen:  # a search trains again what is stored of its depth and seed
                    self.seen.add(place)
                    known.append(asdict(cell))
                    self.work += cell.depth

    def render(self) -> RenderableType:
        """The table, and a line with cells done, time and time left."""
        columns = [*CELL, "val_accuracy", "diverged"]
        new = pd.DataFrame(self.runs, columns=columns).astype(self.stored[columns].dtypes)
        others = pd.DataFrame([*self.left_out[CELL].to_dict("records"), *self.others], columns=CELL)
        status = status_of(self.experiment, pd.concat([self.stored[columns], new]), others)
        elapsed = time.monotonic() - self.start
        # A cell costs about as many seconds as it has layers.
        done = status["done"] + status["left_out"]
        left = float((status["depth"] * (status["total"] - done)).sum())
        eta = _hours(elapsed * left / self.work) if self.work else "?"
        line = f"{done.sum()} of {status['total'].sum()} cells, {_hours(elapsed)}, about {eta} to go"
        return Group(status_table(self.experiment.name, status), Text(line))


def status_table(name: str, status: pd.DataFrame) -> Table:
    """What :func:`ammup.experiments.status.status_of` found, one row for each depth."""
    searched = bool(status["left_out"].any())
    names = ("L", "cells", *(("left out",) if searched else ()), "diverged", "best lr so far", "val. accuracy")
    table = Table(*names, title=name, title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in status.to_dict("records"):
        best = ("", "") if np.isnan(row["best_lr"]) else (f"{row['best_lr']:.3g}", f"{row['val_accuracy']:.1%}")
        left_out = (str(row["left_out"]),) if searched else ()
        cells = f"{row['done'] + row['left_out']}/{row['total']}"
        table.add_row(str(row["depth"]), cells, *left_out, str(row["diverged"]), *best)
    return table


def _hours(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
