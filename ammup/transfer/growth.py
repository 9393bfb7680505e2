"""Detection of exponential changes over depth units, where a power law is expected."""

from collections.abc import Sequence

import numpy as np

from ammup.arrays import Array

# A change over the units by less than this factor, or over fewer units, does not distinguish an exponential from a
# power law. S_l of a plain net is a power law, which has a large factor too, but another shape.
MIN_FACTOR = 20.0
MIN_UNITS = 4


def exponential_factor(values: Sequence[float] | Array) -> float | None:
    """The factor by which a positive series changes exponentially from its first to its last unit, or None.

    A series changes exponentially if a line through its logarithms against the unit number has a smaller residual than
    a line against the logarithm of the unit number, and that line changes by at least a factor of 20, up or down.

    Args:
        values: S_l, or another positive quantity, one value for each unit.

    Example:
        >>> from ammup.transfer.growth import exponential_factor
        >>> round(exponential_factor([3.0**l for l in range(6)]))
        243
        >>> exponential_factor([l**3.0 for l in range(1, 17)]) is None
        True
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < MIN_UNITS or not np.all(np.isfinite(series) & (series > 0)):
        return None
    units = np.arange(1, len(series) + 1, dtype=np.float64)
    rate, residual = _line(units, np.log(series))
    _, power_residual = _line(np.log(units), np.log(series))
    log_factor = rate * (len(series) - 1)
    if residual >= power_residual or abs(log_factor) < np.log(MIN_FACTOR):
        return None
    return float(np.exp(log_factor))


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and root-mean-square residual of a least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(np.sqrt(np.mean((y - intercept - slope * x) ** 2)))
