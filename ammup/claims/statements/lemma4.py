"""Lemma 4: in a residual net, S_l is of the order of the sum of T_l² over all pairs of weights."""

import numpy as np
import torch
from torch import Tensor

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, step_of, unit_vjp
from ammup.claims.statements.settings import DENSE
from ammup.claims.statements.tangents import mean_square
from ammup.measurement.step import Step
from ammup.stats.equivalence import Region


def _kernel_vector(step: Step, unit: int, vector: Tensor) -> Tensor:
    """The product A_l v of the tangent kernel A_l = J_l J_lᵀ of one unit with a vector."""
    return step.unit_tangents(unit_vjp(step, unit, vector))[unit]


def _magnitude_form(seeds: Seeds) -> Array:
    """Rows (S_1, S_K, |A_1 v|²/n, |A_K v|²/n) with v standard normal.

    E |A v|² = tr A², which is the sum of T² over all pairs of weights.
    """
    setting = DENSE.with_arguments(branch=1).at(16)
    rows = []
    for seed, S in zip(seeds, setting.S(seeds), strict=True):
        step = step_of(setting, seed)
        v = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        rows.append([S[0], S[-1], *(mean_square(_kernel_vector(step, unit, v)) for unit in (0, 15))])
    return np.array(rows)


def _magnitude_statistic(rows: Array) -> float:
    """Log of E S over E |A v|² at l = K, minus the same at l = 1."""
    S_1, S_K, T_1, T_K = np.log(rows.mean(axis=0))
    return float((S_K - T_K) - (S_1 - T_1))


CLAIMS = (
    Claim(
        id="lemma-4.magnitude",
        where="Lemma 4, appendix C",
        statement="in a residual net, S_l is within constant factors of the sum of T_l(µ1, µ2)² over all pairs of "
        "weights µ1, µ2, where T_l(µ1, µ2) is the mean over the units of ∂z^(l)/∂µ1 · ∂z^(l)/∂µ2",
        regime="residual dense ReLU, n = 256, c = 2, K = 16, one weight layer in a branch, label part; l = 1 and 16",
        estimator="log of S_l over tr A_l² at l = 16, over the same at l = 1",
        rows=_magnitude_form,
        statistic=_magnitude_statistic,
        stated=Region.around(0, 1.0),
        n=64,
    ),
)
