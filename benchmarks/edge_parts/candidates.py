"""Definitions of the learning rate at which training stops to work, of one seed's curve over learning rates."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from ammup.stats.peak import optimum_of

Array = NDArray[np.float64]
CHANCE = 0.1  # all stored grids are of CIFAR-10
WINDOW = 10
RISE = 0.05  # shapes are compared only where the accuracy rises by this above chance


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One depth and seed of a grid; axes: P learning rate (ascending), T part of the run.

    Attributes:
        u: log10 of the learning rates, [P].
        accuracy: chance if the run diverged, [P].
        diverged: [P].
        losses: mean training loss of each part, infinite after divergence, [P, T].
        start: training loss before the first step, about that of the first part at the smallest learning rate.
    """

    u: Array
    accuracy: Array
    diverged: NDArray[np.bool_]
    losses: Array
    start: float

    @property
    def best(self) -> int:
        """Index of the best learning rate."""
        return int(np.argmax(self.accuracy))

    def window(self, centre: float) -> slice:
        """The WINDOW learning rates nearest to ``centre``, in log."""
        first = int(np.clip(np.searchsorted(self.u, centre) - WINDOW // 2, 0, self.u.size - WINDOW))
        return slice(first, first + WINDOW)

    def part(self, at: slice) -> "Curve":
        """The curve at some of its learning rates."""
        parts = {name: getattr(self, name)[at] for name in ("u", "accuracy", "diverged", "losses")}
        return replace(self, **parts)


def crossing(curve: Curve, share: float = 0.5, *, last: bool = True) -> float:
    """Where the accuracy falls through a share of its rise above chance, past the best learning rate."""
    level = CHANCE + share * (curve.accuracy[curve.best] - CHANCE)
    return _interpolated(curve.u, curve.accuracy - level, first=curve.best, last=last)


def isotonic(curve: Curve) -> float:
    """As :func:`crossing`, of the monotone curve that is nearest in least squares past the best learning rate."""
    tail = curve.accuracy[curve.best :]
    fitted = optimize.isotonic_regression(tail, increasing=False).x
    return _interpolated(curve.u[curve.best :], fitted - (CHANCE + tail[0]) / 2, first=0, last=True)


def _interpolated(u: Array, values: Array, *, first: int, last: bool) -> float:
    """Where the values fall through 0 at or after index ``first``, the last or the first time; NaN if they do not."""
    falls = np.flatnonzero((values[first:-1] >= 0) & (values[first + 1 :] < 0)) + first
    if not falls.size:
        return np.nan
    i = falls[-1 if last else 0]
    share = values[i] / (values[i] - values[i + 1]) if np.isfinite(values[i + 1]) else 0.5
    return float(u[i] + share * (u[i + 1] - u[i]))


def first_divergence(curve: Curve) -> float:
    """Between the smallest learning rate that diverged and the one below."""
    place = np.flatnonzero(curve.diverged)
    return float(curve.u[max(place[0] - 1, 0) : place[0] + 1].mean()) if place.size else np.nan


def loss_above_start(curve: Curve) -> float:
    """Where the training loss at the end is above the loss before the first step, the first time past its minimum."""
    final = np.where(curve.diverged, np.inf, curve.losses[:, -1])
    return _interpolated(curve.u, curve.start - final, first=int(np.argmin(final)), last=False)


def changepoint(curve: Curve) -> float:
    """Between the learning rates that divide the curve past the best into the two best constants in least squares."""
    tail = curve.accuracy[curve.best :]
    if tail.size < 2:
        return np.nan
    errors = [tail[:i].var() * i + tail[i:].var() * (tail.size - i) for i in range(1, tail.size)]
    i = curve.best + int(np.argmin(errors))
    return float(curve.u[i : i + 2].mean())


def logistic(curve: Curve) -> float:
    """The centre of a logistic fall from the accuracy of the best learning rate to chance, in least squares."""
    u, y = curve.u[curve.best :], curve.accuracy[curve.best :]
    start = crossing(curve)
    if y.size < 4 or np.isnan(start):
        return np.nan

    def errors(p: Array) -> Array:
        return np.asarray(CHANCE + p[2] / (1 + np.exp(np.clip((u - p[0]) / np.exp(p[1]), -50, 50))) - y)

    fit = optimize.least_squares(errors, [start, np.log(0.05), y[0] - CHANCE])
    return float(fit.x[0]) if u[0] <= fit.x[0] <= u[-1] else np.nan


def argmax(curve: Curve) -> float:
    """The best learning rate of the grid."""
    return float(curve.u[curve.best])


def smoothed(curve: Curve) -> float:
    """The smoothed optimum of :func:`ammup.fit_sweep`."""
    runs = pd.DataFrame(
        {"lr": 10**curve.u, "seed": 0, "val_accuracy": curve.accuracy, "diverged": curve.diverged, "depth": 1}
    )
    return float(np.log10(optimum_of(runs).smoothed))


def registered(curves: list[Curve], *, past_best: bool) -> Array:
    """Shifts in log η that lay the curves of several depths over one another, by least squares over all pairs."""
    shapes = [_shape(curve, past_best=past_best) for curve in curves]
    n, rows, values = len(curves), [], []
    for i in range(n):
        for j in range(i + 1, n):
            rows.append(np.eye(n)[j] - np.eye(n)[i])
            values.append(_shift(curves[0].u, shapes[i], shapes[j]))
    return np.asarray(np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0])


def _shape(curve: Curve, *, past_best: bool) -> Array:
    """Accuracy as a share of its rise above chance; 1 below the best learning rate with ``past_best``."""
    shape = np.clip((curve.accuracy - CHANCE) / max(curve.accuracy[curve.best] - CHANCE, RISE), 0, 1)
    return np.where(np.arange(shape.size) < curve.best, 1.0, shape) if past_best else shape


def _shift(u: Array, a: Array, b: Array) -> float:
    """The shift s that minimizes the squared difference of a(u) and b(u + s)."""
    shifts = np.arange(-2, 2, 0.01)
    errors = [np.mean((np.interp(u + s, u, b) - a) ** 2) for s in shifts]
    return float(shifts[int(np.argmin(errors))])


DEFINITIONS: dict[str, Callable[[Curve], float]] = {
    "half rise, last crossing": crossing,
    "half rise, first crossing": partial(crossing, last=False),
    "half rise, isotonic": isotonic,
    "three quarters of the rise, last": partial(crossing, share=0.75),
    "one quarter of the rise, last": partial(crossing, share=0.25),
    "logistic fit of the fall": logistic,
    "changepoint": changepoint,
    "first divergence": first_divergence,
    "loss above its start": loss_above_start,
    "argmax": argmax,
    "smoothed": smoothed,
}
REGISTRATIONS: dict[str, Callable[[list[Curve]], Array]] = {
    "registration of the curves": partial(registered, past_best=False),
    "registration past the best": partial(registered, past_best=True),
}
