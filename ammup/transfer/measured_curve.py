"""A measured curve η*(L), and the ratio of its values at two depths."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_repr, range_text
from ammup.stats.depths import checked_depths
from ammup.stats.intervals import t_interval, upper_probability, welch_df
from ammup.stats.power_law import fit_points

NEEDED = ("depth", "lr_star", "se_log10")


@runtime_checkable
class HasCurve(Protocol):
    """The part of `ammup.DepthLaw` that is used here, which does not need torch."""

    @property
    def curve(self) -> pd.DataFrame:
        """One row for each depth.

        Columns: depth; lr_star; se_log10, the standard error of log10 lr_star, NaN if it is unknown; and optionally
        seeds, the number of weight draws. An attribute ``training_steps`` of the object, if there is one, is the price
        of the measurement.
        """


Measured = HasCurve | Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class MeasuredCurve:
    """η* at some depths, with log η* interpolated linearly in log L between them.

    Attributes:
        depths: ascending.
        log_lr: log10 η*.
        se: standard errors of log10 η*, independent of one another; NaN if unknown.
        df: degrees of freedom of each standard error; infinite if unknown.
    """

    depths: tuple[int, ...]
    log_lr: Array
    se: Array
    df: Array

    def __repr__(self) -> str:
        return brief_repr(self, f"depths {range_text(self.depths)}", lr_star=(10**self.log_lr).tolist())

    @classmethod
    def of(cls, measured: Measured) -> "MeasuredCurve":
        """The curve of a DepthLaw, or of a mapping from depth to η* (without standard errors).

        Raises:
            InputError: ``measured`` is neither of the two, a depth is invalid or missing, or an η* is not positive and
                finite.
        """
        rows = _rows(measured)
        depths = checked_depths(rows["depth"].tolist())
        rows = rows.assign(depth=depths).sort_values("depth")
        lr_star = rows["lr_star"].to_numpy(dtype=np.float64)
        if not np.all(np.isfinite(lr_star) & (lr_star > 0)):
            raise InputError(f"measured contains η*={lr_star.tolist()}; every value must be positive and finite")
        draws = rows["seeds"].to_numpy(dtype=np.float64) if "seeds" in rows else np.full(len(rows), np.inf)
        return cls(
            depths=tuple(sorted(depths)),
            log_lr=np.log10(lr_star),
            se=rows["se_log10"].to_numpy(dtype=np.float64),
            df=np.where(draws > 1, draws - 1, np.inf),
        )

    @np.errstate(over="ignore")  # a ratio beyond the range of floats is infinite
    def ratio(self, from_depth: int, to_depth: int, *, level: float) -> tuple[float, tuple[float, float]]:
        """η*(to)/η*(from), and its confidence interval at ``level``.

        The logarithm of the ratio is a weighted sum of the measured log η*. If both ends are interpolated from the same
        measured depth, its weights are added before they are squared. Between two measured depths, the standard error
        is the root of the sum of their squared standard errors. The quantile is Student's t, with degrees of freedom
        pooled by Welch-Satterthwaite, or normal if the number of draws is unknown. The interval does not include the
        error of the interpolation.

        Returns:
            The ratio, and its interval, which is NaN if a standard error is unknown.

        Raises:
            InputError: a depth lies outside the measured ones.
        """
        if from_depth == to_depth:
            return 1.0, (1.0, 1.0)
        weights = self._weights(to_depth) - self._weights(from_depth)
        used = weights != 0  # the standard errors of other depths may be unknown
        parts = (weights[used] * self.se[used]) ** 2
        variance = float(parts.sum())
        df = welch_df(parts, self.df[used], total=variance)
        centre = float(weights @ self.log_lr)
        ends = t_interval(centre, math.sqrt(variance), df=df, probability=upper_probability(level))
        low, ratio, high = np.power(10.0, [ends[0], centre, ends[1]])
        return float(ratio), (float(low), float(high))

    @np.errstate(over="ignore")
    def fitted_ratio(self, from_depth: int, to_depth: int, *, level: float) -> tuple[float, tuple[float, float]]:
        """As :meth:`ratio`, by the power law that is fitted with equal weights to the measured depths.

        The depths may lie outside the measured ones. The interval is that of the slope. It reflects the standard errors
        of the measured depths or, if these are unknown, the scatter about the line.

        Raises:
            InputError: there are fewer than two measured depths.
        """
        fit = fit_points(self.depths, 10**self.log_lr, self.se, self.df, level=level)
        distance = math.log10(to_depth / from_depth)
        low, high = sorted(distance * end for end in fit.slope_ci)
        if from_depth == to_depth:
            low = high = 0.0
        ratio, low, high = np.power(10.0, [distance * fit.slope, low, high])
        return float(ratio), (float(low), float(high))

    def _weights(self, depth: int) -> Array:
        """The weight of each measured log η* in the log η* interpolated at ``depth``."""
        if not self.depths[0] <= depth <= self.depths[-1]:
            raise InputError(
                f"depth {depth} lies outside the measured depths {list(self.depths)}; "
                f"measure it too, or give depths from {self.depths[0]} to {self.depths[-1]}"
            )
        knots = [math.log(d) for d in self.depths]
        unit_vectors = np.eye(len(knots))
        return np.array([np.interp(math.log(depth), knots, unit) for unit in unit_vectors])


def depths_between(first: int, last: int, *, count: int = 3) -> tuple[int, ...]:
    """At most ``count`` depths strictly between two depths, about equally spaced in log L.

    Example:
        >>> from ammup.transfer.measured_curve import depths_between
        >>> depths_between(4, 64), depths_between(1, 3), depths_between(2, 3)
        ((8, 16, 32), (2,), ())
    """
    inner = np.rint(np.geomspace(first, last, count + 2)[1:-1]).astype(int)
    return tuple(sorted({int(depth) for depth in inner if first < depth < last}))


def _rows(measured: object) -> pd.DataFrame:
    """The measured points as a table with the columns of NEEDED."""
    if isinstance(measured, Mapping):
        points = {"depth": list(measured), "lr_star": list(measured.values())}
        return pd.DataFrame(points).assign(se_log10=np.nan)
    curve = getattr(measured, "curve", None)
    if not isinstance(curve, pd.DataFrame) or not set(NEEDED) <= set(curve.columns):
        raise InputError(
            f"measured is a {type(measured).__name__}; give a DepthLaw, an object whose curve is a DataFrame with "
            f"columns {', '.join(NEEDED)}, or a mapping from depth to η*"
        )
    return curve
