"""Sweeps with a known edge: parametric curves, with the shapes, the noise and the divergence of stored curves.

Axes: P learning rate (ascending).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize
from tracked.search import Grids

from edge_parts.candidates import CHANCE, Array

FINE = np.arange(-3, 3, 0.002)  # log10 of the distance to the edge at which a curve without noise is evaluated


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The product of a logistic rise and a logistic fall that is nearest to a stored curve, and what it leaves.

    Attributes:
        height: accuracy above chance between rise and fall.
        rise: log10 of the distance of the rise's centre below the edge.
        widths: widths of rise and fall.
        offset: log10 of the centre of the fall over the edge, where the product is half of its maximum.
        residuals: stored accuracy minus the product, by the number of grid points from the edge, [P].
        diverged: whether the replica diverged, [P].
        origin: index of the grid point just below the edge in ``residuals`` and ``diverged``.
    """

    height: float
    rise: float
    widths: tuple[float, float]
    offset: float
    residuals: Array
    diverged: NDArray[np.bool_]
    origin: int

    def accuracy(self, x: Array) -> Array:
        """Accuracy without noise at log10 of the distances to the edge."""
        return CHANCE + self.height * product(x, self.rise, self.offset, *self.widths)


def product(x: Array, rise: float, fall: float, width: float, fall_width: float) -> Array:
    """The product of a logistic rise and a logistic fall."""
    up, down = np.clip((x - rise) / width, -50, 50), np.clip((x - fall) / fall_width, -50, 50)
    return np.asarray(1 / (1 + np.exp(-up)) / (1 + np.exp(down)))


def shape_of(u: Array, accuracy: Array, diverged: NDArray[np.bool_]) -> Shape:
    """The shape of one stored curve, by least squares; accuracy is chance where it diverged."""
    top = accuracy.max() - CHANCE
    fall = u[np.flatnonzero(accuracy > CHANCE + top / 2)[-1]]
    start = np.array([0.9 * top, fall - 1.5, fall, np.log(0.3), np.log(0.05)])
    low = [0.7 * top, fall - 3.0, fall - 0.5, np.log(0.05), np.log(0.01)]
    high = [1.2 * top, fall - 0.8, fall + 0.5, np.log(1.0), np.log(0.3)]

    def errors(p: Array) -> Array:
        return np.asarray(CHANCE + p[0] * product(u, p[1], p[2], *np.exp(p[3:])) - accuracy)

    p = optimize.least_squares(errors, start, bounds=(low, high)).x
    widths = (float(np.exp(p[3])), float(np.exp(p[4])))
    values = product(FINE, p[1] - p[2], 0.0, *widths)
    edge = FINE[np.flatnonzero(values >= values.max() / 2)[-1]]
    return Shape(
        height=float(p[0]),
        rise=float(p[1] - p[2] - edge),
        widths=widths,
        offset=float(-edge),
        residuals=-errors(p),
        diverged=diverged,
        origin=int(np.searchsorted(u, p[2] + edge)) - 1,
    )


def stored_shapes() -> list[Shape]:
    """The shapes of all stored curves."""
    grids = Grids.read()
    rows = zip(np.log10(grids.lrs), grids.accuracy, strict=True)
    return [shape_of(u, np.where(row < 0, CHANCE, row), row < 0) for u, row in rows]


def simulated_curve(u: Array, edge: float, shape: Shape, noise: Shape) -> tuple[Array, NDArray[np.bool_]]:
    """(Accuracy, diverged) of a curve with this edge, with the residuals and divergences of another stored curve.

    These are moved by a number of grid points, so that they are as far from the edge as they were in the stored curve.
    """
    spacing = u[1] - u[0]
    at = np.arange(u.size) + noise.origin - int(np.floor((edge - u[0]) / spacing))
    at = np.clip(at, 0, noise.residuals.size - 1)
    return shape.accuracy(u - edge) + noise.residuals[at], noise.diverged[at]


def simulated_sweep(
    rng: np.random.Generator, shapes: list[Shape], *, edges: dict[int, float], scatter: dict[int, float], seeds: int,
    step: int,
) -> pd.DataFrame:  # fmt: skip
    """Runs of a sweep; the edges of the seeds scatter around ``edges`` (log10 η by depth).

    Args:
        rng: random stream.
        shapes: the stored curves that shapes and noise are drawn from.
        edges: log10 of the true edge by depth.
        scatter: standard deviation of a seed's edge in decades, by depth.
        seeds: number of seeds.
        step: every ``step``-th point of a grid of 40 learning rates from 1e-4 to 10 is kept.
    """
    u, rows = np.linspace(-4, 1, 40), []
    kept = slice(int(rng.integers(step)), None, step)
    for depth, edge in edges.items():
        for seed in range(seeds):
            shape, noise = (shapes[i] for i in rng.integers(len(shapes), size=2))
            accuracy, diverged = simulated_curve(u, edge + scatter[depth] * rng.standard_normal(), shape, noise)
            columns = {"lr": 10**u, "val_accuracy": np.where(diverged, np.nan, accuracy), "diverged": diverged}
            rows.append(pd.DataFrame({"depth": depth, "seed": seed, **columns})[kept])
    return pd.concat(rows, ignore_index=True)
