"""Tables of runs: what is accepted, and what is refused with its reason."""

import math

import numpy as np
import pandas as pd
import pytest
from jaxtyping import config
from swept import swept_runs

from ammup.errors import InputError
from ammup.stats.runs import LARGEST, RUN_COLUMNS, checked_runs


def test_numbers_written_as_text_become_numbers() -> None:
    runs = swept_runs()
    found = checked_runs(runs.astype({"depth": str, "lr": str, "val_accuracy": str}), RUN_COLUMNS)
    pd.testing.assert_frame_equal(found, checked_runs(runs, RUN_COLUMNS))
    assert found.dtypes.to_dict() == dict(
        zip(RUN_COLUMNS, map(np.dtype, ("int64", "float64", "int64", "float64", "bool")), strict=True)
    )


def test_a_run_that_diverged_needs_no_accuracy() -> None:
    runs = swept_runs().assign(val_accuracy=math.nan, diverged=True)
    assert checked_runs(runs, RUN_COLUMNS)["val_accuracy"].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("depth", 2.5, "hold a depth that is no whole number"),
        ("seed", math.inf, "hold a seed that is no whole number"),
        ("lr", 0.0, "hold learning rates that are not positive and finite"),
        ("lr", math.inf, "hold learning rates that are not positive and finite"),
        ("lr", "fast", "hold something else than numbers"),
        ("val_accuracy", -2 * LARGEST, r"hold a val_accuracy beyond ±1e\+100"),
        ("val_accuracy", math.nan, "1 runs have no val_accuracy and are not marked as diverged"),
        ("lr", 10.0, "1 runs are of a depth, learning rate and seed that another run has already"),
    ],
)
def test_one_unusable_value_is_refused(column: str, value: object, message: str) -> None:
    runs = swept_runs(seeds=1)
    runs[column] = [value, *runs[column].tolist()[1:]]
    with pytest.raises(InputError, match=message):
        checked_runs(runs, RUN_COLUMNS)


def test_what_is_no_table_of_runs_is_refused() -> None:
    config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError, match="runs are a list; give a pandas"):
            checked_runs([], RUN_COLUMNS)
    finally:
        config.update("jaxtyping_disable", False)
    with pytest.raises(InputError, match="there are no runs to fit"):
        checked_runs(swept_runs().iloc[:0], RUN_COLUMNS)
    with pytest.raises(InputError, match="no column lr, diverged; they need depth, lr, seed, val_accuracy, diverged"):
        checked_runs(swept_runs().drop(columns=["lr", "diverged"]), RUN_COLUMNS)
