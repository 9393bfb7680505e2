"""Overlap counting (appendix B): E T_l² for weights in layers h1 and h2, and the sum over h1 and h2."""

import numpy as np
import torch

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, step_of, unit_vjp
from ammup.claims.statements.settings import MLP
from ammup.stats.equivalence import Region
from ammup.transfer.depth_factors import overlap_sum, overlap_sum_of_law

DEPTH = 8
WHERE = "overlap counting, appendix B"


def _second_moments(seeds: Seeds) -> Array:
    """Rows with an estimate of (1/n) tr M_h² at layer 8, for h = 1 and h = 8.

    J Jᵀ = a_h M_h, where J is the Jacobian with respect to the weights of layer h, and a_h is the squared norm of the
    layer's input.
    """
    setting = MLP.at(DEPTH)
    names = [f"layers.{layer}.weight" for layer in (0, DEPTH - 1)]
    rows = []
    for seed in seeds:
        step = step_of(setting, seed)
        v = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        gradient = unit_vjp(step, -1, v)
        inputs = [step.inputs, step.pre_activations(step.weights, None)[-2].relu()]
        row = []
        for name, x in zip(names, inputs, strict=True):
            moved = step.unit_tangents({name: gradient[name]})[-1]
            row.append(float((moved / x.square().sum()).double().square().mean()))
        rows.append(row)
    return np.array(rows)


def _double_loop(depth: int) -> int:
    """Σ min(h1, h2) over h1, h2 = 1 … depth."""
    return sum(min(one, other) for one in range(1, depth + 1) for other in range(1, depth + 1))


def _log_last_over_first(rows: Array) -> float:
    """Log of the mean of the last column over the mean of the first."""
    first, last = np.log(rows.mean(axis=0))
    return float(last - first)


CLAIMS = (
    Claim(
        id="overlap.growth",
        where=WHERE,
        statement="E T_l² for weights of layers h1, h2 grows as min{h1, h2}",
        regime="dense ReLU, n = 256, one sample; l = 8, h1 = h2 = 1 and 8",
        estimator="log of (1/n) tr M_h² at h = 8 over h = 1",
        rows=_second_moments,
        statistic=_log_last_over_first,
        stated=Region.around(np.log(8), 0.5),
        law=lambda: Region.around(-np.log(1 + 2 * 7), 0.5),
        n=64,
        remark="it falls with h, as 1 + 2 (l - max{h1, h2}); the sum over h1 and h2 is cubic in l in both cases",
    ),
    Claim(
        id="overlap.sum-identity",
        where=WHERE,
        statement="Σ min{h1, h2} over h1, h2 <= l is l(l+1)(2l+1)/6",
        regime="l = 1 to 60, by double loop",
        estimator="largest difference",
        rows=lambda seeds: np.array([[abs(overlap_sum(depth) - _double_loop(depth))] for depth in range(1, 61)]),
        statistic=np.max,
        stated=Region.around(0, 0),
        n=60,
        exact=True,
    ),
    Claim(
        id="overlap.sum-order",
        where=WHERE,
        statement="the sum over h1, h2 is Θ(l³)",
        regime="Σ [1 + 2 (l - max{h1, h2})] over Σ min{h1, h2}; l = 1 to 1000",
        estimator="largest ratio",
        rows=lambda seeds: np.array([[overlap_sum_of_law(depth) / overlap_sum(depth)] for depth in range(1, 1001)]),
        statistic=np.max,
        stated=Region(low=1, high=2),
        n=1000,
        exact=True,
    ),
)
