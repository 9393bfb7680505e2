"""The features of a measured depth law in which faults differ, relative to what a correct model shows.

A vector of real numbers with a covariance, and facts. All logarithms are natural. D is the number of depths.

    shift (D numbers)  the change of log η* at each depth
    tilt (D numbers)   the change of log S_l from the first to the last unit of the net of each depth (a line fitted to
                       the change of log S_l over l, times the number of steps)
    step (1 number)    log of 0.1 plus the largest deviation of one step of that change, from one unit to the next,
                       from the median step; mean over depths. It is large if a single unit differs.
    still              some units do not change at all (S_l = 0)
    copied             layers have equal weights, more of them in a deeper net
    count              how the number of depth units changed: "same", "one fewer", "one more", "twice", "other"
    residual           the net has residual blocks

A feature that cannot be measured is left out, or None: tilt and step if the number of units changed, if some units are
still, or if the net has fewer than 2 or 3 units; count if no baseline states the number of units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ammup.arrays import Array
from ammup.gate.net_facts import NetFacts
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region

# Without a baseline: prior variance of the unknown log η* of all depths; slope and spread of the tilt of correct nets
# per unit and their prior variance, which nine correct architectures show (docs/likely_causes.md).
UNKNOWN_LEVEL = 25.0
CORRECT_TILT, CORRECT_TILT_PER_UNIT = 1.0, 0.4
TILT_ERROR, TILT_ERROR_PER_UNIT = 1.0, 0.3
STEP_ERROR = 0.5
# If S̄ changes by random draws, most of that is in the deeper units: the tilt changes by about -1.7 times log η*.
TILT_OF_SHIFT = -1.7
# Added to the largest step, so that the logarithm of a perfectly smooth profile is finite.
SMALLEST_STEP = 0.1


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a correct model shows.

    Attributes:
        slope: slope of log η* on log L.
        log_lr: log η* at each depth.
        variances: variances of the measurement errors of ``log_lr``, which are independent.
        common: covariance matrix of its errors that do not come from weight draws.
        S: for each depth S_l at learning rate 1; None if no baseline states them.
        copied: whether layers of the correct model have equal weights.
    """

    slope: float
    log_lr: Array
    variances: Array
    common: Array
    S: Mapping[int, Array] | None = None
    copied: bool = False

    @classmethod
    def from_slope(cls, region: Region, law: DepthLaw) -> "Expectation":
        """The expected slope, of which half the margin is the standard error, with any prefactor."""
        log_depth = np.log(np.array(list(law.units), dtype=np.float64))
        slope_variance = ((region.high - region.low) / 4) ** 2
        return cls(
            slope=region.centre,
            log_lr=region.centre * log_depth,
            variances=np.zeros(len(log_depth)),
            common=UNKNOWN_LEVEL + slope_variance * np.outer(log_depth, log_depth),
        )


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of a law; see the module.

    Attributes:
        depths: the depths.
        n_units: number of depth units of the correct model at each depth.
        slope: slope of log η* on log L of the correct model.
        values: shift, tilt and step; NaN where they cannot be measured.
        covariance: covariance matrix of the errors of ``values``.
        still: whether some units do not change.
        copied: whether layers have equal weights, unlike those of the correct model.
        count: how the number of units changed, or None.
        residual: whether the net has residual blocks, or None.
        noise: root mean square of the standard errors of the shift from weight draws.
    """

    depths: Array
    n_units: Array
    slope: float
    values: Array
    covariance: Array
    still: bool
    copied: bool
    count: str | None
    residual: bool | None
    noise: float

    @classmethod
    def from_law(cls, law: DepthLaw, expectation: Expectation, facts: NetFacts) -> "Features":
        """The features of a law and the facts of its nets, relative to what is expected."""
        depths = np.array(list(law.units), dtype=np.float64)
        variances = _variances(law) + expectation.variances
        shift = np.log(law.curve["lr_star"].to_numpy()) - expectation.log_lr
        units = np.array(list(law.units.values()), dtype=np.float64)
        known = expectation.S
        n_units = units if known is None else np.array([len(known[depth]) for depth in law.units], dtype=np.float64)
        still = any(bool(np.any(s == 0)) for s in law.S.values())
        still = still and (known is None or not any(bool(np.any(s == 0)) for s in known.values()))
        comparable = not still and np.array_equal(units, n_units)
        tilts, steps = _profile_changes(law.S, known) if comparable else ([np.nan] * len(units), [])
        step = np.log(SMALLEST_STEP + np.mean(steps)) if steps else np.nan
        return cls(
            depths=depths,
            n_units=n_units,
            slope=expectation.slope,
            values=np.array([*shift, *tilts, step]),
            covariance=_covariance(variances, expectation.common, n_units, known is None),
            still=still,
            copied=facts.copied and not expectation.copied,
            count=None if known is None else _count_change(units, n_units),
            residual=facts.residual,
            noise=float(np.sqrt(np.mean(variances))),
        )


def _variances(law: DepthLaw) -> Array:
    """Variances of log η* at each depth; 0 for a model that draws nothing at random."""
    se = np.nan_to_num(law.curve["se_log10"].to_numpy() * np.log(10))
    df = max(law.draws - 1, 3)
    variances: Array = se**2 * df / (df - 2)  # the variance of Student's t
    return variances


def _profile_changes(S: Mapping[int, Array], correct: Mapping[int, Array] | None) -> tuple[list[float], list[float]]:
    """The tilt at each depth (NaN for one unit) and the largest step at each depth with at least three units."""
    tilts, steps = [], []
    for depth, s in S.items():
        usual = _typical_profile(len(s)) if correct is None else correct[depth]
        moving = (s > 0) & (usual > 0) & np.isfinite(s)
        position = np.linspace(0, 1, len(s))[moving]
        change = np.log(s[moving]) - np.log(usual[moving])
        tilts.append(float(np.polyfit(position, change, 1)[0]) if len(change) > 1 else float("nan"))
        if len(change) > 2:
            step = np.diff(change)
            steps.append(float(np.max(np.abs(step - np.median(step)))))
    return tilts, steps


def _typical_profile(n_units: int) -> Array:
    """S_l of a typical correct net, up to a factor."""
    unit = np.arange(1, n_units + 1, dtype=np.float64)
    tilt = CORRECT_TILT + CORRECT_TILT_PER_UNIT * n_units
    profile: Array = unit * np.exp(tilt * (unit - 1) / max(n_units - 1, 1))
    return profile


def _covariance(variances: Array, common: Array, n_units: Array, typical: bool) -> Array:
    """The covariance matrix of the errors of all features.

    Args:
        variances: variances of log η* from weight draws, of both laws together.
        common: covariance matrix of the other errors of log η*.
        n_units: number of units at each depth.
        typical: whether tilt and step are relative to a typical correct net instead of a baseline.
    """
    n = len(variances)
    noise = np.diag(variances)
    covariance = np.zeros((2 * n + 1, 2 * n + 1))
    covariance[:n, :n] = noise + common
    covariance[:n, n:-1] = covariance[n:-1, :n] = TILT_OF_SHIFT * noise
    covariance[n:-1, n:-1] = (TILT_OF_SHIFT**2 + 1) * noise
    if typical:
        spread = TILT_ERROR + TILT_ERROR_PER_UNIT * n_units
        covariance[n:-1, n:-1] += np.outer(spread, spread) + np.diag(0.25 * spread**2)
        covariance[-1, -1] = STEP_ERROR**2
    return covariance


def _count_change(units: Array, n_units: Array) -> str:
    changes = {"same": n_units, "one fewer": n_units - 1, "one more": n_units + 1, "twice": 2 * n_units}
    return next((name for name, count in changes.items() if np.array_equal(units, count)), "other")
