"""The finite-depth law with its constants, which the statements of the paper are compared with."""

from dataclasses import replace

import numpy as np

from ammup.claims.claim import Claim
from ammup.claims.draws import Setting
from ammup.claims.statements.settings import DENSE, FIELD, IMAGES, LINE, MLP, PLANE
from ammup.claims.statistics import log_lr_star
from ammup.stats.equivalence import Region
from ammup.theory.finite_depth import finite_depth_law

BATCH = replace(MLP.with_arguments(width=512, in_features=192, out_features=512), depths=(4,), inputs=("images", 16, 8))


def _law(name: str, words: str, setting: Setting, *, n: int, margin: float) -> Claim:
    """The claim that η* of a setting equals that of the law. Its statistic is the mean log ratio over the depths."""
    depths = ", ".join(str(depth) for depth in setting.depths)
    return Claim(
        id=f"law.{name}",
        where="finite-depth law (ours)",
        statement=f"the wide-limit law predicts η* with its constants: {words}",
        regime=f"{words}; L = {depths}",
        estimator="log of η* over that of the law, mean over the depths",
        rows=setting.S_bar,
        statistic=lambda rows: float(np.mean(log_lr_star(rows) - np.log(setting.law()))),
        stated=Region.around(0, margin),
        n=n,
    )


WIDE = MLP.at(2, 8).of_width(512)

CLAIMS = (
    Claim(
        id="law.plain-dense",
        where="finite-depth law (ours)",
        statement="the wide-limit law predicts η* with its constants: dense ReLU on one sample",
        regime="dense ReLU, n = 512, one sample, mse, label part, readout he; L = 2, 8",
        estimator="log of η* over that of the law, mean over the depths",
        rows=WIDE.S_bar_controlled,
        # This law is computed from the depths, not from the nets, so the claim fails if a net has a wrong depth.
        statistic=lambda rows: float(np.mean(log_lr_star(rows) - np.log(finite_depth_law(WIDE.depths, family="mlp")))),
        stated=Region.around(0, 0.06),
        n=64,
    ),
    _law("plain-batch", "dense ReLU, n = 512, 16 images of 8×8, mse, label part, readout he", BATCH, n=64, margin=0.08),
    _law("field-1d", "1D, k = 3, C = 128, 8 positions of white noise, field, mse, label part", LINE, n=128,
         margin=0.06),
    _law("field-2d-zero", "2D, 3×3, C = 64, 5×5 positions of white noise, zero padding, field, mse, label part",
         FIELD.with_arguments(padding="zero").at(2), n=96, margin=0.04),
    _law("pooled", "2D, 3×3, C = 128, 4 images of 6×6, pooled, cross-entropy, mean-field", PLANE.at(2, 4), n=128,
         margin=0.12),
    _law("pooled-gelu", "2D, 3×3, GELU, C = 128, 4 images of 6×6, pooled, cross-entropy, mean-field",
         PLANE.at(2).with_arguments(activation="gelu"), n=96, margin=0.12),
    _law("residual-m1", "residual dense, m = 1, n = 256, one sample, mse, label part",
         DENSE.with_arguments(branch=1), n=96, margin=0.06),
    _law("residual-m3-last", "residual dense, m = 3, last scaled, n = 256, one sample, mse, label part",
         DENSE.with_arguments(branch=3, scaled="last"), n=96, margin=0.1),
    _law("residual-images", "residual 2D, 3×3, m = 2, all scaled, C = 64, 4 images of 4×4, pooled, cross-entropy",
         IMAGES, n=160, margin=0.12),
)  # fmt: skip
