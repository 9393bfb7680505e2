"""The live display of a running sweep: cells done, time remaining, and the best learning rate so far at each depth."""

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

CELL_COLUMNS = ["depth", "lr", "seed"]


class Display:
    """A live table on standard error. Nothing is shown if standard error is not a terminal.

    Args:
        experiment: the experiment that is running.
        stored: its runs that were stored before.
        left_out: cells that adaptive searches left out before.
        show: False shows nothing.
    """

    def __init__(self, experiment: Experiment, stored: pd.DataFrame, left_out: pd.DataFrame, *, show: bool) -> None:
        self.experiment, self.stored, self.left_out = experiment, stored, left_out
        self.new_runs: list[dict[str, object]] = []
        self.new_left_out: list[dict[str, object]] = []
        self.counted = {
            cell for table in (stored, left_out) for cell in table[CELL_COLUMNS].itertuples(index=False, name=None)
        }
        self.start, self.layers_done = time.monotonic(), 0
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
        """Count finished runs and cells that were left out."""
        for cells, rows in ((runs, self.new_runs), (left_out, self.new_left_out)):
            for cell in cells:
                identity = (cell.depth, cell.lr, cell.seed)
                if identity not in self.counted:  # an adaptive search may train stored cells again
                    self.counted.add(identity)
                    rows.append(asdict(cell))
                    self.layers_done += cell.depth

    def render(self) -> RenderableType:
        """Render the table, and a line with the cells done, the elapsed time and the remaining time."""
        columns = [*CELL_COLUMNS, "val_accuracy", "diverged"]
        new_runs = pd.DataFrame(self.new_runs, columns=columns).astype(self.stored[columns].dtypes)
        runs = pd.concat([self.stored[columns], new_runs])
        left_out = [*self.left_out[CELL_COLUMNS].to_dict("records"), *self.new_left_out]
        status = status_of(self.experiment, runs, pd.DataFrame(left_out, columns=CELL_COLUMNS))
        elapsed = time.monotonic() - self.start
        done = status["done"] + status["left_out"]
        # The time of a cell is estimated as proportional to its depth.
        layers_left = float((status["depth"] * (status["total"] - done)).sum())
        remaining = _duration(elapsed * layers_left / self.layers_done) if self.layers_done else "?"
        cells = f"{done.sum()} of {status['total'].sum()} cells"
        line = f"{cells}, {_duration(elapsed)} elapsed, about {remaining} remaining"
        return Group(status_table(self.experiment.name, status), Text(line))


def status_table(name: str, status: pd.DataFrame) -> Table:
    """Format the result of :func:`ammup.experiments.status.status_of` as a table with one row for each depth."""
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


def _duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
