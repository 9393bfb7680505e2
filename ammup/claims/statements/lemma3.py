"""Lemma 3 and the comparison factor of appendix C: the growth of the tangent moments of a residual net."""

import itertools

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, memoize
from ammup.claims.statements.settings import DENSE, MLP
from ammup.claims.statements.tangents import tangent_moments
from ammup.claims.statistics import Statistic, log_lr_star
from ammup.stats.equivalence import Region

WHERE = "Lemma 3, appendix C"
# (c, number of blocks K)
RECURSIONS = tuple(itertools.product((0.5, 2.0, 4.0), (4, 16)))


@memoize
def _residual_growth(seeds: Seeds) -> Array:
    """Rows (T_0, T_K) for random directions in the stem, two columns for each pair in ``RECURSIONS``."""
    columns = []
    for c, n_blocks in RECURSIONS:
        setting = DENSE.with_arguments(branch=1, c=c).at(n_blocks)
        columns.append(tangent_moments(setting, ("stem.weight",), ("stem", f"blocks.{n_blocks - 1}"), seeds))
    return np.concatenate(columns, axis=1)


def _growths(rows: Array) -> Array:
    """Log of E T_K over E T_0 for each pair in ``RECURSIONS``."""
    t = rows.mean(axis=0)
    return np.asarray(np.log(t[1::2] / t[::2]))


def _growth_over_recursion(rows: Array) -> float:
    """The log growth divided by K log(1 + c/2K), averaged over ``RECURSIONS``."""
    expected = np.array([n_blocks * np.log1p(c / (2 * n_blocks)) for c, n_blocks in RECURSIONS])
    return float(np.mean(_growths(rows) / expected))


def _share_of_bound(c: float, n_blocks: int) -> Statistic:
    """The statistic log r_K / (c/2) for one pair in ``RECURSIONS``."""
    column = RECURSIONS.index((c, n_blocks))
    return lambda rows: float(_growths(rows)[column] / (c / 2))


COMPARED = (DENSE.with_arguments(branch=1, c=0.5).at(4, 16), MLP.at(4, 16))


def _comparison(rows: Array) -> float:
    """Log of the ratio of S̄ residual to S̄ plain at L = 16, minus the same at L = 4."""
    residual, plain = np.split(-2 * log_lr_star(rows), 2)
    return float((residual[1] - plain[1]) - (residual[0] - plain[0]))


def _comparison_law() -> float:
    """:func:`_comparison` of the wide-limit law."""
    residual, plain = (-2 * np.log(setting.law()) for setting in COMPARED)
    return float((residual[1] - plain[1]) - (residual[0] - plain[0]))


CLAIMS = (
    Claim(
        id="lemma-3.recursion",
        where=WHERE,
        statement="E T_l = (1 + c/2K) E T_(l-1) in a residual net with one weight layer in a branch",
        regime="residual dense ReLU, n = 256; c = 0.5, 2, 4; K = 4, 16; directions in the stem",
        estimator="log(E T_K / E T_0) over K log(1 + c/2K), mean over c and K",
        rows=_residual_growth,
        statistic=_growth_over_recursion,
        stated=Region.around(1, 0.1),
        n=160,
    ),
    Claim(
        id="lemma-3.upper-bound",
        where="comparison factor, appendix C",
        statement="r_l <= e^(c/2)",
        regime="residual dense ReLU, n = 256; c = 4, K = 4, l = K; directions in the stem",
        estimator="log r_K over c/2",
        rows=_residual_growth,
        statistic=_share_of_bound(4.0, 4),
        stated=Region(low=-np.inf, high=1),
        n=160,
        remark="(1 + c/2K)^K is 5.06 here and the bound is 7.39; for K >> c they are nearly equal",
    ),
    Claim(
        id="lemma-3.lower-bound",
        where="comparison factor, appendix C",
        statement="1 <= r_l",
        regime="residual dense ReLU, n = 256; c = 0.5, K = 16, l = K; directions in the stem",
        estimator="log r_K over c/2",
        rows=_residual_growth,
        statistic=_share_of_bound(0.5, 16),
        stated=Region(low=0, high=np.inf),
        n=160,
    ),
    Claim(
        id="lemma-3.comparison",
        where="comparison factor, appendix C",
        statement="at every depth, the ratio of S̄ (label part) in a residual net to S̄ in a plain net is between "
        "e^(-c/2) and e^(c/2)",
        regime="dense, n = 256, c = 0.5, one weight layer in a branch, label part; L = 4 and 16",
        estimator="log of S̄ residual over S̄ plain at L = 16, over the same at L = 4",
        rows=lambda seeds: np.concatenate([COMPARED[0].S_bar(seeds), COMPARED[1].S_bar_controlled(seeds)], axis=1),
        statistic=_comparison,
        stated=Region.around(0, 0.5),
        law=lambda: Region.around(_comparison_law(), 0.4),
        remark="a ratio within these bounds changes at most by a factor of e^c from one depth to another, but the "
        "measured ratio falls as 1/L",
        n=96,
    ),
)
