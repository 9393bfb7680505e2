"""The status of a sweep, from made-up tables."""

from dataclasses import replace

import numpy as np
import pandas as pd

from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.status import rows_in_grid, status_of

LEFT_OUT = pd.DataFrame(
    [(2, 0, 0.03, 4), (2, 1, 0.3, 4), (3, 0, 7.0, 4)], columns=["depth", "seed", "lr", "steps"]
)  # fmt: skip


def test_rows_outside_the_grid_are_not_selected(small: Experiment, record: SweepRecord) -> None:
    more = pd.concat([record.runs, record.runs.assign(depth=9), record.runs.assign(lr=0.5)])
    pd.testing.assert_frame_equal(rows_in_grid(more, small), record.runs)


def test_status_at_each_depth(small: Experiment, record: SweepRecord) -> None:
    runs = record.runs[(record.runs["depth"] == 2) & ~((record.runs["seed"] == 1) & (record.runs["lr"] == 0.3))]
    runs = runs.reset_index(drop=True)
    first, second = status_of(small, runs, LEFT_OUT).to_dict("records")
    best = runs[~runs["diverged"]].groupby("lr")["val_accuracy"].mean()
    assert (first["total"], first["done"], first["left_out"], first["diverged"]) == (8, 7, 0, 2)
    assert (first["best_lr"], first["val_accuracy"]) == (best.idxmax(), best.max())
    assert (second["depth"], second["total"], second["done"]) == (3, 8, 0)
    assert np.isnan(second["best_lr"])
    assert np.isnan(second["val_accuracy"])


def test_left_out_cells_without_a_run_are_counted_in_an_adaptive_search(small: Experiment, record: SweepRecord) -> None:
    runs = record.runs[~((record.runs["seed"] == 1) & (record.runs["lr"] == 0.3))].reset_index(drop=True)
    status = status_of(replace(small, search="adaptive"), runs, LEFT_OUT)
    assert status["left_out"].tolist() == [1, 0]
