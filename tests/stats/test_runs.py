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
        ("depth", 2.5, "contain a depth that is not an integer"),
        ("seed", math.inf, "contain a seed that is not an integer"),
        ("lr", 0.0, "contain learning rates that are not positive and finite"),
        ("lr", math.inf, "contain learning rates that are not positive and finite"),
        ("lr", "fast", "contain a value that is not a number"),
        ("val_accuracy", -2 * LARGEST, r"contain a val_accuracy beyond ±1e\+100"),
        ("val_accuracy", math.nan, "1 runs have no val_accuracy and are not marked as diverged"),
        ("lr", 10.0, "1 runs repeat the depth, learning rate and seed of another run"),
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
        with pytest.raises(InputError, match=r"runs: expected a pandas\.DataFrame, not list"):
            checked_runs([], RUN_COLUMNS)
    finally:
        config.update("jaxtyping_disable", False)
    with pytest.raises(InputError, match="there are no runs to fit"):
        checked_runs(swept_runs().iloc[:0], RUN_COLUMNS)
    with pytest.raises(InputError, match="no column lr, diverged; they need depth, lr, seed, val_accuracy, diverged"):
        checked_runs(swept_runs().drop(columns=["lr", "diverged"]), RUN_COLUMNS)
