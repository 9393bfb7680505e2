"""One experiment of a store or a record, and the prediction of each transfer rule for its depths."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ammup.errors import InputError, unknown
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.status import of_grid
from ammup.experiments.store import Store
from ammup.parsing import parse_json
from ammup.stats.optimum import SweepLaw, fit_sweep
from ammup.stats.regret import Regret, transfer_regret
from ammup.transfer.rules import EXPONENTS

Curves = dict[str, dict[int, float]]

# At initialization, and in the second half of the short run: which steps and which mean predict best was chosen on two
# sweeps and validated on the others (`python benchmarks/late_rule.py`).
MEASURED, MEASURED_LATE = "measured", "measured-late"


def read_sweep(path: Path, name: str | None = None) -> SweepRecord:
    """An experiment of a store as it was last run, with the runs of its grid; or the one that a record holds.

    Args:
        path: of the store, or of a record, a ``.json`` file.
        name: of the experiment, or the start of its key; None takes the only one there is.

    Raises:
        InputError: a file that cannot be read, no such experiment, several that are meant, or one without runs.
    """
    if path.suffix == ".json":
        record = SweepRecord.read(path)
        if name is not None and name != record.experiment.name and not record.experiment.key.startswith(name):
            raise InputError(f"{path} holds {record.experiment.name!r} and not {name!r}")
        return record
    with Store(path, mode="read") as store:
        record = _record(store, _chosen(store.experiments(), name, path))
    if record.runs.empty:
        raise InputError(f"{path} holds no runs of {record.experiment.name!r} yet; `ammup sweep` makes them")
    return record


def read_sweeps(path: Path) -> tuple[SweepRecord, ...]:
    """Every experiment of a store that has runs, by name; or the one that a record holds.

    Raises:
        InputError: a file that cannot be read.
    """
    if path.suffix == ".json":
        return (SweepRecord.read(path),)
    with Store(path, mode="read") as store:
        records = [_record(store, stored) for stored in store.experiments()]
    return tuple(record for record in records if not record.runs.empty)


def traced_runs(path: Path, name: str) -> pd.DataFrame:
    """The runs of an experiment's grid in a store, with their provenance.

    Arguments and errors as of :func:`read_sweep`.
    """
    with Store(path, mode="read") as store:
        stored = _chosen(store.experiments(), name, path)
        return of_grid(store.table(stored.key), Experiment.from_toml(stored.specification))


@np.errstate(over="ignore")  # the S̄ of a short run that is almost lost may be as large as any number
def rule_curves(record: SweepRecord) -> Curves:
    """η* by rule and depth, up to a factor, of every rule that the record has at all swept depths.

    "measured" is (mean of S̄ over weight draws)^(-1/2) at initialization, "measured-late" the same of the geometric mean
    over the second half of the steps of the short runs.
    """
    depths = sorted(int(depth) for depth in set(record.runs["depth"]))
    curves: Curves = {rule: {depth: depth**exponent for depth in depths} for rule, exponent in EXPONENTS.items()}
    curves |= {rule: dict(law) for rule, law in record.laws.items()}
    table = record.measurements
    curves[MEASURED] = _lr_stars(table[table["step"] == 0].groupby("depth")["S_bar"].mean().to_dict())
    late = table[table["step"] > table["step"].max() / 2]
    curves[MEASURED_LATE] = _lr_stars(np.exp(np.log(late["S_bar"]).groupby(late["depth"]).mean()).to_dict())
    return {rule: curve for rule, curve in curves.items() if set(depths) <= set(curve)}


def law_of(record: SweepRecord, *, kind: str = "smoothed", keep_flagged: bool = False) -> SweepLaw:
    """Each depth's optimum and the line through them, see :func:`ammup.stats.optimum.fit_sweep`."""
    return fit_sweep(
        record.runs,
        kind=kind,
        keep_flagged=keep_flagged,
        segments=record.experiment.segments,
        left_out=record.left_out,
    )


def regret_of(record: SweepRecord, *, base: int | None = None, kind: str = "smoothed") -> Regret:
    """The regret of each rule of the record, see :func:`ammup.stats.regret.transfer_regret`.

    Args:
        record: of the sweep.
        base: the depth it was tuned at; None takes the smallest.
        kind: "smoothed" or "argmax".

    Raises:
        InputError: a sweep whose search left learning rates out.
    """
    if record.searched:
        raise InputError(
            f'{record.experiment.name!r} was searched (search = "adaptive"): what a rule loses is only known on the '
            "full grid; `ammup sweep … --set search=full` trains the rest of it"
        )
    return transfer_regret(record.runs, rule_curves(record), base=base or int(record.runs["depth"].min()), kind=kind)


def _lr_stars(S_bar: Mapping[Any, float]) -> dict[int, float]:
    """η* by depth, without depths at which a run has diverged."""
    return {int(depth): float(value) ** -0.5 for depth, value in S_bar.items() if np.isfinite(value)}


def _record(store: Store, stored: StoredExperiment) -> SweepRecord:
    experiment = Experiment.from_toml(stored.specification)
    runs = of_grid(store.runs(stored.key), experiment)
    measurements = store.measurements(stored.key)
    short = experiment.short_run
    chosen = measurements[measurements["lr"] == short.lr] if short is not None else measurements
    left_out = of_grid(store.left_out(stored.key), experiment)
    laws: dict[str, dict[int, float]] = {}
    for rule, depth, lr_star in store.laws(stored.key).itertuples(index=False, name=None):
        laws.setdefault(rule, {})[int(depth)] = float(lr_star)
    return SweepRecord(
        experiment=experiment,
        runs=runs,
        measurements=chosen.reset_index(drop=True),
        laws=laws,
        left_out=left_out if experiment.search == "adaptive" else left_out[:0],
        data_digest=stored.data_digest,
        provenance=_provenance(store.origins(stored.key)),
    )


def _provenance(origins: pd.DataFrame) -> Mapping[str, str]:
    """Distinct values of the provenance of the stored runs, each with the number of runs."""
    labels = {"ammup_commit": "commit of ammup", "device": "device", "threads": "threads", "dtype": "dtype",
              "strategy": "strategy", "command": "command", "versions": "versions"}  # fmt: skip
    made = {}
    for column, label in labels.items():
        counts = origins.groupby(column, dropna=False)["runs"].sum().sort_values(ascending=False, kind="stable")
        made[label] = "; ".join(f"{value} ({count} runs)" for value, count in counts.items())
    if origins["versions"].nunique() == 1:
        made["versions"] = _versions(str(origins["versions"].iloc[0]))
    finished = f"{origins['first'].min()} to {origins['last'].max()}" if len(origins) else ""
    return {**made, "finished": finished, "core hours": f"{float(origins['seconds'].sum()) / 3600:.2f}"}


def _versions(text: str) -> str:
    try:
        return ", ".join(f"{name} {version}" for name, version in parse_json(text).items())
    except (ValueError, AttributeError):  # it is only shown
        return text


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
