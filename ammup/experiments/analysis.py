"""From a store to one experiment and its runs."""

from pathlib import Path

import pandas as pd

from ammup.errors import InputError, unknown
from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store, StoredExperiment
from ammup.experiments.sweep import of_grid


def read_sweep(path: Path, name: str | None = None) -> tuple[Experiment, pd.DataFrame]:
    """An experiment of a store as it was last run, and the runs of its grid.

    Args:
        path: of the store.
        name: of the experiment, or the start of its key; None takes the only one there is.

    Raises:
        InputError: a store that cannot be read, no such experiment, several that are meant, or one without runs.
    """
    with Store(path, mode="read") as store:
        chosen = _chosen(store.experiments(), name, path)
        experiment = Experiment.from_toml(chosen.specification)
        runs = of_grid(store.table(chosen.key), experiment)
    if runs.empty:
        raise InputError(f"{path} holds no runs of {experiment.name!r} yet; `ammup sweep` makes them")
    return experiment, runs


def _chosen(stored: tuple[StoredExperiment, ...], name: str | None, path: Path) -> StoredExperiment:
    found = [one for one in stored if name is None or one.name == name or one.key.startswith(name)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{one.name} ({one.key[:8]})" for one in stored)
    if not stored:
        raise InputError(f"{path} holds no experiment yet; `ammup sweep` adds one")
    if found:
        raise InputError(f"{path} holds several experiments: {listed}; choose one with --experiment NAME or KEY")
    raise unknown("experiment", str(name), [one.name for one in stored], f"{path} holds {listed}")
