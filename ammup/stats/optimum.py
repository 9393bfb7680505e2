"""The best learning rate of a sweep, with its uncertainty, and how it falls with depth.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError, check_known
from ammup.format import json_rows
from ammup.stats.power_law import PowerLaw, fit_power_law
from ammup.stats.segment import Segment

OPTIMA = ("smoothed", "argmax")
# The neighbourhood of a maximum: next to one another, and less than this share of the whole rise below it.
NEAR = 0.25
# Two more than a parabola has coefficients, so that something is left to judge it by.
FEWEST = 5

# Whatever is called an accuracy is not this large, and its square has to be a number.
LARGEST = 1e100
# A parabola that bends by less accuracy than this is flat but for rounding.
FLAT = 1e-12

# What JSON says of a line, or that there is none.
_LINE = ("slope", "slope_se", "slope_ci", "level", "prefactor", "r2")

RUN_COLUMNS = ("depth", "lr", "seed", "val_accuracy", "diverged")
EDGE, DIVERGENCE, NO_MAXIMUM, INCOMPLETE = "edge of the grid", "beside divergence", "no maximum", "cells are missing"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The learning rate with the best validation accuracy, in two ways.

    Attributes:
        argmax: the paper's (section 4.1): each seed's best grid point, averaged over seeds in log η.
        argmax_se: standard error of log10 argmax.
        smoothed: top of the parabola through the neighbourhood of the maximum, seeds pooled; the argmax of the mean
            over seeds where there is no such top.
        smoothed_se: standard error of log10 smoothed.
        accuracy: mean validation accuracy over seeds at the best grid point.
        near: (lowest, highest) learning rate that the parabola was fitted to.
        flags: why the optimum is not to be trusted; empty where it is.
    """

    argmax: float
    argmax_se: float
    smoothed: float
    smoothed_se: float
    accuracy: float
    near: tuple[float, float]
    flags: tuple[str, ...]

    def lr_star(self, kind: str) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of the kind "smoothed" or "argmax"."""
        return (self.argmax, self.argmax_se) if kind == "argmax" else (self.smoothed, self.smoothed_se)


@dataclass(frozen=True, kw_only=True)
class SweepLaw:
    """How the best learning rate of a sweep falls with depth.

    Attributes:
        optima: by depth.
        kind: "smoothed" or "argmax", what the line was fitted to.
        used: depths that the line was fitted to; the others are flagged.
        power_law: weighted least squares (section 4.1), or None with fewer than two usable depths.
        predictions: for each segment what its anchors' line says of the other depths, or None where an anchor is
            flagged or missing.
    """

    optima: Mapping[int, Optimum]
    kind: str
    used: tuple[int, ...]
    power_law: PowerLaw | None
    predictions: Mapping[Segment, pd.DataFrame | None]

    def lr_star(self, depth: int) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of one depth."""
        return self.optima[depth].lr_star(self.kind)

    @property
    def line(self) -> pd.DataFrame:
        """The fitted line and its band at every depth: depth, fitted, low, high; NaN where there is no line."""
        depth = list(self.optima)
        if self.power_law is None:
            return pd.DataFrame({"depth": depth, "fitted": np.nan, "low": np.nan, "high": np.nan})
        low, high = self.power_law.band(depth)
        return pd.DataFrame({"depth": depth, "fitted": self.power_law.predict(depth), "low": low, "high": high})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None for JSON; a number that does not exist is None."""
        return {
            "optimum": self.kind,
            **(dict.fromkeys(_LINE) if self.power_law is None else self.power_law.to_dict()),
            "used": list(self.used),
            "line": json_rows(self.line),
            "optima": [{"depth": depth, **asdict(found)} for depth, found in self.optima.items()],
            "segments": [
                {**asdict(segment), "predictions": None if table is None else json_rows(table)}
                for segment, table in self.predictions.items()
            ],
        }


def fit_sweep(
    runs: pd.DataFrame,
    *,
    kind: str = "smoothed",
    keep_flagged: bool = False,
    segments: Sequence[Segment] = (),
    left_out: pd.DataFrame | None = None,
    level: float = 0.95,
) -> SweepLaw:
    """The optimum of every depth, and the power law through those that can be trusted.

    Args:
        runs: columns depth, lr, seed, val_accuracy, diverged: one row for each replica.
        kind: "smoothed" or "argmax".
        keep_flagged: use flagged optima as well.
        segments: for zero-shot transfer (section 4.2).
        left_out: columns depth, lr, seed: cells that a search left out (:func:`ammup.stats.search.adaptive_search`)
            and that are not missing. None: all were to be trained.
        level: confidence level of the line's intervals.

    Raises:
        InputError: no runs, runs that lack a column or hold something that cannot be, or a depth all of whose runs
            diverged.
    """
    check_known("optimum", kind, OPTIMA)
    runs = checked_runs(runs, RUN_COLUMNS)
    others = pd.DataFrame(columns=["depth", "lr", "seed"]) if left_out is None else left_out
    optima = {
        int(str(depth)): optimum_of(group, left_out=others[others["depth"] == depth])
        for depth, group in runs.groupby("depth")
    }
    used = tuple(depth for depth, found in optima.items() if keep_flagged or not found.flags)
    points = {depth: optima[depth].lr_star(kind) for depth in used}
    line = None
    if len(points) > 1:
        values, errors = (list(column) for column in zip(*points.values(), strict=True))
        line = fit_power_law(list(points), values, se=errors, level=level)
    lr_star = {depth: value for depth, (value, _) in points.items()}
    predictions = {
        segment: segment.predictions(lr_star) if set(segment.anchors) <= set(lr_star) else None for segment in segments
    }
    return SweepLaw(optima=optima, kind=kind, used=used, power_law=line, predictions=predictions)


def checked_runs(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The runs, their values as numbers.

    Raises:
        InputError: no table, no runs, a column that is missing or not of numbers, a learning rate that is none, two
            runs of one cell, or a value that is NaN where the run did not diverge.
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
    """Raise InputError where a value of a run is none that it can have, or where a cell has two runs."""
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


def optimum_of(runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> Optimum:
    """The best learning rate of one depth.

    The smoothed optimum is the top of y = a_s + b u + c u², u = log10 η, fitted to all seeds at the learning rates next
    to the maximum of their mean, with an a_s for each seed s. Its standard error is that of -b/2c (delta method, errors
    from the residuals), or that of the mean of the tops of each seed's own parabola where that is larger: seeds differ
    by more than noise from one learning rate to the next. It is at most the width of the neighbourhood, inside which
    the top is. Both optima's errors include d²/12 for the grid spacing d.
    A diverged replica has no accuracy, and a learning rate at which one seed diverged no mean. Nor has one that a
    search left out for some seeds: the best of means over fewer seeds would be one that got lucky.

    Args:
        runs: columns lr, seed, val_accuracy, diverged.
        left_out: columns lr, seed: cells that a search left out.

    Raises:
        InputError: no learning rate without a diverged replica.
    """
    return SeedCurves.of(runs, left_out=left_out).optimum()


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedCurves:
    """The runs of one depth as arrays: a curve over learning rates for each seed.

    Attributes:
        seeds: ascending, [S].
        lrs: ascending, [P].
        accuracy: NaN where there is none, [S, P].
        diverged: [S, P].
        complete: whether nothing is missing.
        searched: whether something was left out.
    """

    seeds: NDArray[np.int64]
    lrs: Array
    accuracy: Array
    diverged: NDArray[np.bool_]
    complete: bool
    searched: bool

    @classmethod
    def of(cls, runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> "SeedCurves":
        """Arguments as of :func:`optimum_of`."""
        others = pd.DataFrame(columns=["lr", "seed"]) if left_out is None else left_out
        lrs, place = np.unique(np.concatenate([runs["lr"], others["lr"]]).astype(np.float64), return_inverse=True)
        seeds, row = np.unique(np.concatenate([runs["seed"], others["seed"]]), return_inverse=True)
        accuracy = np.full((len(seeds), len(lrs)), np.nan)
        diverged = np.zeros(accuracy.shape, dtype=bool)
        at = row[: len(runs)], place[: len(runs)]
        accuracy[at], diverged[at] = runs["val_accuracy"], runs["diverged"]
        return cls(
            seeds=seeds.astype(np.int64),
            lrs=lrs,
            accuracy=accuracy,
            diverged=diverged,
            complete=len(place) == accuracy.size,
            searched=len(others) > 0,
        )

    def without(self, seeds: NDArray[np.int64]) -> "SeedCurves":
        """All but these seeds."""
        kept = ~np.isin(self.seeds, seeds)
        return replace(self, seeds=self.seeds[kept], accuracy=self.accuracy[kept], diverged=self.diverged[kept])

    def optimum(self) -> Optimum:
        """See :func:`optimum_of`."""
        u, lost = np.log10(self.lrs), np.asarray(self.diverged.any(axis=0))
        accuracy = np.where(lost, np.nan, self.accuracy)
        counted = np.isfinite(accuracy).sum(axis=0)
        if not counted.any():
            raise InputError("every learning rate of a depth diverged; extend the grid to smaller ones")
        meant = counted == counted.max() if self.searched else counted > 0
        mean = np.where(meant, np.nansum(accuracy, axis=0) / np.maximum(counted, 1), -np.inf)
        best = int(np.argmax(mean))
        spacing = float(np.median(np.diff(u))) if u.size > 1 else 0.0
        own = u[np.nanargmax(accuracy[np.isfinite(accuracy).any(axis=1)], axis=1)]
        near = _neighbourhood(mean, best)
        top, error = _top(u[near], accuracy[:, near])
        error = min(max(error, _scatter(u[near], accuracy[:, near])), float(np.ptp(u[near])))
        inside = bool(u[near][0] <= top <= u[near][-1])
        flags = [*_flags(best, self.lrs, lost, top if inside else u[best])]
        flags += [NO_MAXIMUM] * (not inside) + [INCOMPLETE] * (not self.complete)
        return Optimum(
            argmax=float(10 ** own.mean()),
            argmax_se=float(np.sqrt((own.var(ddof=1) / own.size if own.size > 1 else 0.0) + spacing**2 / 12)),
            smoothed=float(10 ** (top if inside else u[best])),
            smoothed_se=float(np.sqrt((error**2 if inside else spacing**2) + spacing**2 / 12)),
            accuracy=float(mean[best]),
            near=(float(self.lrs[near][0]), float(self.lrs[near][-1])),
            flags=tuple(flags),
        )


def _neighbourhood(mean: Array, best: int) -> NDArray[np.intp]:
    """Places next to one another around the best, above the threshold; at least FEWEST where the grid has them."""
    finite = np.isfinite(mean)
    threshold = mean[best] - NEAR * (mean[best] - mean[finite].min())
    low = high = best
    while low > 0 and mean[low - 1] >= threshold:
        low -= 1
    while high < mean.size - 1 and mean[high + 1] >= threshold:
        high += 1
    while high - low + 1 < FEWEST and (_reachable(finite, low - 1) or _reachable(finite, high + 1)):
        take_low = _reachable(finite, low - 1) and (best - low <= high - best or not _reachable(finite, high + 1))
        low, high = (low - 1, high) if take_low else (low, high + 1)
    return np.arange(low, high + 1)


def _reachable(finite: NDArray[np.bool_], place: int) -> bool:
    return 0 <= place < finite.size and bool(finite[place])


def _top(u: Array, accuracy: Array) -> tuple[float, float]:
    """(place of the parabola's maximum, its standard error), NaN where it has none."""
    known = np.isfinite(accuracy)
    counts = known.sum(axis=1, keepdims=True)
    x = np.broadcast_to(u - u.mean(), accuracy.shape)
    parameters = 2 + int((counts > 0).sum())
    points = int(known.sum())
    if points < parameters or known.any(axis=0).sum() < 3:
        return np.nan, np.nan

    def within(values: Array) -> Array:
        """Less their mean over each seed's points: what is left of a fit with an intercept for each seed."""
        means = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
        return np.asarray((values - means)[known])

    design, y = np.column_stack([within(x), within(x**2)]), within(accuracy)
    b, c = coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    if c * np.ptp(u) ** 2 > -FLAT:
        return np.nan, np.nan
    top, df = float(u.mean() - b / (2 * c)), points - parameters
    if df < 1:
        return top, 0.0
    residual = y - design @ coefficients
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual / df)
    gradient = np.array([-1 / (2 * c), b / (2 * c**2)])
    return top, float(np.sqrt(gradient @ covariance @ gradient))


def _scatter(u: Array, accuracy: Array) -> float:
    """Standard error of the mean of the seeds' own tops; 0 where fewer than two seeds have one."""
    whole = np.isfinite(accuracy).all(axis=1) & (u.size > 2)
    tops = np.array([_top(u, row[None])[0] for row in accuracy[~whole]])
    if whole.any():  # parabolas of the same design, all at once
        x = u - u.mean()
        _, b, c = np.linalg.lstsq(np.column_stack([np.ones_like(x), x, x**2]), accuracy[whole].T, rcond=None)[0]
        bent = c * np.ptp(u) ** 2 <= -FLAT
        tops = np.concatenate([tops, u.mean() - b[bent] / (2 * c[bent])])
    known = tops[np.isfinite(tops)]
    return float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else 0.0


def _flags(best: int, lrs: Array, lost: NDArray[np.bool_], top: float) -> Iterator[str]:
    if best in (0, lrs.size - 1):
        yield EDGE
    above = int(np.searchsorted(np.log10(lrs), top, side="right"))  # the next learning rate above the optimum
    if lost[best + 1 : best + 2].any() or lost[above : above + 1].any():
        yield DIVERGENCE
