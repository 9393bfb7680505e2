"""Regret of transfer rules: how much worse a predicted learning rate is than the best one of a sweep.

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
from ammup.format import brief_repr, count_text, json_rows, range_text
from ammup.stats.intervals import jackknife_error, t_interval, upper_probability
from ammup.stats.peak import TUNED, SeedCurves
from ammup.stats.runs import RUN_COLUMNS, checked_runs

Rules = Mapping[str, Mapping[int, float]]

# An additional rule that predicts the swept optimum of each depth. Its regret is selection bias: the maximum of many
# noisy points is on average larger than the true maximum.
SWEPT = "swept"
COLUMNS = (
    *("rule", "depth", "predicted", "swept", "log10_error"),
    *("accuracy_lost", "accuracy_low", "accuracy_high", "loss_added", "loss_low", "loss_high"),
)
MEAN_COLUMNS = ("rule", "depths", *("abs_log10_error", *COLUMNS[5:]), "worst")
# The jackknife leaves out one seed at a time or, with more seeds than this, one of this many groups of seeds.
GROUPS = 20
_LOST = ("log10_error", "accuracy_lost", "loss_added")


@dataclass(frozen=True, kw_only=True, eq=False)
class Regret:
    """Regret of transfer rules.

    Every interval is a Student's t interval with a jackknife standard error over seeds. Each jackknife replicate
    recomputes the optima and the curves of all depths. With one seed the intervals are NaN.

    Attributes:
        by_depth: one row for each rule and each depth except the base: rule, depth, predicted, swept, log10_error
            (log10 of predicted / swept), accuracy_lost (relative to the best accuracy) with its interval accuracy_low
            and accuracy_high, loss_added (nats) with its interval loss_low and loss_high.
        mean: one row for each rule, with means over its depths: rule; depths, their number; abs_log10_error;
            accuracy_lost and loss_added with their intervals; worst, the largest accuracy_lost.
    """

    by_depth: pd.DataFrame
    mean: pd.DataFrame

    def __repr__(self) -> str:
        depths = f"depths {range_text(sorted(set(self.by_depth['depth'])))}"
        mean = self.mean[self.mean["rule"] != SWEPT]
        lost = dict(zip(mean["rule"], mean["accuracy_lost"], strict=True))
        best = min(lost, key=lambda rule: float(lost[rule]), default="")
        return brief_repr(self, count_text(len(lost), "rule"), depths, best=best, accuracy_lost=lost.get(best))

    def to_rows(self) -> list[dict[str, str | float | int | None]]:
        """The rows of ``by_depth`` for JSON; NaN and infinite numbers become None."""
        rows = self.by_depth.drop(columns="rule")
        return [{"rule": rule, **row} for rule, row in zip(self.by_depth["rule"], json_rows(rows), strict=True)]


@np.errstate(over="ignore", invalid="ignore")  # the loss of a replica that nearly diverged may be infinite
def transfer_regret(
    runs: pd.DataFrame, rules: Rules, *, base: int, kind: str = "smoothed", level: float = 0.95
) -> Regret:
    """Regret of each rule that transfers the swept optimum of the depth ``base`` to the other depths.

    A rule predicts lr*(base) · rule(depth)/rule(base), with lr* the swept optimum. The means over seeds of validation
    accuracy and loss are interpolated linearly in log η. The regret is the difference between the best value of the
    grid and the value at the predicted learning rate: relative for accuracy, in nats for the loss. A learning rate at
    which a replica diverged gets the worst mean of its depth. A prediction outside the grid gets the value at the
    nearest end of the grid.

    The maximum of many noisy points is on average larger than the true maximum, so even a perfect prediction has some
    regret. To show its size, a rule "swept" is added, which predicts the swept optimum of each depth.

    Args:
        runs: columns depth, lr, seed, val_accuracy, val_loss, diverged: one row for each replica.
        rules: for each rule, η* by depth up to a constant factor; a depth without a value is skipped for that rule.
        base: the depth where the learning rate was tuned.
        kind: "smoothed" or "argmax": the swept optimum that is transferred and that ``log10_error`` refers to.
        level: confidence level of the intervals.

    Raises:
        InputError: there are no runs at the base depth, every learning rate of a depth has a diverged run, or a rule
            has no positive η* at the base depth.
    """
    check_known("optimum", kind, TUNED)
    check_level(level)
    runs = checked_runs(runs, (*RUN_COLUMNS, "val_loss"))
    if base not in set(runs["depth"]):
        raise InputError(f"base={base} is not a depth of the runs; choose one of {sorted(set(runs['depth']))}")
    for rule, law in rules.items():
        if not law.get(base, 0.0) > 0:
            raise InputError(f"rule {rule!r} has no η* at the base depth {base}; it has {dict(law)}")
        if not all(0 < lr < np.inf for lr in law.values()):
            raise InputError(f"rule {rule!r} has an η* that is not positive and finite: {dict(law)}")
    curves = {int(str(depth)): _DepthCurves.from_runs(group) for depth, group in runs.groupby("depth")}
    comparison = _Comparison(rules=rules, base=base, kind=kind)
    seeds = np.unique(runs["seed"])
    groups = np.array_split(seeds, min(len(seeds), GROUPS)) if len(seeds) > 1 else []
    by_depth = comparison.regret(curves)
    replicates = [comparison.regret({depth: one.without(group) for depth, one in curves.items()}) for group in groups]
    mean = _with_intervals(_mean(by_depth), [_mean(replicate) for replicate in replicates], level)
    by_depth = _with_intervals(by_depth, replicates, level)
    return Regret(by_depth=by_depth[list(COLUMNS)], mean=mean[list(MEAN_COLUMNS)])


def _mean(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the depths of each rule."""
    groups = table.assign(abs_log10_error=table["log10_error"].abs()).groupby("rule", sort=False)
    return groups.agg(
        depths=("depth", "size"),
        abs_log10_error=("abs_log10_error", "mean"),
        accuracy_lost=("accuracy_lost", "mean"),
        loss_added=("loss_added", "mean"),
        worst=("accuracy_lost", "max"),
    ).reset_index()


