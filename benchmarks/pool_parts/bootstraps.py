"""Bootstrap intervals of weighted sums of log means, for many resamples of a pool with the same bootstrap samples.

Axes: R resample of the pool, B bootstrap sample, D draw, C column.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pool_parts.resampling import Array, Bounds, moments_of

SAMPLES = 1_000
# Values of the bootstrap samples of the resamples that are bootstrapped in one call.
CHUNK_VALUES = 20_000_000


def bootstrap_t(
    rows: Array, weights: Array, alphas: Sequence[float], seed: int, samples: int = SAMPLES
) -> list[Bounds]:
    """The studentized bootstrap (Efron 1979): quantiles of (estimate* - estimate)/(jackknife error*)."""
    repeats, n = rows.shape[:2]
    places = np.random.default_rng(seed).integers(n, size=(samples, n))
    ours = moments_of(rows, weights)
    t = np.empty((repeats, samples))
    for i in range(repeats):
        drawn = moments_of(rows[i][places], weights)
        # A bootstrap sample of equal rows has no standard error; it says nothing about the tails.
        t[i] = np.divide(drawn.value - ours.value[i], drawn.se, out=np.zeros(samples), where=drawn.se > 0)
    upper, lower = np.quantile(t, [[1 - a for a in alphas], list(alphas)], axis=1)
    return [(ours.value - u * ours.se, ours.value - v * ours.se) for u, v in zip(upper, lower, strict=True)]


def bca(rows: Array, weights: Array, alphas: Sequence[float], seed: int, samples: int = SAMPLES) -> list[Bounds]:
    """The bias-corrected and accelerated bootstrap (Efron 1987) of SciPy."""

    def statistic(*columns: Array, axis: int) -> Array:
        logs = [w * np.log(column.mean(axis=axis)) for w, column in zip(weights, columns, strict=True)]
        return np.asarray(np.sum(logs, axis=0))

    bounds: list[Bounds] = []
    result = None
    for alpha in alphas:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            result = stats.bootstrap(
                tuple(np.moveaxis(rows, 2, 0)),
                statistic,
                axis=-1,
                paired=True,
                vectorized=True,
                confidence_level=1 - 2 * alpha,
                n_resamples=0 if result else samples,
                bootstrap_result=result,
                method="BCa",
                random_state=np.random.default_rng(seed),
            )
        bounds.append((result.confidence_interval.low, result.confidence_interval.high))
    return bounds


BOOTSTRAPS = {"bootstrap-t": bootstrap_t, "BCa": bca}
