"""The runs of a sweep as a table, checked before anything is fitted to it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ammup.errors import InputError

RUN_COLUMNS = ("depth", "lr", "seed", "val_accuracy", "diverged")
# No accuracy is this large, and its square is still a finite number.
LARGEST = 1e100


def checked_runs(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The runs, their values as numbers.

    Raises:
        InputError: no table, no runs, a column that is missing or not numeric, a learning rate that is not positive
            and finite, two runs of one cell, or a value that is NaN although the run did not diverge.
    """
    if not isinstance(runs, pd.DataFrame):
        raise InputError(f"runs are a {type(runs).__name__}; give a pandas.DataFrame")
    if runs.empty:
        raise InputError("there are no runs to fit")
    lacking = [name for name in columns if name not in runs]
    if lacking:
        raise InputError(f"the runs have no column {', '.join(lacking)}; they need {', '.join(columns)}")
    try:
        values = runs.astype({name: bool if name == "diverged" else float for name in columns})
    except (TypeError, ValueError) as error:
        raise InputError(f"the runs hold something else than numbers: {error}") from error
    _check_values(values)
    measured = [name for name in columns if name.startswith("val_")]
    unknown = values.loc[~values["diverged"], measured].isna().any(axis=1)
    if unknown.any():
        raise InputError(f"{int(unknown.sum())} runs have no {' or '.join(measured)} and are not marked as diverged")
    return values.astype({"depth": int, "seed": int})


def _check_values(runs: pd.DataFrame) -> None:
    """Raise InputError for a value that is out of range, or for a second run of a cell."""
    for name in ("depth", "seed"):
        if not (np.isfinite(runs[name]) & (runs[name] == runs[name].round())).all():
            raise InputError(f"the runs hold a {name} that is no whole number")
    if not ((runs["lr"] > 0) & np.isfinite(runs["lr"])).all():
        raise InputError("the runs hold learning rates that are not positive and finite")
    if not (runs["val_accuracy"].dropna().abs() <= LARGEST).all():
        raise InputError(f"the runs hold a val_accuracy beyond ±{LARGEST:g}")
    cells = runs.duplicated(["depth", "lr", "seed"])
    if cells.any():
        raise InputError(f"{int(cells.sum())} runs are of a depth, learning rate and seed that another run has already")