def _with_intervals(table: pd.DataFrame, replicates: Sequence[pd.DataFrame], level: float) -> pd.DataFrame:
    """Add intervals to a table that was computed from all seeds, given its jackknife replicates."""
    result = table.copy()
    for name, prefix in (("accuracy_lost", "accuracy"), ("loss_added", "loss")):
        values = [replicate[name].to_numpy() for replicate in replicates]
        low, high = _jackknife_interval(table[name].to_numpy(), values, level)
        result[f"{prefix}_low"], result[f"{prefix}_high"] = low, high
    return result


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """The settings of a comparison, which are the same for every jackknife replicate."""

    rules: Rules
    base: int
    kind: str

    def regret(self, curves: "Mapping[int, _DepthCurves]") -> pd.DataFrame:
        """``Regret.by_depth`` without its intervals."""
        swept = {depth: one.accuracy.optimum().lr_star(self.kind)[0] for depth, one in curves.items()}
        tuned = swept[self.base]
        predicted = {
            (rule, depth): tuned * law[depth] / law[self.base]
            for rule, law in self.rules.items()
            for depth in curves
            if depth in law
        } | {(SWEPT, depth): swept[depth] for depth in curves}
        means = {depth: one.means() for depth, one in curves.items()}
        rows = []
        for (rule, depth), lr in predicted.items():
            if depth == self.base:
                continue
            accuracy, loss = means[depth]
            at = partial(np.interp, np.log(lr), np.log(curves[depth].accuracy.lrs))
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
class _DepthCurves:
    """Validation accuracy and loss of the runs of one depth."""

    accuracy: SeedCurves
    loss: SeedCurves

    @classmethod
    def from_runs(cls, runs: pd.DataFrame) -> "_DepthCurves":
        loss = runs.assign(val_accuracy=runs["val_loss"])
        return cls(accuracy=SeedCurves.from_runs(runs), loss=SeedCurves.from_runs(loss))

    def without(self, seeds: NDArray[np.int64]) -> "_DepthCurves":
        return _DepthCurves(accuracy=self.accuracy.without(seeds), loss=self.loss.without(seeds))

    def means(self) -> tuple[Array, Array]:
        """Mean accuracy and mean loss at each learning rate; where a replica diverged, the worst mean of the depth."""
        return _mean_curve(self.accuracy, np.nanmin), _mean_curve(self.loss, np.nanmax)


def _mean_curve(curves: SeedCurves, worst: Callable[[Array], float]) -> Array:
    """Mean over seeds at each learning rate; where a replica diverged, the worst of these means."""
    finite = np.isfinite(curves.accuracy)
    usable = finite.any(axis=0) & ~curves.diverged.any(axis=0)
    sums = np.where(finite, curves.accuracy, 0.0).sum(axis=0)
    mean = np.where(usable, sums / np.maximum(finite.sum(axis=0), 1), np.nan)
    return np.where(usable, mean, worst(mean))


def _jackknife_interval(values: Array, replicates: Sequence[Array], level: float) -> tuple[Array, Array]:
    """Ends of the interval around each value, from its jackknife replicates; NaN with fewer than two."""
    n = len(replicates)
    if n < 2:
        return np.full_like(values, np.nan), np.full_like(values, np.nan)
    error = jackknife_error(np.asarray(replicates))
    return t_interval(values, error, df=n - 1, probability=upper_probability(level))
