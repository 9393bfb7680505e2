"""Validation of the table of runs of a sweep before a fit."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ammup.errors import InputError

RUN_COLUMNS = ("depth", "lr", "seed", "val_accuracy", "diverged")
# The largest absolute accuracy that is accepted; its square is still finite.
LARGEST = 1e100
NO_RUNS = "there are no runs to fit"


def checked_runs(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The runs with numeric columns, checked.

    Raises:
        InputError: ``runs`` is not a table or is empty, a column is missing or not numeric, a learning rate is not
            positive and finite, two runs have the same depth, learning rate and seed, or a
            value is NaN although the run did not diverge.
    """
    if not isinstance(runs, pd.DataFrame):
        raise InputError(f"runs: expected a pandas.DataFrame, not {type(runs).__name__}")
    if runs.empty:
        raise InputError(NO_RUNS)
    missing = [name for name in columns if name not in runs]
    if missing:
        raise InputError(f"the runs have no column {', '.join(missing)}; they need {', '.join(columns)}")
    try:
        values = runs.astype({name: bool if name == "diverged" else float for name in columns})
    except (TypeError, ValueError) as error:
        raise InputError(f"the runs contain a value that is not a number: {error}") from error
    _check_values(values)
    measured = [name for name in columns if name.startswith("val_")]
    unmeasured = values.loc[~values["diverged"], measured].isna().any(axis=1)
    if unmeasured.any():
        raise InputError(f"{int(unmeasured.sum())} runs have no {' or '.join(measured)} and are not marked as diverged")
    return values.astype({"depth": int, "seed": int})


def _check_values(runs: pd.DataFrame) -> None:
    """Raise InputError if a value is out of range, or if two runs have the same depth, learning rate and seed."""
    for name in ("depth", "seed"):
        if not (np.isfinite(runs[name]) & (runs[name] == runs[name].round())).all():
            raise InputError(f"the runs contain a {name} that is not an integer")
    if not ((runs["lr"] > 0) & np.isfinite(runs["lr"])).all():
        raise InputError("the runs contain learning rates that are not positive and finite")
    if not (runs["val_accuracy"].dropna().abs() <= LARGEST).all():
        raise InputError(f"the runs contain a val_accuracy beyond ±{LARGEST:g}")
    if _ascending(runs):
        return
    cells = runs.duplicated(["depth", "lr", "seed"])
    if cells.any():
        raise InputError(f"{int(cells.sum())} runs repeat the depth, learning rate and seed of another run")


def _ascending(runs: pd.DataFrame) -> bool:
    """Whether the runs are sorted by depth, seed and learning rate, as a store returns them, without repetition."""
    depth, seed, lr = (np.diff(runs[name].to_numpy()) for name in ("depth", "seed", "lr"))
    return bool(((depth > 0) | ((depth == 0) & ((seed > 0) | ((seed == 0) & (lr > 0))))).all())
