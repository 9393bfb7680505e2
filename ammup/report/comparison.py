"""Markdown tables of docs/: slopes of trained sweeps against predictions, and the regret of transfer rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ammup.experiments.analysis import EDGE, MEASURED_LATE, law_of, rule_curves
from ammup.experiments.record import SweepRecord
from ammup.format import with_interval
from ammup.report.sweep import percent_text
from ammup.stats.held_out import SWEPT
from ammup.stats.optimum import SweepLaw
from ammup.stats.peak import OPTIMA
from ammup.stats.power_law import PowerLaw, fit_maximal_lr, fit_power_law
from ammup.stats.regret import Regret
from ammup.transfer.rules import RULES

DASH = "–"
# Without the rules that are estimated from trained runs; benchmarks/rule_regret.py compares all of them.
README_RULES = tuple(rule for rule in RULES if rule != EDGE)


def slopes_markdown(records: Iterable[SweepRecord]) -> str:
    """One row for each sweep: depths, seeds, and the slope of log η* on log L by the paper and by each estimator."""
    columns = ("sweep", "L", "seeds", "paper", "trained, smoothed", "trained, argmax", "trained, edge",
               "finite-depth law",
               "measured, no training", MEASURED_LATE)  # fmt: skip
    return _markdown(columns, [_slope_row(record) for record in records])


def regret_markdown(regrets: Mapping[str, Regret]) -> str:
    """One row for each sweep, one column for each rule: relative loss of accuracy, mean over the held-out depths."""
    return _by_rule(regrets, (*README_RULES, SWEPT), percent_text)


def errors_markdown(regrets: Mapping[str, Regret]) -> str:
    """One row for each sweep, one column for each rule: mean of |log10(predicted / swept optimum)|."""
    return _by_rule(regrets, README_RULES, lambda row: _two_decimals(row["abs_log10_error"]))


def _by_rule(regrets: Mapping[str, Regret], rules: Sequence[str], cell: Callable[[Mapping[Any, Any]], str]) -> str:
    """A table with one row for each sweep and one column for each rule; rules without a sweep are omitted.

    Args:
        regrets: the regret of each sweep, by name.
        rules: the rules, in the order of the columns.
        cell: formats the means of one rule over the held-out depths.
    """
    tables = {name: regret.mean.set_index("rule") for name, regret in regrets.items()}
    columns = [rule for rule in dict.fromkeys(rules) if any(rule in table.index for table in tables.values())]
    rows = [
        (f"`{name}`", *(cell(table.loc[rule].to_dict()) if rule in table.index else DASH for rule in columns))
        for name, table in tables.items()
    ]
    return _markdown(("sweep", *columns), rows)


def _slope_row(record: SweepRecord) -> tuple[str, ...]:
    experiment, curves = record.experiment, rule_curves(record)
    depths = sorted(int(depth) for depth in set(record.runs["depth"]))
    trained = [law_of(record, kind=kind) for kind in OPTIMA]
    return (
        f"`{experiment.name}`",
        ", ".join(str(depth) for depth in depths),
        str(record.runs["seed"].nunique()),
        DASH if experiment.paper_slope is None else f"{experiment.paper_slope:.3f}",
        *(_slope_text(law.power_law) + _without(law) for law in trained),
        _two_decimals(_curve_slope(curves.get("finite-depth"))),
        _slope_text(measured_law(record.measurements)),
        _two_decimals(_curve_slope(curves.get(MEASURED_LATE))),
    )


def _without(law: SweepLaw) -> str:
    """The depths whose optima are flagged, in parentheses, or an empty string."""
    flagged = [str(depth) for depth in law.optima if depth not in law.used]
    return f" (without L = {', '.join(flagged)})" if flagged else ""


def measured_law(measurements: pd.DataFrame) -> PowerLaw | None:
    """The power law of η* at initialization, with the scatter of S̄ between weight draws as its error."""
    first = measurements[measurements["step"] == 0]
    draws = {int(str(depth)): s.to_numpy() for depth, s in first.groupby("depth")["S_bar"]}
    return fit_maximal_lr(draws) if len(draws) > 1 else None


def _curve_slope(curve: dict[int, float] | None) -> float | None:
    """The slope of a curve that has no standard errors; None if ``curve`` is None."""
    return None if curve is None else fit_power_law(list(curve), list(curve.values())).slope


def _two_decimals(number: float | None) -> str:
    return DASH if number is None else f"{number:.2f}"


def _slope_text(law: PowerLaw | None) -> str:
    return DASH if law is None else with_interval(law.slope, law.slope_ci, ".2f")


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
