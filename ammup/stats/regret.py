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
from ammup.stats.held_out import SWEPT, HeldOut, Law, Rules
from ammup.stats.intervals import jackknife_error, t_interval, upper_probability
from ammup.stats.peak import TUNED, SeedCurves
from ammup.stats.runs import RUN_COLUMNS, checked_runs
from ammup.stats.subsets import all_seeds, tuned_lrs

COLUMNS = (
    *("rule", "depth", "predicted", "swept", "log10_error"),
    *("accuracy_lost", "accuracy_low", "accuracy_high", "loss_added", "loss_low", "loss_high"),
    *("held_out_accuracy", "held_out", "held_out_low", "held_out_high", "off_by_two"),
)
MEAN_COLUMNS = (
    *("rule", "depths", "abs_log10_error", *COLUMNS[5:11], "worst"),
    *("held_out", "held_out_low", "held_out_high", "held_out_worst", "fit_error", "off_by_two", "deepest"),
)
# The jackknife leaves out one seed at a time or, with more seeds than this, one of this many groups of seeds.
GROUPS = 20
_LOST = ("log10_error", "accuracy_lost", "loss_added")
_INTERVALS = {"accuracy_lost": "accuracy", "loss_added": "loss", "held_out": "held_out"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Regret:
    """Regret of transfer rules.

    Every interval is a Student's t interval with a jackknife standard error over seeds. Each jackknife replicate
    recomputes the optima and the curves of all depths. With one seed the intervals are NaN.

    Attributes:
        by_depth: one row for each rule and each depth except the base: rule, depth, predicted, swept, log10_error
            (log10 of predicted / swept), accuracy_lost (relative to the best accuracy) with its interval accuracy_low
            and accuracy_high, loss_added (nats) with its interval loss_low and loss_high; and out of sample
            held_out_accuracy, held_out with its interval held_out_low and held_out_high, and off_by_two.
        mean: one row for each rule, with means over its depths: rule; depths, their number; abs_log10_error;
            accuracy_lost and loss_added with their intervals; worst, the largest accuracy_lost; held_out with its
            interval; held_out_worst, the largest held_out; and three metrics of the transfer (after Kalra and
            Barkeshli, arXiv 2605.21486): fit_error, the root mean square of log10 of (swept optimum / rule) over all
            depths after the best factor; off_by_two, the mean of held_out if each prediction is wrong by a factor of
            two; deepest, held_out at the greatest depth, in place of the limit of large depth.
    """

    by_depth: pd.DataFrame
    mean: pd.DataFrame

    def __repr__(self) -> str:
        depths = f"depths {range_text(sorted(set(self.by_depth['depth'])))}"
        mean = self.mean[self.mean["rule"] != SWEPT]
        lost = dict(zip(mean["rule"], mean["accuracy_lost"], strict=True))
        best = min(lost, key=lambda rule: float(lost[rule]), default="")
        return brief_repr(self, count_text(len(lost), "rule"), depths, best=best, accuracy_lost=lost.get(best))

    def to_frame(self) -> pd.DataFrame:
        """One row for each rule and depth: :attr:`by_depth`."""
        return self.by_depth

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

    ``held_out`` has no such bias. The seeds are divided into two halves in all ways. On one half, the learning rate of
    the base is tuned, and that of every other depth for comparison; on the other half, the accuracies at the predicted
    and at the tuned learning rate are measured. held_out is the relative difference of their means over all divisions:
    0 for "swept", negative if transfer is better than tuning on that half of the seeds. A diverged replica counts with
    the lowest mean accuracy of its depth. With one seed the columns are NaN.

    Args:
        runs: columns depth, lr, seed, val_accuracy, val_loss, diverged: one row for each replica.
        rules: for each rule, η* by depth up to a constant factor, or a function that estimates it from the runs with
            the given seeds; a depth without a value is skipped for that rule.
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
    seeds = np.unique(runs["seed"])
    for rule, law in laws_of(rules, seeds).items():
        if not law.get(base, 0.0) > 0:
            raise InputError(f"rule {rule!r} has no η* at the base depth {base}; it has {dict(law)}")
        if not all(0 < lr < np.inf for lr in law.values()):
            raise InputError(f"rule {rule!r} has an η* that is not positive and finite: {dict(law)}")
    curves = {int(str(depth)): _DepthCurves.from_runs(group) for depth, group in runs.groupby("depth")}
    comparison = _Comparison(rules=rules, base=base, kind=kind)
    groups = np.array_split(seeds, min(len(seeds), GROUPS)) if len(seeds) > 1 else []
    by_depth = comparison.regret(curves)
    replicates = [comparison.regret({depth: one.without(group) for depth, one in curves.items()}) for group in groups]
    mean = _with_intervals(_mean(by_depth), [_mean(replicate) for replicate in replicates], level)
    by_depth = _with_intervals(by_depth, replicates, level)
    return Regret(by_depth=by_depth[list(COLUMNS)], mean=mean[list(MEAN_COLUMNS)])


def laws_of(rules: Rules, seeds: NDArray[np.int64]) -> dict[str, Law]:
    """η* by depth of each rule, estimated from these seeds if the rule is a function."""
    chosen = tuple(int(seed) for seed in seeds)
    return {rule: law(chosen) if callable(law) else law for rule, law in rules.items()}


def _mean(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the depths of each rule."""
    groups = table.assign(abs_log10_error=table["log10_error"].abs()).groupby("rule", sort=False)
    mean = groups.agg(
        depths=("depth", "size"),
        abs_log10_error=("abs_log10_error", "mean"),
        accuracy_lost=("accuracy_lost", "mean"),
        loss_added=("loss_added", "mean"),
        worst=("accuracy_lost", "max"),
        held_out=("held_out", "mean"),
        held_out_worst=("held_out", "max"),
        off_by_two=("off_by_two", "mean"),
    )
    # The base is the one depth at which the error is 0 by definition; it counts in the spread of the errors.
    mean["fit_error"] = groups["log10_error"].agg(lambda errors: float(np.std([0.0, *errors])))
    deepest = table.loc[groups["depth"].idxmax()].set_index("rule")["held_out"]
    mean["deepest"] = deepest.reindex(mean.index)
    return mean.reset_index()


def _with_intervals(table: pd.DataFrame, replicates: Sequence[pd.DataFrame], level: float) -> pd.DataFrame:
    """Add intervals to a table that was computed from all seeds, given its jackknife replicates."""
    result = table.copy()
    for name, prefix in _INTERVALS.items():
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
        swept = {depth: one.tuned_lr(self.kind) for depth, one in curves.items()}
        tuned = swept[self.base]
        laws = laws_of(self.rules, curves[self.base].accuracy.seeds)
        predicted = {
            (rule, depth): tuned * law[depth] / law[self.base]
            for rule, law in laws.items()
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
        table = pd.DataFrame(rows, columns=["rule", "depth", "predicted", "swept", *_LOST])
        held_out = HeldOut(rules=self.rules, base=self.base, kind=self.kind)
        others = held_out.table({depth: one.accuracy for depth, one in curves.items()})
        return table.merge(others, on=["rule", "depth"], how="left").astype(dict.fromkeys(others.columns[2:], float))


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

    def tuned_lr(self, kind: str) -> float:
        """The best learning rate of all seeds."""
        return float(tuned_lrs(self.accuracy, all_seeds(self.accuracy), kind)[0])

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
