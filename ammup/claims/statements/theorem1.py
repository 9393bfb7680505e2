"""Theorem 1: η*(L) = κ L^(-3/2) for plain nets, κ independent of widths, kernels and resolutions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import SEEDS_PER_ROOT, Claim
from ammup.claims.draws import Seeds, Setting
from ammup.claims.statements.settings import DIFFERENCE_MARGIN, FIELD, LINE, MLP, PLANE, PLUS, SLOPE_MARGIN
from ammup.claims.statistics import (
    Statistic,
    around_slope_of_law,
    log_ratio,
    side_by_side,
    slope_difference,
    slope_of_law,
    slope_over,
)
from ammup.stats.equivalence import Region
from ammup.theory.finite_depth import effective_depth

WHERE = "Theorem 1, appendix B"
LIMIT = "at finite depth, the slope is that of the finite-depth law, which tends to -3/2 only in the limit of large L"
NETS = {"mlp": "plain dense nets", "1d": "plain 1D convolutional nets", "2d": "plain 2D convolutional nets"}

SHALLOW = PLANE.at(2)
# Depth -> widths of the layers
WIDENING = {4: (128, 128, 256, 256), 8: (128,) * 4 + (256,) * 4}


def _against_effective_depth(setting: Setting) -> Statistic:
    """Slope of log η* on the log of the effective depth of the law, which is computed on the first call."""
    return lambda rows: slope_over(effective_depth(setting.law()))(rows)


def _exponent(name: str, setting: Setting, regime: str, *, n: int) -> tuple[Claim, Claim]:
    """Two claims about one setting: the slope against depth, and the slope against the effective depth."""
    rows = setting.S_bar_controlled if setting is MLP else setting.S_bar
    depths = ", ".join(str(depth) for depth in setting.depths)
    return (
        Claim(
            id=f"theorem-1.exponent-{name}",
            statement=f"η* is proportional to L^(-3/2) in {NETS[name]}",
            regime=f"{regime}; L = {depths}",
            estimator="slope of log η* on log L",
            statistic=slope_over(setting.depths),
            stated=Region.around(-1.5, SLOPE_MARGIN),
            law=around_slope_of_law(setting, SLOPE_MARGIN),
            change=LIMIT,
            rows=rows,
            where=WHERE,
            n=n,
        ),
        Claim(
            id=f"theorem-1.effective-depth-{name}",
            statement=f"η* of {NETS[name]} is proportional to L_eff^(-3/2), with the effective depth L_eff for which "
            "the finite-depth law equals L_eff^(-3/2)",
            regime=f"{regime}; L = {depths}",
            estimator="slope of log η* on log L_eff, L_eff = (S̄ of the law)^(1/3)",
            statistic=_against_effective_depth(setting),
            stated=Region.around(-1.5, SLOPE_MARGIN),
            rows=rows,
            where=WHERE,
            n=n,
        ),
    )


def _kernel_columns(
    *kernels: object, depths: tuple[int, ...], base: Setting, per_tap: bool = False
) -> tuple[Setting, ...]:
    """One setting for each kernel."""
    settings = [base.at(*depths).with_arguments(kernel=kernel) for kernel in kernels]
    return tuple(replace(setting, per_tap_lr=per_tap) for setting in settings)


ONE_AND_FIVE = _kernel_columns(1, 5, depths=(2, 8), base=LINE)
ONE_AND_FIVE_SHALLOW = _kernel_columns(1, 5, depths=(4,), base=LINE)
ONE_AND_FIVE_PER_TAP = _kernel_columns(1, 5, depths=(4,), base=LINE, per_tap=True)
GRID = replace(
    FIELD.at(2, 4, 8).with_arguments(width=128, in_channels=128, out_channels=128), inputs=("noise", 1, 128, 5, 5)
)
SHAPES = _kernel_columns(1, (1, 3), PLUS, (3, 3), depths=(4,), base=FIELD)
SHAPES_PER_TAP = _kernel_columns(1, (1, 3), PLUS, (3, 3), depths=(4,), base=FIELD, per_tap=True)
TAPS = (1, 3, 5, 9)
GRIDS = tuple(replace(FIELD, inputs=("noise", 1, 64, side, side)) for side in (4, 8))
RESOLUTIONS = tuple(replace(LINE.at(4), inputs=("noise", 1, 128, n)) for n in (8, 32))


def _resolution_law() -> float:
    """Log ratio of η* of the law at 32 and at 8 positions."""
    few, many = (setting.law()[0] for setting in RESOLUTIONS)
    return float(np.log(many / few))


def _other_draws(rows: Callable[[Seeds], Array]) -> Callable[[Seeds], Array]:
    """Measure with seeds that no other claim uses.

    They are used for the claims with learning-rate factors. On the draws of the claim without these factors, the result
    would follow from that of the other claim by arithmetic, and would not be an independent test.
    """
    return lambda seeds: rows(range(seeds.start + SEEDS_PER_ROOT // 2, seeds.stop + SEEDS_PER_ROOT // 2))


def _widening(depth: int) -> Setting:
    return MLP.at(depth).with_arguments(width=WIDENING[depth])


def _profile_rows(seeds: Seeds) -> Array:
    """S̄ at L = 4 and 8, first with one width and then with the widths in ``WIDENING``."""
    profile = [_widening(depth).S_bar_controlled(seeds) for depth in WIDENING]
    return np.concatenate([MLP.at(*WIDENING).S_bar_controlled(seeds), *profile], axis=1)


def _profile_law() -> float:
    """Slope of the law with the widths in ``WIDENING`` minus its slope with one width."""
    first, last = (_widening(depth).law()[0] for depth in WIDENING)
    return float(np.log(last / first) / np.log(2)) - slope_of_law(MLP.at(*WIDENING))


CLAIMS = (
    *_exponent("mlp", MLP, "dense ReLU, n = 256, one sample, mse, label part, readout he", n=100),
    *_exponent("1d", LINE, "1D, k = 3, C = 128, 8 positions of white noise, field, mse, label part", n=128),
    *_exponent("2d", GRID, "2D, 3×3, C = 128, 5×5 positions of white noise, field, mse, label part", n=192),
    Claim(
        id="theorem-1.exponent-free-of-kernel",
        where=WHERE,
        statement="the exponent does not depend on the kernel size",
        regime="1D, C = 128, 8 positions of white noise, field, mse, label part; L = 2, 8; k = 1 and 5",
        estimator="slope at k = 5 minus slope at k = 1",
        rows=side_by_side(*ONE_AND_FIVE),
        statistic=slope_difference((2, 8)),
        stated=Region.around(0, DIFFERENCE_MARGIN),
        n=96,
    ),
    Claim(
        id="theorem-1.exponent-free-of-kernel-shape",
        where=WHERE,
        statement="the exponent does not depend on the shape of a 2D kernel",
        regime="2D, C = 64, 5×5 positions of white noise, field, mse, label part; L = 2, 8; plus and 3×3",
        estimator="slope with 3×3 minus slope with a plus",
        rows=side_by_side(*_kernel_columns(PLUS, (3, 3), depths=(2, 8), base=FIELD)),
        statistic=slope_difference((2, 8)),
        stated=Region.around(0, DIFFERENCE_MARGIN),
        n=192,
    ),
    Claim(
        id="theorem-1.prefactor-free-of-kernel",
        where=WHERE,
        statement="κ does not depend on the kernel size",
        regime="1D, C = 128, 8 positions of white noise, field, mse, label part; L = 4; k = 1 and 5",
        estimator="log of η* at k = 5 over η* at k = 1",
        rows=side_by_side(*ONE_AND_FIVE_SHALLOW),
        statistic=log_ratio,
        stated=Region.around(0, 0.15),
        law=lambda: Region.around(-np.log(5), 0.15),
        change="κ ∝ 1/k with one global learning rate; dividing the learning rate of each weight by its k removes this",
        n=64,
    ),
    Claim(
        id="theorem-1.prefactor-free-of-kernel-per-tap",
        where=WHERE,
        statement="κ does not depend on the kernel size if the learning rate of each weight is divided by it",
        regime="1D, C = 128, 8 positions of white noise, field, mse, label part; L = 4; k = 1 and 5",
        estimator="log of η* at k = 5 over η* at k = 1, learning rate of a weight divided by its kernel cardinality",
        rows=_other_draws(side_by_side(*ONE_AND_FIVE_PER_TAP)),
        statistic=log_ratio,
        stated=Region.around(0, 0.15),
        n=64,
    ),
    Claim(
        id="theorem-1.prefactor-free-of-kernel-shape",
        where=WHERE,
        statement="κ does not depend on the shape of a 2D kernel: point, row, plus, square",
        regime="2D, C = 64, 5×5 positions of white noise, field, mse, label part; L = 4; 1, 1×3, plus, 3×3",
        estimator="slope of log η* on the log of the kernel cardinality k = 1, 3, 5, 9",
        rows=side_by_side(*SHAPES),
        statistic=slope_over(TAPS),
        stated=Region.around(0, 0.1),
        law=lambda: Region.around(-1, 0.1),
        change="κ ∝ 1/k with one global learning rate, for every shape",
        n=96,
    ),
    Claim(
        id="theorem-1.prefactor-free-of-kernel-shape-per-tap",
        where=WHERE,
        statement="κ does not depend on the shape of a 2D kernel if the learning rate of each weight is divided by k",
        regime="2D, C = 64, 5×5 positions of white noise, field, mse, label part; L = 4; 1, 1×3, plus, 3×3",
        estimator="slope of log η* on log k, learning rate of a weight divided by its kernel cardinality",
        rows=_other_draws(side_by_side(*SHAPES_PER_TAP)),
        statistic=slope_over(TAPS),
        stated=Region.around(0, 0.1),
        n=96,
    ),
    Claim(
        id="theorem-1.free-of-width",
        where=WHERE,
        statement="η* does not depend on the width",
        regime="2D, 3×3, 4 images of 6×6, pooled, cross-entropy, mean-field readout; L = 2; C = 64 and 256",
        estimator="log of η* at C = 256 over η* at C = 64",
        rows=side_by_side(SHALLOW.with_arguments(width=64), SHALLOW.with_arguments(width=256)),
        statistic=log_ratio,
        stated=Region.around(0, 0.2),
        remark="with three input channels the first layer has a smaller share in wider nets: the law gives +0.02",
        n=96,
    ),
    Claim(
        id="theorem-1.free-of-width-he-readout",
        where=WHERE,
        statement="η* does not depend on the width under He fan-in initialization of every layer",
        regime="2D, 3×3, 4 images of 6×6, pooled, cross-entropy, readout he; L = 2; C = 64 and 256",
        estimator="log of η* at C = 256 over η* at C = 64",
        rows=side_by_side(*(SHALLOW.with_arguments(width=width, readout="he") for width in (64, 256))),
        statistic=log_ratio,
        stated=Region.around(0, 0.2),
        law=lambda: Region.around(-np.log(2), 0.2),
        change="the readout has variance 1/C² (mean-field); with a He readout η* ∝ C^(-1/2)",
        n=160,
    ),
    Claim(
        id="theorem-1.free-of-resolution",
        where=WHERE,
        statement="κ does not depend on the resolution",
        regime="1D, k = 3, C = 128, white noise, field, mse, label part; L = 4; 8 and 32 positions",
        estimator="log of η* at N = 32 over η* at N = 8",
        rows=side_by_side(*RESOLUTIONS),
        statistic=log_ratio,
        stated=Region.around(0, 0.15),
        law=lambda: Region.around(_resolution_law(), 0.15),
        n=64,
        remark="κ is nearly proportional to N on white noise with a loss averaged over positions",
    ),
    Claim(
        id="theorem-1.free-of-resolution-2d",
        where=WHERE,
        statement="κ does not depend on the resolution, in 2D",
        regime="2D, 3×3, C = 64, white noise, field, mse, label part; L = 4; 4×4 and 8×8 positions",
        estimator="log of η* at 8×8 over η* at 4×4",
        rows=side_by_side(*GRIDS),
        statistic=log_ratio,
        stated=Region.around(0, 0.15),
        law=lambda: Region.around(float(np.log(GRIDS[1].law()[0] / GRIDS[0].law()[0])), 0.15),
        n=64,
    ),
    Claim(
        id="theorem-1.heterogeneous-widths",
        where=WHERE,
        statement="the exponent does not depend on how the width varies over the layers",
        regime="dense ReLU, one sample; L = 4, 8; n = 128 in the first half of the layers and 256 in the second half, "
        "compared with n = 256 in all layers",
        estimator="slope with the profile minus slope with one width",
        rows=_profile_rows,
        statistic=slope_difference((4, 8)),
        stated=Region.around(0, DIFFERENCE_MARGIN / 2),
        law=lambda: Region.around(_profile_law(), SLOPE_MARGIN),
        change="in the limit of large L; at finite depth the exponent is that of the law with these widths",
        n=256,
    ),
)
