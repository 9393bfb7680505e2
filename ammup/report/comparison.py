"""Trained slopes beside the paper's, the law's and the measured ones, and what each rule loses: as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ammup.experiments.analysis import MEASURED_LATE, law_of, rule_curves
from ammup.experiments.record import SweepRecord
from ammup.format import with_interval
from ammup.report.sweep import percent_text
from ammup.stats.power_law import PowerLaw, fit_maximal_lr, fit_power_law
from ammup.stats.regret import SWEPT, Regret
from ammup.transfer.rules import RULES

DASH = "–"


def slopes_markdown(records: Iterable[SweepRecord]) -> str:
    """One row a sweep: depths, seeds, and the slope of log η* on log L by the paper and by each of our ways to it."""
    columns = ("sweep", "L", "seeds", "paper", "trained, smoothed", "trained, argmax", "finite-depth law",
               "measured, no training", MEASURED_LATE)  # fmt: skip
    return _markdown(columns, [_slopes(record) for record in records])


def regret_markdown(regrets: Mapping[str, Regret]) -> str:
    """One row a sweep, one column a rule: share of the accuracy that is lost, mean over the held-out depths."""
    return _by_rule(regrets, (*RULES, MEASURED_LATE, SWEPT), percent_text)


def errors_markdown(regrets: Mapping[str, Regret]) -> str:
    """One row a sweep, one column a rule: mean distance of log10 from prediction to swept optimum."""
    return _by_rule(regrets, (*RULES, MEASURED_LATE), lambda row: _fixed(row["abs_log10_error"]))


def _by_rule(regrets: Mapping[str, Regret], rules: Sequence[str], cell: Callable[[Mapping[Any, Any]], str]) -> str:
    """What a rule's means over the held-out depths say, by sweep; rules that no sweep knows are left out."""
    tables = {name: regret.mean.set_index("rule") for name, regret in regrets.items()}
    known = [rule for rule in rules if any(rule in table.index for table in tables.values())]
    rows = [
        (f"`{name}`", *(cell(table.loc[rule].to_dict()) if rule in table.index else DASH for rule in known))
        for name, table in tables.items()
    ]
    return _markdown(("sweep", *known), rows)


def _slopes(record: SweepRecord) -> tuple[str, ...]:
    experiment, curves = record.experiment, rule_curves(record)
    depths = sorted(int(depth) for depth in set(record.runs["depth"]))
    trained = [law_of(record, kind=kind) for kind in ("smoothed", "argmax")]
    flagged = [depth for depth in trained[0].optima if depth not in trained[0].used]
    note = f" (without L = {', '.join(str(depth) for depth in flagged)})" if flagged else ""
    smoothed, argmax = (_slope(law.power_law) for law in trained)
    return (
        f"`{experiment.name}`",
        ", ".join(str(depth) for depth in depths),
        str(record.runs["seed"].nunique()),
        DASH if experiment.paper_slope is None else f"{experiment.paper_slope:.3f}",
        smoothed + note,
        argmax + note,
        _fixed(_exponent(curves.get("finite-depth"))),
        _slope(measured_law(record.measurements)),
        _fixed(_exponent(curves.get(MEASURED_LATE))),
    )


def measured_law(measurements: pd.DataFrame) -> PowerLaw | None:
    """The line through η* at initialization, with the scatter of S̄ between weight draws as its error."""
    first = measurements[measurements["step"] == 0]
    draws = {int(str(depth)): s.to_numpy() for depth, s in first.groupby("depth")["S_bar"]}
    return fit_maximal_lr(draws) if len(draws) > 1 else None


def _exponent(curve: dict[int, float] | None) -> float | None:
    """Slope of a curve that has no errors to make an interval from."""
    return None if curve is None else fit_power_law(list(curve), list(curve.values())).slope


def _fixed(number: float | None) -> str:
    return DASH if number is None else f"{number:.2f}"


def _slope(law: PowerLaw | None) -> str:
    return DASH if law is None else with_interval(law.slope, law.slope_ci, ".2f")


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
