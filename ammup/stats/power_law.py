"""Power laws y = 10^intercept · depth^slope: straight lines of log10 y on log10 depth, with their uncertainty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ammup.arrays import Array
from ammup.errors import InputError, check_level
from ammup.format import brief_repr, json_number
from ammup.stats.depths import checked_depths
from ammup.stats.intervals import t_interval, upper_probability, welch_df
from ammup.stats.skewness import SYMMETRIC, Skewness, of_log_lr_star

if TYPE_CHECKING:  # imported when a table is made
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted power law; ``slope`` is signed (the paper's law is a slope of -1.5).

    Attributes:
        slope: d log10 y / d log10 depth.
        intercept: log10 y at depth 1.
        covariance: 2×2 covariance of (intercept, slope).
        df: degrees of freedom of Student's t in every interval.
        r2: share of the (weighted) variance of log10 y that the line explains.
        level: confidence level of ``slope_ci`` and of ``band``.
        skewness: that of the slope, for ``slope_ci``; the band is that of Student's t.
    """

    slope: float
    intercept: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    df: float
    r2: float
    level: float
    skewness: Skewness = SYMMETRIC

    def __repr__(self) -> str:
        return brief_repr(
            self, slope=self.slope, slope_ci=self.slope_ci, level=self.level, prefactor=self.prefactor, r2=self.r2
        )

    @property
    def slope_se(self) -> float:
        """Standard error of the slope."""
        return float(np.sqrt(self.covariance[1][1]))

    @property
    def slope_ci(self) -> tuple[float, float]:
        """Two-sided confidence interval of the slope at ``level``."""
        probability = upper_probability(self.level)
        return self.skewness.interval(self.slope, self.slope_se, df=self.df, probability=probability)

    @property
    def prefactor(self) -> float:
        """κ = 10^intercept, the value at depth 1."""
        return float(10**self.intercept)

    def predict(self, depth: ArrayLike) -> Array:
        """The line at each depth, in the units of the fitted values."""
        x = np.log10(np.asarray(depth, dtype=np.float64))
        return np.asarray(10 ** (self.intercept + self.slope * x))

    def band(self, depth: ArrayLike) -> tuple[Array, Array]:
        """Pointwise confidence band of the line at each depth: (lower, upper), in the units of the fitted values."""
        x = np.log10(np.asarray(depth, dtype=np.float64))
        (var_intercept, cross), (_, var_slope) = self.covariance
        centre = np.asarray(self.intercept + self.slope * x)
        error = np.asarray(np.sqrt(var_intercept + 2 * x * cross + x**2 * var_slope))
        low, high = t_interval(centre, error, df=self.df, probability=upper_probability(self.level))
        return np.asarray(10**low), np.asarray(10**high)

    def to_frame(self) -> "pd.DataFrame":
        """One row: slope, slope_se, low and high (the confidence interval of the slope), level, prefactor, r2."""
        import pandas as pd

        values = self.to_dict()
        low, high = values.pop("slope_ci")
        return pd.DataFrame([{**values, "low": low, "high": high}]).astype(float)

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON; NaN and infinite numbers become None."""
        return {
            "slope": json_number(self.slope),
            "slope_se": json_number(self.slope_se),
            "slope_ci": [json_number(v) for v in self.slope_ci],
            "level": self.level,
            "prefactor": json_number(self.prefactor),
            "r2": json_number(self.r2),
        }


def fit_power_law(
    depths: Sequence[int] | ArrayLike, values: ArrayLike, *, se: ArrayLike | None = None, level: float = 0.95
) -> PowerLaw:
    """Fit a line to log10 values against log10 depth by least squares (paper, section 4.1).

    Args:
        depths: at least two distinct depths.
        values: one positive value for each depth.
        se: standard errors of log10(values); if given, the weights are 1/se². As usual in weighted regression, only
            their ratios matter: their common scale is estimated from the scatter about the line.
        level: confidence level of the intervals.

    Returns:
        The line. With two depths there is no scatter about the line, so ``slope_se`` and the intervals are NaN.

    Raises:
        InputError: the lengths differ, a value or standard error is not positive and finite, or a depth is repeated.

    Example:
        >>> from ammup import fit_power_law
        >>> law = fit_power_law([4, 16, 64], [0.8, 0.1, 0.0125])
        >>> round(law.slope, 6), round(law.prefactor, 6)
        (-1.5, 6.4)
    """
    x, y = _log_points(depths, values)
    weights = np.ones_like(y) if se is None else _positive("se", se, y.size) ** -2.0
    coefficients, inverse = _line(x, y, weights)
    residual = y - coefficients[0] - coefficients[1] * x
    df = y.size - 2
    scale = float(weights @ residual**2 / df) if df else float("nan")
    return _power_law(coefficients, inverse * scale, df, _r2(y, residual, weights), level)


def fit_maximal_lr(S_bar: Mapping[int, ArrayLike], *, level: float = 0.95) -> PowerLaw:
    """Fit a power law to η*(L) = (mean of S̄ over weight draws)^(-1/2), with the uncertainty of the draws.

    The fit is ordinary least squares with equal weights, so the slope depends only on the curve η*(L) and can be
    compared with the slope of the same fit to a law at the same depths. The interval contains only the scatter of the
    draws. It does not contain the scatter about the line, because the curvature of the finite-depth law is not noise.
    Draws at different depths are assumed to be independent. The variance of each log10 η* follows from the scatter of
    S̄ (delta method for the logarithm of a mean), and the degrees of freedom are pooled by Welch-Satterthwaite. The
    interval of the slope is corrected for the skewness of S̄, see :mod:`ammup.stats.skewness`.

    Args:
        S_bar: for each depth, the S̄ (at learning rate 1) of one or more weight draws. S̄ is 0 for a dead net, whose
            units do not change in a step.
        level: confidence level of the intervals.

    Returns:
        The line. If a depth has a single draw, ``slope_se`` and the intervals are NaN.

    Raises:
        InputError: there are fewer than two depths, or S̄ is negative, not finite, or 0 in every draw of a depth.
    """
    depths = checked_depths(list(S_bar), at_least=2)
    samples = [_draws(depth, S_bar[depth]) for depth in depths]
    points, sizes = [maximal_lr_of(s) for s in samples], [s.size for s in samples]
    weights = slope_weights(depths)
    skewness = of_log_lr_star(weights, np.array([se for _, se in points]), np.array(sizes))
    return replace(_fit_curve(depths, points, sizes, level), skewness=skewness)


def slope_weights(depths: Sequence[int] | ArrayLike) -> Array:
    """The weight of each log10 value in the slope of a least-squares line on log10 depth, shape (depths,)."""
    x = np.log10(np.asarray(depths, dtype=np.float64))
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def fit_geometric_mean(values: Mapping[int, ArrayLike], *, level: float = 0.95) -> PowerLaw:
    """Fit a power law to the geometric mean over weight draws at each depth, with the uncertainty of the draws.

    The fit and its interval are as in :func:`fit_maximal_lr`.

    Args:
        values: for each depth the positive value of at least one weight draw.
        level: confidence level of the intervals.

    Raises:
        InputError: there are fewer than two depths, or a value is not positive and finite.
    """
    depths = checked_depths(list(values), at_least=2)
    samples = [_positive(f"values at depth {depth}", values[depth], np.size(values[depth])) for depth in depths]
    return _fit_curve(depths, [geometric_mean_of(s) for s in samples], [s.size for s in samples], level)


def fit_points(
    depths: Sequence[int] | ArrayLike, values: ArrayLike, se: Array, df: Array, *, level: float = 0.95
) -> PowerLaw:
    """Fit a power law with equal weights to points with independent standard errors.

    If all standard errors are known, the interval contains these only, as in :func:`fit_maximal_lr`. If one is unknown,
    it is that of ordinary least squares, from the scatter about the line.

    Args:
        depths: at least two distinct depths.
        values: one positive value for each depth.
        se: standard errors of log10(values); NaN if unknown.
        df: degrees of freedom of each standard error; infinite if it is exact.
        level: confidence level of the intervals.

    Raises:
        InputError: as for :func:`fit_power_law`.
    """
    if not np.isfinite(se).all():
        return fit_power_law(depths, values, level=level)
    x, y = _log_points(depths, values)
    coefficients, inverse = _line(x, y, np.ones_like(y))
    return _propagated(x, y, (coefficients, inverse), se, df, level)


def _fit_curve(
    depths: Sequence[int], points: Sequence[tuple[float, float]], sizes: Sequence[int], level: float
) -> PowerLaw:
    """The line through points (value, standard error of its log10), of ``sizes`` weight draws each."""
    x, y = _log_points(depths, [value for value, _ in points])
    se, draws = np.array([se for _, se in points]), np.array(sizes, dtype=np.float64)
    return _propagated(x, y, _line(x, y, np.ones_like(y)), se, draws - 1, level)


def _propagated(x: Array, y: Array, line: tuple[Array, Array], se: Array, df: Array, level: float) -> PowerLaw:
    """The line with the covariance that follows from the standard errors of the points."""
    coefficients, inverse = line
    residual = y - coefficients[0] - coefficients[1] * x
    variances = se**2
    jacobian = inverse @ np.stack([np.ones_like(x), x])  # (2, depths): d coefficients / d y
    covariance = (jacobian * variances) @ jacobian.T
    parts = jacobian[1] ** 2 * variances
    estimable = bool(np.all(df > 0)) and covariance[1, 1] > 0
    pooled = welch_df(parts, df, total=covariance[1, 1]) if estimable else 0.0
    return _power_law(coefficients, covariance, pooled, _r2(y, residual, np.ones_like(y)), level)


def maximal_lr_of(S_bar: ArrayLike) -> tuple[float, float]:
    """(η*, standard error of log10 η*) from S̄ of independent weight draws; with one draw the error is NaN."""
    s = np.atleast_1d(np.asarray(S_bar, dtype=np.float64))
    mean = float(s.mean())
    se_mean = float(s.std(ddof=1) / np.sqrt(s.size)) if s.size > 1 else float("nan")
    return mean**-0.5, se_mean / (2 * mean * np.log(10))


def geometric_mean_of(values: ArrayLike) -> tuple[float, float]:
    """(geometric mean, standard error of its log10) of independent weight draws; with one draw the error is NaN."""
    logs = np.log10(np.atleast_1d(np.asarray(values, dtype=np.float64)))
    se = float(logs.std(ddof=1) / np.sqrt(logs.size)) if logs.size > 1 else float("nan")
    return float(10 ** logs.mean()), se


def _log_points(depths: Sequence[int] | ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    checked = checked_depths(depths, at_least=2)
    x = np.log10(np.asarray(checked, dtype=np.float64))
    return x, np.log10(_positive("values", values, len(checked)))


def _draws(depth: int, S_bar: ArrayLike) -> Array:
    """S̄ of the weight draws at one depth, checked: it may be 0 in some of them, but not in all."""
    s = _numbers(S_bar, lambda: f"S_bar={S_bar!r} at depth {depth}")
    if s.ndim != 1 or not np.all(np.isfinite(s) & (s >= 0)) or not s.any():
        raise InputError(f"S_bar={s.tolist()} at depth {depth} must be finite and at least 0, and not all 0")
    return s


def _numbers(values: ArrayLike, given: Callable[[], str]) -> Array:
    """The values as an array; ``given`` describes them in an error, and is called only then (an array is long text)."""
    try:
        return np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{given()} must be numbers") from error


def _positive(name: str, values: ArrayLike, size: int) -> Array:
    array = _numbers(values, lambda: f"{name}={values!r}")
    if array.shape != (size,):
        raise InputError(f"{name} has shape {array.shape}; expected a list of {size} values")
    if not np.all(np.isfinite(array) & (array > 0)):
        raise InputError(f"{name}={array.tolist()} must be positive and finite")
    return array


def _line(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted least squares: coefficients (intercept, slope) and (XᵀWX)⁻¹."""
    design = np.stack([np.ones_like(x), x], axis=1)
    root = np.sqrt(weights)[:, None]
    q, r = np.linalg.qr(design * root)  # the normal equations would square the condition number
    r_inverse = np.linalg.inv(r)
    coefficients = r_inverse @ (q.T @ (y * root[:, 0]))
    return coefficients, r_inverse @ r_inverse.T


def _r2(y: Array, residual: Array, weights: Array) -> float:
    centred = y - np.average(y, weights=weights)
    total = float(weights @ centred**2)
    return 1 - float(weights @ residual**2) / total if total > 0 else float("nan")


def _power_law(coefficients: Array, covariance: Array, df: float, r2: float, level: float) -> PowerLaw:
    check_level(level)
    (v00, v01), (v10, v11) = covariance.tolist()
    return PowerLaw(
        slope=float(coefficients[1]),
        intercept=float(coefficients[0]),
        covariance=((v00, v01), (v10, v11)),
        df=float(df),
        r2=r2,
        level=level,
    )
