"""Statistics of rows of S̄, one row a weight draw, one column a depth or a setting."""

from collections.abc import Callable, Sequence

import numpy as np

from ammup.arrays import Array
from ammup.claims.draws import Seeds, Setting
from ammup.stats.equivalence import Region

Statistic = Callable[[Array], float]


def log_lr_star(rows: Array) -> Array:
    """Log η* of every column: -½ log of the mean over draws of S̄."""
    return np.asarray(-0.5 * np.log(rows.mean(axis=0)))


def slope_over(x: Sequence[float] | Array) -> Statistic:
    """Least-squares slope of log η* on log x."""
    weights = _slope_weights(x)
    return lambda rows: float(weights @ log_lr_star(rows))


def slope_difference(x: Sequence[float] | Array) -> Statistic:
    """The slope in the second half of the columns minus that in the first half."""
    weights = _slope_weights(x)
    return lambda rows: float(np.append(-weights, weights) @ log_lr_star(rows))


def log_ratio(rows: Array) -> float:
    """Log of η* in the last column over η* in the first."""
    log_lr = log_lr_star(rows)
    return float(log_lr[-1] - log_lr[0])


def slope_of_law(setting: Setting, x: Sequence[float] | Array | None = None) -> float:
    """Slope of the wide-limit law, against depth unless other x are given."""
    depths = np.asarray(setting.depths if x is None else x, dtype=np.float64)
    return float(_slope_weights(depths) @ np.log(setting.law()))


def around_slope_of_law(setting: Setting, margin: float) -> Callable[[], Region]:
    """The law's slope ± margin."""
    return lambda: Region.around(slope_of_law(setting), margin)


def side_by_side(*settings: Setting) -> Callable[[Seeds], Array]:
    """S̄ of several settings, column after column."""
    return lambda seeds: np.concatenate([setting.S_bar(seeds) for setting in settings], axis=1)


def _slope_weights(x: Sequence[float] | Array) -> Array:
    log_x = np.log(np.asarray(x, dtype=np.float64))
    centred = log_x - log_x.mean()
    return np.asarray(centred / (centred @ centred))
