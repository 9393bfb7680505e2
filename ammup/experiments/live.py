"""The progress of a running sweep: cells done, time remaining, and the best learning rate so far at each depth."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
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
from ammup.progress import heartbeat, time_left
from ammup.training.runs import Run

CELL_COLUMNS = ["depth", "lr", "seed"]


class Display:
    """A live table on standard error; if that is not a terminal, a plain line at most every 30 seconds.

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
        self.display: AbstractContextManager[object] = nullcontext()
        if show and console.is_terminal:
            self.display = Live(console=console, get_renderable=self.render, refresh_per_second=2)
        elif show:
            self.display = heartbeat(lambda: f"{experiment.name}: {self._line(self._status())}")

    def __enter__(self) -> "Display":
        self.display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.__exit__(kind, error, trace)

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
        status = self._status()
        return Group(status_table(self.experiment.name, status), Text(self._line(status)))

    def _status(self) -> pd.DataFrame:
        """The progress at each depth."""
        columns = [*CELL_COLUMNS, "val_accuracy", "diverged"]
        new_runs = pd.DataFrame(self.new_runs, columns=columns).astype(self.stored[columns].dtypes)
        runs = pd.concat([self.stored[columns], new_runs])
        left_out = [*self.left_out[CELL_COLUMNS].to_dict("records"), *self.new_left_out]
        return status_of(self.experiment, runs, pd.DataFrame(left_out, columns=CELL_COLUMNS))

    def _line(self, status: pd.DataFrame) -> str:
        """The cells done, the elapsed time and the remaining time."""
        elapsed = time.monotonic() - self.start
        done = status["done"] + status["left_out"]
        # The time of a cell is estimated as proportional to its depth.
        layers_left = float((status["depth"] * (status["total"] - done)).sum())
        times = time_left(elapsed, self.layers_done, layers_left)
        return f"{done.sum()} of {status['total'].sum()} cells, {times}"


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
