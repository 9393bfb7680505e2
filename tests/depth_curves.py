"""Depth laws and checks with a known curve η*(L)."""

import numpy as np
import pandas as pd

from ammup.gate.check_result import DepthCheck
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region
from ammup.stats.power_law import fit_maximal_lr

# Orthogonal, each with mean 0.
_SIGNS = np.array(
    [
        [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0],
        [1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0],
        [1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0],
        [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0],
    ]
)


def law_of(
    lr_star: dict[int, float],
    *,
    scatter: float = 0.1,
    draws: int = 40,
    units: dict | None = None,
    S: dict | None = None,
) -> DepthLaw:
    """A law with the given η*, whose draws of S̄ have the coefficient of variation ``scatter`` around their mean.

    A multiple of 8 draws is uncorrelated between up to four depths; other numbers have the same signs at each depth.
    """
    patterns = [_SIGNS[i % 4 if draws % 8 == 0 else 0] for i in range(len(lr_star))]
    signs = [np.resize(pattern, draws) for pattern in patterns]
    S_bar = {depth: lr**-2 * (1 + scatter * sign) for (depth, lr), sign in zip(lr_star.items(), signs, strict=True)}
    rows = [
        {"depth": depth, "seed": seed, "S_bar": s, "lr_star": s**-0.5}
        for depth, values in S_bar.items()
        for seed, s in enumerate(values)
    ]
    return DepthLaw(
        table=pd.DataFrame(rows),
        units=units or {depth: depth for depth in lr_star},
        S=S or {depth: np.ones(n) for depth, n in (units or dict(zip(lr_star, lr_star, strict=True))).items()},
        power_law=fit_maximal_lr(S_bar),
    )


def check_of(law: DepthLaw, region: Region, drift: float | None = None) -> DepthCheck:
    return DepthCheck(law=law, region=region, allowed_drift=drift, needed=0)


PAPER = {depth: depth**-1.5 for depth in (4, 8, 16, 32)}
