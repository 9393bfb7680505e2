"""The change of the slope of log η* on log L between the shallower and the deeper depths."""

import numpy as np

from ammup.measurement.depth_law import DepthLaw
from ammup.stats.intervals import t_interval, upper_probability


def slope_drift(law: DepthLaw) -> tuple[float, tuple[float, float]]:
    """The slope of the deeper half of the depths minus that of the shallower half, and its confidence interval.

    With an odd number of depths the middle one belongs to neither half. The interval comes from the scatter between
    weight draws and has the level of the law's power law. All three numbers are NaN for fewer than four depths.
    """
    curve = law.curve
    log_depth = np.log10(curve["depth"].to_numpy(dtype=np.float64))
    log_lr = np.log10(curve["lr_star"].to_numpy())
    half = len(log_depth) // 2
    if half < 2:
        return float("nan"), (float("nan"), float("nan"))
    weights = np.zeros(len(log_depth))
    for sign, part in ((-1.0, slice(0, half)), (1.0, slice(len(log_depth) - half, None))):
        centred = log_depth[part] - log_depth[part].mean()
        weights[part] += sign * centred / (centred @ centred)
    variance = np.sum((weights * curve["se_log10"].to_numpy()) ** 2)
    drift = float(weights @ log_lr)
    df = max(int(curve["seeds"].min()) - 1, 1)
    probability = upper_probability(law.power_law.level)
    return drift, t_interval(drift, float(np.sqrt(variance)), df=df, probability=probability)
