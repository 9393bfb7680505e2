"""Curves η*(L) as decisions read them: S̄ of the weight draws, or the stored values of a baseline.

Axes: draw, depth.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ammup.arrays import Array
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.power_law import PowerLaw, fit_maximal_lr, maximal_lr_of


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """η* of one depth with the standard error of log10 η* and the number of weight draws."""

    lr_star: float
    se: float
    draws: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A measured curve.

    Attributes:
        depths: the depths, ascending.
        S_bar: S̄ at learning rate 1, (draw, depth).
        first_seed: the seed of the first draw; those of the others follow.
        units: for each depth the number of depth units.
        power_law: the line fitted to it.
    """

    depths: tuple[int, ...]
    S_bar: Array
    first_seed: int
    units: Mapping[int, int]
    power_law: PowerLaw

    @classmethod
    def from_law(cls, law: DepthLaw) -> "Curve":
        """The curve of a measured law."""
        table = law.table.pivot(index="seed", columns="depth", values="S_bar")
        return cls(
            depths=tuple(int(depth) for depth in table.columns),
            S_bar=table.to_numpy(dtype=np.float64),
            first_seed=int(table.index[0]),
            units=law.units,
            power_law=law.power_law,
        )

    @classmethod
    def from_draws(
        cls, S_bar: Mapping[int, Array], *, first_seed: int, units: Mapping[int, int], level: float
    ) -> "Curve":
        """The curve of draws of S̄, as many at each depth.

        Raises:
            InputError: as in :func:`ammup.stats.power_law.fit_maximal_lr`.
        """
        depths = tuple(sorted(S_bar))
        return cls(
            depths=depths,
            S_bar=np.stack([S_bar[depth] for depth in depths], axis=1),
            first_seed=first_seed,
            units=units,
            power_law=fit_maximal_lr(S_bar, level=level),
        )

    @property
    def draws(self) -> int:
        """Number of weight draws at each depth."""
        return len(self.S_bar)

    @cached_property
    def points(self) -> dict[int, CurvePoint]:
        """η* of each depth, from the mean of S̄."""
        return curve_points(self.S_bar, self.depths, maximal_lr_of)

    def stored(self) -> "StoredCurve":
        """The curve as a baseline stores it."""
        return StoredCurve(
            points=self.points,
            slope=self.power_law.slope,
            units=self.units,
            first_seed=self.first_seed,
            S_bar=self.S_bar,
        )


@dataclass(frozen=True, kw_only=True)
class StoredCurve:
    """The curve of a baseline.

    Attributes:
        points: η* of each depth.
        slope: slope of log η* on log L.
        units: for each depth the number of depth units; {} in files of versions that did not store it.
        first_seed: the seed of the first draw; those of the others follow.
        S_bar: S̄ of each draw, (draw, depth); None in files of versions that did not store it.
    """

    points: Mapping[int, CurvePoint]
    slope: float
    units: Mapping[int, int]
    first_seed: int
    S_bar: Array | None

    @property
    def draws(self) -> int:
        """Number of weight draws at each depth."""
        return min(point.draws for point in self.points.values())

    @property
    def slope_se(self) -> float:
        """Standard error of the slope: that of the least-squares line through the points."""
        return float(np.linalg.norm(slope_weights(list(self.points)) * [point.se for point in self.points.values()]))

    def recounted(self, units: Mapping[int, int]) -> list[int]:
        """The depths at which the number of depth units differs from the stored one, if that is known."""
        return [depth for depth in sorted(units) if self.units.get(depth, units[depth]) != units[depth]]


def slope_weights(depths: list[int] | tuple[int, ...]) -> Array:
    """The weight of log10 η* of each depth in the slope of the least-squares line."""
    log_depth = np.log10(depths)
    centred = log_depth - log_depth.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def curve_points(
    S_bar: Array, depths: Iterable[int], estimate: Callable[[Array], tuple[float, float]]
) -> dict[int, CurvePoint]:
    """The points of a curve from draws (draw, depth) and an estimate (η*, standard error of log10 η*) of a depth."""
    estimates = {depth: estimate(s) for depth, s in zip(depths, S_bar.T, strict=True)}
    return {depth: CurvePoint(lr_star=lr, se=se, draws=len(S_bar)) for depth, (lr, se) in estimates.items()}
