"""Read an experiment from a store or a record, fit its optima, and predict them with each transfer rule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ammup.errors import InputError, unknown
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.status import rows_in_grid
from ammup.experiments.store import Store
from ammup.parsing import parse_json
from ammup.stats.held_out import Rules
from ammup.stats.optimum import SweepLaw, curves_of, fit_sweep
from ammup.stats.regret import Regret, transfer_regret
from ammup.stats.seed_edges import SeedEdges
from ammup.transfer.rules import EXPONENTS

Curves = dict[str, dict[int, float]]

# The names of two rules, which measure S̄ at initialization and in the second half of the short run. For the second
# rule, the steps and the kind of mean were chosen on two sweeps and validated on the others
# (`python benchmarks/late_rule.py`).
MEASURED, MEASURED_LATE = "measured", "measured-late"
EDGE = "edge"


def read_sweep(path: Path, name: str | None = None) -> SweepRecord:
    """Read one experiment, as it was last run, with the runs of its grid.

    Args:
        path: a store, or a record (a ``.json`` file).
        name: name of the experiment, or the first characters of its key. None requires that there is only one.

    Raises:
        InputError: the file cannot be read, the experiment is not in it or has no runs, or several experiments match.
    """
    if path.suffix == ".json":
        record = SweepRecord.read(path)
        if name is not None and name != record.experiment.name and not record.experiment.key.startswith(name):
            raise InputError(f"{path} contains the experiment {record.experiment.name!r}, not {name!r}")
        return record
    with Store(path, mode="read") as store:
        record = _read_record(store, _select_experiment(store.experiments(), name, path))
    if record.runs.empty:
        raise InputError(f"{path} contains no runs of {record.experiment.name!r} yet; run `ammup sweep`")
    return record


def read_sweeps(path: Path) -> tuple[SweepRecord, ...]:
    """Read all experiments of a store that have runs, sorted by name, or the experiment of a record.

    Args:
        path: a store, or a record (a ``.json`` file).

    Raises:
        InputError: the file cannot be read.
    """
    if path.suffix == ".json":
        return (SweepRecord.read(path),)
    with Store(path, mode="read") as store:
        records = [_read_record(store, stored) for stored in store.experiments()]
    return tuple(record for record in records if not record.runs.empty)


def traced_runs(path: Path, name: str) -> pd.DataFrame:
    """Read the runs of an experiment's grid from a store, with their provenance.

    The arguments and errors are those of :func:`read_sweep`.
    """
    with Store(path, mode="read") as store:
        stored = _select_experiment(store.experiments(), name, path)
        return rows_in_grid(store.table(stored.key), Experiment.from_toml(stored.specification))


@np.errstate(over="ignore")  # the S̄ of a short run that is about to diverge may be arbitrarily large
def rule_curves(record: SweepRecord) -> Curves:
    """Return η* by rule and depth, up to a factor, for every rule that is defined at all depths of the sweep.

    "measured" is (mean of S̄ over weight draws)^(-1/2) at initialization. "measured-late" is the same for the geometric
    mean of S̄ over the second half of the steps of the short runs.
    """
    depths = sorted(int(depth) for depth in set(record.runs["depth"]))
    curves: Curves = {rule: {depth: depth**exponent for depth in depths} for rule, exponent in EXPONENTS.items()}
    curves |= {rule: dict(law) for rule, law in record.laws.items()}
    table = record.measurements
    curves[MEASURED] = _lr_stars(table[table["step"] == 0].groupby("depth")["S_bar"].mean().to_dict())
    late = table[table["step"] > table["step"].max() / 2]
    curves[MEASURED_LATE] = _lr_stars(np.exp(np.log(late["S_bar"]).groupby(late["depth"]).mean()).to_dict())
    return {rule: curve for rule, curve in curves.items() if set(depths) <= set(curve)}


def law_of(
    record: SweepRecord, *, kind: str = "smoothed", keep_flagged: bool = False, chance: float | None = None
) -> SweepLaw:
    """Fit the optimal learning rate at each depth and their power law, see :func:`ammup.stats.optimum.fit_sweep`.

    If ``chance`` is None, it is that of the data set if its number of classes is known.
    """
    return fit_sweep(
        record.runs,
        kind=kind,
        keep_flagged=keep_flagged,
        segments=record.experiment.segments,
        left_out=record.left_out,
        chance=record.experiment.data.chance if chance is None else chance,
    )


def regret_of(record: SweepRecord, *, base: int | None = None, kind: str = "smoothed") -> Regret:
    """Compute the regret of each transfer rule on a sweep, see :func:`ammup.stats.regret.transfer_regret`.

    The rule "edge" is estimated from the same seeds as the rate that is transferred.

    Args:
        record: the sweep.
        base: the depth at which the learning rate is tuned; None uses the smallest depth.
        kind: "smoothed" or "argmax".

    Raises:
        InputError: an adaptive search left out some learning rates.
    """
    if record.searched:
        raise InputError(
            f'{record.experiment.name!r} is an adaptive search (search = "adaptive"), but regret needs the full grid; '
            "`ammup sweep … --set search=full` trains the missing cells"
        )
    rules: Rules = {**rule_curves(record), EDGE: edge_rule(record)}
    return transfer_regret(record.runs, rules, base=base or int(record.runs["depth"].min()), kind=kind)


def edge_rule(record: SweepRecord) -> SeedEdges:
    """The rule that estimates the edge at every depth from the runs with some seeds; flagged edges are included."""
    return SeedEdges.from_curves(curves_of(record.runs), chance=record.experiment.data.chance)


def _lr_stars(S_bar: Mapping[Any, float]) -> dict[int, float]:
    """Return η* by depth, without the depths at which a run diverged."""
    return {int(depth): float(value) ** -0.5 for depth, value in S_bar.items() if np.isfinite(value)}


def _read_record(store: Store, stored: StoredExperiment) -> SweepRecord:
    experiment = Experiment.from_toml(stored.specification)
    runs = rows_in_grid(store.runs(stored.key), experiment)
    measurements = store.measurements(stored.key)
    short = experiment.short_run
    if short is not None:
        measurements = measurements[measurements["lr"] == short.lr]
    left_out = rows_in_grid(store.left_out(stored.key), experiment)
    laws: dict[str, dict[int, float]] = {}
    for rule, depth, lr_star in store.laws(stored.key).itertuples(index=False, name=None):
        laws.setdefault(rule, {})[int(depth)] = float(lr_star)
    return SweepRecord(
        experiment=experiment,
        runs=runs,
        measurements=measurements.reset_index(drop=True),
        laws=laws,
        left_out=left_out if experiment.search == "adaptive" else left_out[:0],
        data_digest=stored.data_digest,
        provenance=_provenance(store.provenance_counts(stored.key)),
    )


def _provenance(table: pd.DataFrame) -> Mapping[str, str]:
    """Return the distinct values of each kind of provenance, each with its number of runs: label -> text."""
    labels = {"ammup_commit": "commit of ammup", "device": "device", "threads": "threads", "dtype": "dtype",
              "strategy": "strategy", "command": "command", "versions": "versions"}  # fmt: skip
    texts = {}
    for column, label in labels.items():
        counts = table.groupby(column, dropna=False)["runs"].sum().sort_values(ascending=False, kind="stable")
        texts[label] = "; ".join(f"{value} ({count} runs)" for value, count in counts.items())
    if table["versions"].nunique() == 1:
        texts["versions"] = _format_versions(str(table["versions"].iloc[0]))
    finished = f"{table['first'].min()} to {table['last'].max()}" if len(table) else ""
    return {**texts, "finished": finished, "core hours": f"{float(table['seconds'].sum()) / 3600:.2f}"}


def _format_versions(text: str) -> str:
    """Format stored JSON such as {"torch": "2"} as "torch 2"; invalid text is returned unchanged."""
    try:
        return ", ".join(f"{name} {version}" for name, version in parse_json(text).items())
    except (ValueError, AttributeError):  # only for display
        return text


def _select_experiment(stored: tuple[StoredExperiment, ...], name: str | None, path: Path) -> StoredExperiment:
    """Return the experiment with this name or the start of its key; with None, the only one."""
    matches = [one for one in stored if name is None or one.name == name or one.key.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if not stored:
        raise InputError(f"{path} contains no experiment yet; run `ammup sweep`")
    listed = ", ".join(f"{one.name} ({one.key[:8]})" for one in stored)
    if matches:
        raise InputError(f"{path} contains several experiments: {listed}; choose one with --experiment NAME or KEY")
    raise unknown("experiment", str(name), [one.name for one in stored], f"{path} contains {listed}")
