"""Theorem 3 and the corollaries of appendix C.1: η*(L) = Θ(L^(-3/2)) for residual nets."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Setting
from ammup.claims.statements.settings import DENSE, DIFFERENCE_MARGIN, IMAGES
from ammup.claims.statistics import (
    around_slope_of_law,
    log_ratio,
    side_by_side,
    slope_difference,
    slope_of_law,
    slope_over,
)
from ammup.stats.equivalence import Region
from ammup.theory.wide_limit import unit_moments

WHERE = "Theorem 3, appendix C"
DEPTHS = (4, 8, 16)
_DENSE = "residual dense, n = 256, c = 2, one sample, mse, label part, readout he; K = 4, 8, 16"
_IMAGES = "residual 2D, 3×3, C = 64, c = 2, 4 images of 4×4, pooled, cross-entropy, mean-field; K = 4, 16"


def _exponent(name: str, where: str, setting: Setting, words: str, regime: str, n: int, limit: str) -> Claim:
    return Claim(
        id=f"theorem-3.exponent-{name}",
        where=where,
        statement=f"η* falls as L^(-3/2) with the number of blocks: {words}",
        regime=regime,
        estimator="slope of log η* on log K",
        rows=setting.S_bar,
        statistic=slope_over(setting.depths),
        stated=Region.around(-1.5, 0.2),
        law=around_slope_of_law(setting, 0.2),
        n=n,
        remark=limit,
    )


def _unchanged(
    name: str, words: str, changed: Setting, *, law: Callable[[], Region] | None = None, remark: str = ""
) -> Claim:
    return Claim(
        id=f"theorem-3.{name}",
        where="Theorem 3, section 3.2",
        statement=f"{words} only the prefactor of η*(L), not its exponent",
        regime=_IMAGES,
        estimator="slope of log η* on log K in the changed net, minus the same slope in the original net",
        rows=side_by_side(IMAGES, changed),
        statistic=slope_difference(IMAGES.depths),
        stated=Region.around(0, DIFFERENCE_MARGIN),
        law=law,
        n=128,
        remark=remark,
    )


def _law_of_last_scaled() -> Region:
    """The slope of the law with only the last layer of each branch scaled, minus that with all layers scaled."""
    slopes = [slope_of_law(IMAGES.with_arguments(scaled=scaled)) for scaled in ("all", "last")]
    return Region.around(slopes[1] - slopes[0], DIFFERENCE_MARGIN)


# The units l at which S_l is compared.
UNITS = (4, 8, 16)


def _S_exponent(rows: Array) -> float:  # noqa: N802
    """Slope of log E S_l on log l."""
    return float(np.polyfit(np.log(UNITS), np.log(rows.mean(axis=0)), 1)[0])


def _growth(name: str, where: str, setting: Setting, words: str, regime: str, n: int) -> Claim:
    deep = setting.at(16)
    units = [unit - 1 for unit in UNITS]
    return Claim(
        id=f"theorem-3.growth-{name}",
        where=where,
        statement=f"S_l = Θ(l³) in a residual net: {words}",
        regime=f"{regime.partition('; K')[0]}; K = 16, l = 4, 8, 16",
        estimator="slope of log S_l on log l",
        rows=lambda seeds: deep.S(seeds)[:, units],
        statistic=_S_exponent,
        stated=Region.around(3, 0.5),
        law=lambda: Region.around(_S_exponent(unit_moments(*deep.law_arguments(16))[None, units]), 0.3),
        n=n,
    )


C11, C12 = "corollary C.1.1", "corollary C.1.2"
MINUS_ONE = "with one weight layer in each branch the growth of the spectral moment is bounded: the limit is -1"
LAST = "if only the last layer is scaled by 1/K, the limit is -1"
FLAT = "if every branch layer is scaled by 1/K, branches of two or more layers vanish for large K: the limit is 0"

CLAIMS = (
    _exponent("m1", WHERE, DENSE.with_arguments(branch=1), "one weight layer in a branch", _DENSE, 96, MINUS_ONE),
    _exponent("m2-all", C11, DENSE.with_arguments(branch=2), "two layers, both scaled by 1/K", _DENSE, 48, FLAT),
    _exponent("m3-all", C11, DENSE.with_arguments(branch=3), "three layers, all scaled by 1/K", _DENSE, 48, FLAT),
    _exponent(
        "m2-last",
        C11,
        DENSE.with_arguments(branch=2, scaled="last"),
        "two layers, the last scaled by 1/K",
        _DENSE,
        96,
        LAST,
    ),
    _exponent(
        "m3-last", C11, DENSE.with_arguments(branch=3, scaled="last"), "three layers, the last scaled", _DENSE, 96, LAST
    ),
    _exponent("conv", C12, IMAGES, "two convolutions, both scaled by 1/K", _IMAGES, 48, FLAT),
    _exponent(
        "conv-last", C12, IMAGES.with_arguments(scaled="last"), "two convolutions, the last scaled", _IMAGES, 160, LAST
    ),
    _exponent(
        "conv-dense",
        C12,
        IMAGES.with_arguments(branch=("conv", "dense")),
        "a convolution and a dense layer, both scaled",
        _IMAGES,
        48,
        FLAT,
    ),
    _growth("m2-all", C11, DENSE.with_arguments(branch=2), "two layers, both scaled by 1/K", _DENSE, 48),
    _growth("conv", C12, IMAGES, "two convolutions, both scaled by 1/K", _IMAGES, 48),
    Claim(
        id="theorem-3.free-of-width",
        where=WHERE,
        statement="a learning rate tuned for a small width can be transferred to any width",
        regime="residual dense, two layers, both scaled, one sample, mse, label part, readout he; K = 8; n = 128, 512",
        estimator="log of η* at n = 512 over η* at n = 128",
        rows=side_by_side(*(DENSE.at(8).of_width(width) for width in (128, 512))),
        statistic=log_ratio,
        stated=Region.around(0, 0.15),
        n=96,
    ),
    _unchanged(
        "projection", "projection shortcuts in a few blocks change", replace(IMAGES.with_arguments(projections=(2,)))
    ),
    _unchanged("groups", "grouping the channels of the convolutions changes", IMAGES.with_arguments(groups=4)),
    _unchanged("dilation", "dilating the kernels of the convolutions changes", IMAGES.with_arguments(dilation=2)),
    _unchanged(
        "batch-norm",
        "batch normalization in the branches (appendix D.2, here at initialization) changes",
        IMAGES.with_arguments(batchnorm=True),
        law=_law_of_last_scaled,
        remark="batch normalization cancels the factor 1/K in the variance of the layer before it, so the net behaves "
        "as if only the last layer of each branch were scaled by 1/K",
    ),
    _unchanged(
        "dropout",
        "dropout in the branches (appendix D.2, here at initialization) changes",
        IMAGES.with_arguments(dropout=0.2),
    ),
)
