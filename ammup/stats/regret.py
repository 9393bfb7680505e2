"""What a transfer rule loses at depths where a sweep measured the best learning rate.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError, check_known, check_level
from ammup.format import json_rows
from ammup.stats.intervals import jackknife_error, t_interval, upper_probability
from ammup.stats.peak import OPTIMA, SeedCurves
from ammup.stats.runs import RUN_COLUMNS, checked_runs

Rules = Mapping[str, Mapping[int, float]]

# The row of the swept optimum of the depth itself: what it "loses" is selection noise of the best of many points.
SWEPT = "swept"
COLUMNS = (
    *("rule", "depth", "predicted", "swept", "log10_error"),
    *("accuracy_lost", "accuracy_low", "accuracy_high", "loss_added", "loss_low", "loss_high"),
)
MEAN_COLUMNS = ("rule", "depths", *("abs_log10_error", *COLUMNS[5:]), "worst")
# The jackknife leaves out one seed after the other, or, where there are more than so many, groups of them.
GROUPS = 20
_LOST = ("log10_error", "accuracy_lost", "loss_added")


@dataclass(frozen=True, kw_only=True, eq=False)
class Regret:
    """What transfer rules lose.

    Every interval is Student's t on the jackknife over seeds, in which the optima and the curves of all depths are
    computed anew; NaN with one seed.

    Attributes:
        by_depth: one row for each rule and depth but the base: rule, depth, predicted, swept, log10_error (of predicted
            over swept), accuracy_lost (share of the best accuracy) with accuracy_low and accuracy_high, loss_added
            (nats) with loss_low and loss_high.
        mean: one row a rule, means over its depths: rule; depths, their number; abs_log10_error; accuracy_lost and
            loss_added with their intervals; worst, the largest accuracy_lost.
    """

    by_depth: pd.DataFrame
    mean: pd.DataFrame

    def to_rows(self) -> list[dict[str, str | float | int | None]]:
        """``by_depth`` row by row for JSON; a number that does not exist is None."""
        rows = self.by_depth.drop(columns="rule")
        return [{"rule": rule, **row} for rule, row in zip(self.by_depth["rule"], json_rows(rows), strict=True)]


@np.errstate(over="ignore", invalid="ignore")  # the loss of a replica that nearly diverged may be infinite
def transfer_regret(
    runs: pd.DataFrame, rules: Rules, *, base: int, kind: str = "smoothed", level: float = 0.95
) -> Regret:
    """What is lost at every other depth when the optimum swept at ``base`` is carried there by a rule.

    A rule predicts lr*(base) · rule(depth)/rule(base), with lr* the swept optimum. Validation accuracy and loss, their
    means over seeds, are interpolated linearly in log η, and what a rule loses is the best of the grid minus the value
    at the predicted learning rate: relative for accuracy, in nats for the loss. A learning rate at which a replica
    diverged counts as the worst of its depth, and a prediction outside of the grid as the grid's end.

    The best of many noisy points is better than the curve they scatter about, so that no prediction loses nothing: the
    rule "swept", which is added, takes each depth's own swept optimum and shows how much of the loss is that.

    Args:
        runs: columns depth, lr, seed, val_accuracy, val_loss, diverged: one row for each replica.
        rules: for each rule η* by depth, up to a factor; depths that a rule does not know are left out.
        base: the depth where the learning rate was tuned.
        kind: "smoothed" or "argmax", the swept optimum that is carried and that errors of log10 are taken from.
        level: confidence level of the intervals.

    Raises:
        InputError: no runs at the base depth, a depth all of whose runs diverged, or a rule without a positive η* at
            the base depth.
    """
    check_known("optimum", kind, OPTIMA)
    check_level(level)
    runs = checked_runs(runs, (*RUN_COLUMNS, "val_loss"))
    if base not in set(runs["depth"]):
        raise InputError(f"base={base} is no depth of the runs; choose one of {sorted(set(runs['depth']))}")
    for rule, law in rules.items():
        if not law.get(base, 0.0) > 0:
            raise InputError(f"rule {rule!r} has no η* at the base depth {base}; it knows {dict(law)}")
        if not all(0 < lr < np.inf for lr in law.values()):
            raise InputError(f"rule {rule!r} has an η* that is not positive and finite: {dict(law)}")
    tables = {int(str(depth)): _Table.of(group) for depth, group in runs.groupby("depth")}
    sweep = _Sweep(rules=rules, base=base, kind=kind)
    seeds = np.unique(runs["seed"])
    groups = np.array_split(seeds, min(len(seeds), GROUPS)) if len(seeds) > 1 else []
    whole = sweep.lost(tables)
    parts = [sweep.lost({depth: table.without(group) for depth, table in tables.items()}) for group in groups]
    by_depth = _with_intervals(whole, parts, level)
    mean = _with_intervals(_mean(whole), [_mean(part) for part in parts], level)
    return Regret(by_depth=by_depth[list(COLUMNS)], mean=mean[list(MEAN_COLUMNS)])


def _mean(table: pd.DataFrame) -> pd.DataFrame:
    """Over the depths of each rule."""
    groups = table.assign(abs_log10_error=table["log10_error"].abs()).groupby("rule", sort=False)
    return groups.agg(
        depths=("depth", "size"),
        abs_log10_error=("abs_log10_error", "mean"),
        accuracy_lost=("accuracy_lost", "mean"),
        loss_added=("loss_added", "mean"),
        worst=("accuracy_lost", "max"),
    ).reset_index()


def _with_intervals(whole: pd.DataFrame, parts: Sequence[pd.DataFrame], level: float) -> pd.DataFrame:
    """The table of all seeds with intervals from those with some seeds left out."""
    found = whole.copy()
    for name, ends in (("accuracy_lost", "accuracy"), ("loss_added", "loss")):
        low, high = _jackknife_interval(whole[name].to_numpy(), [part[name].to_numpy() for part in parts], level)
        found[f"{ends}_low"], found[f"{ends}_high"] = low, high
    return found


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """The rules and the base depth, which do not change when a seed is left out."""

    rules: Rules
    base: int
    kind: str

    def lost(self, tables: "Mapping[int, _Table]") -> pd.DataFrame:
        """The figures without their intervals."""
        swept = {depth: table.accuracy.optimum().lr_star(self.kind)[0] for depth, table in tables.items()}
        tuned = swept[self.base]
        predicted = {
            (rule, depth): tuned * law[depth] / law[self.base]
            for rule, law in self.rules.items()
            for depth in tables
            if depth in law
        } | {(SWEPT, depth): swept[depth] for depth in tables}
        means = {depth: table.means() for depth, table in tables.items()}
        rows = []
        for (rule, depth), lr in predicted.items():
            if depth == self.base:
                continue
            accuracy, loss = means[depth]
            at = partial(np.interp, np.log(lr), np.log(tables[depth].accuracy.lrs))
            best = accuracy.max()
            rows.append(
                {
                    "rule": rule,
                    "depth": depth,
                    "predicted": lr,
                    "swept": swept[depth],
                    "log10_error": float(np.log10(lr / swept[depth])),
                    "accuracy_lost": float((best - at(accuracy)) / best) if best else 0.0,
                    "loss_added": float(at(loss) - loss.min()),
                }
            )
        return pd.DataFrame(rows, columns=["rule", "depth", "predicted", "swept", *_LOST])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """The runs of one depth."""

    accuracy: SeedCurves
    loss: SeedCurves

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "_Table":
        loss = runs.assign(val_accuracy=runs["val_loss"])
        return cls(accuracy=SeedCurves.of(runs), loss=SeedCurves.of(loss))

    def without(self, seeds: NDArray[np.int64]) -> "_Table":
        return _Table(accuracy=self.accuracy.without(seeds), loss=self.loss.without(seeds))

    def means(self) -> tuple[Array, Array]:
        """Accuracy and loss over learning rates, the worst of each where a replica diverged."""
        return _mean_curve(self.accuracy, np.nanmin), _mean_curve(self.loss, np.nanmax)


def _mean_curve(curves: SeedCurves, worst: Callable[[Array], float]) -> Array:
    known = np.isfinite(curves.accuracy)
    usable = known.any(axis=0) & ~curves.diverged.any(axis=0)
    sums = np.where(known, curves.accuracy, 0.0).sum(axis=0)
    mean = np.where(usable, sums / np.maximum(known.sum(axis=0), 1), np.nan)
    return np.where(usable, mean, worst(mean))


def _jackknife_interval(whole: Array, parts: Sequence[Array], level: float) -> tuple[Array, Array]:
    """The interval around each figure of the whole, from the same figures with some seeds left out."""
    n = len(parts)
    if n < 2:
        return np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    error = jackknife_error(np.asarray(parts))
    return t_interval(whole, error, df=n - 1, probability=upper_probability(level))
