"""What a transfer rule loses at depths where a whole sweep tells the best learning rate.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ammup.errors import InputError, check_known, check_level
from ammup.fitting.optimum import OPTIMA, RUN_COLUMNS, checked_runs, optimum_of
from ammup.fitting.power_law import json_rows

Array = NDArray[np.float64]
Rules = Mapping[str, Mapping[int, float]]

# The row of the swept optimum of the depth itself: what it "loses" is the noise of the best of many noisy points.
SWEPT = "swept"
COLUMNS = (
    *("rule", "depth", "predicted", "swept", "log10_error"),
    *("accuracy_lost", "accuracy_low", "accuracy_high", "loss_added", "loss_low", "loss_high"),
)
MEAN_COLUMNS = ("rule", "depths", *("abs_log10_error", *COLUMNS[5:]), "worst")
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
    sweep = _Sweep(rules=rules, base=base, kind=kind)
    seeds = sorted(set(runs["seed"]))
    whole, parts = sweep.lost(runs), [sweep.lost(runs[runs["seed"] != seed]) for seed in seeds if len(seeds) > 1]
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
    """The table of all seeds with intervals from those with one seed left out."""
    found = whole.copy()
    for name, ends in (("accuracy_lost", "accuracy"), ("loss_added", "loss")):
        low, high = _jackknife(whole[name].to_numpy(), [part[name].to_numpy() for part in parts], level)
        found[f"{ends}_low"], found[f"{ends}_high"] = low, high
    return found


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What does not change when a seed is left out."""

    rules: Rules
    base: int
    kind: str

    def lost(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The table without its intervals."""
        groups = {int(str(depth)): group for depth, group in runs.groupby("depth")}
        swept = {depth: optimum_of(group).lr_star(self.kind)[0] for depth, group in groups.items()}
        tuned = swept[self.base]
        predicted = {
            (rule, depth): tuned * law[depth] / law[self.base]
            for rule, law in self.rules.items()
            for depth in groups
            if depth in law
        } | {(SWEPT, depth): swept[depth] for depth in groups}
        rows = [
            {
                "rule": rule,
                "depth": depth,
                "predicted": lr,
                "swept": swept[depth],
                **self._lost(groups[depth], lr, swept[depth]),
            }
            for (rule, depth), lr in predicted.items()
            if depth != self.base
        ]
        return pd.DataFrame(rows, columns=["rule", "depth", "predicted", "swept", *_LOST])

    def _lost(self, runs: pd.DataFrame, lr: float, swept: float) -> dict[str, float]:
        accuracy = _mean_curve(runs, "val_accuracy", worst="min")
        loss = _mean_curve(runs, "val_loss", worst="max")
        best = float(accuracy.max())
        return {
            "log10_error": float(np.log10(lr / swept)),
            "accuracy_lost": (best - _at(accuracy, lr)) / best,
            "loss_added": _at(loss, lr) - float(loss.min()),
        }


def _mean_curve(runs: pd.DataFrame, name: str, *, worst: str) -> "pd.Series[float]":
    """Mean over seeds by learning rate, the worst of these where a replica diverged."""
    groups = runs.groupby("lr")
    mean = groups[name].mean().mask(groups["diverged"].any())
    return mean.fillna(mean.agg(worst))


def _at(curve: "pd.Series[float]", lr: float) -> float:
    return float(np.interp(np.log(lr), np.log(curve.index.to_numpy(dtype=np.float64)), curve.to_numpy()))


def _jackknife(whole: Array, parts: Sequence[Array], level: float) -> tuple[Array, Array]:
    """The interval around each figure of the whole, from the same figures with one seed left out."""
    n = len(parts)
    if n < 2:
        return np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    spread = np.sqrt((n - 1) / n * np.sum((np.asarray(parts) - np.mean(parts, axis=0)) ** 2, axis=0))
    half = stats.t.ppf((1 + level) / 2, n - 1) * spread
    return whole - half, whole + half
