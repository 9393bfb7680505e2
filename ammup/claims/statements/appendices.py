"""Appendices E and F, and the statements of the abstract, section 4 and the conclusion that need no training."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, Setting
from ammup.claims.statements.settings import DENSE, DIFFERENCE_MARGIN, MLP, PLANE
from ammup.claims.statistics import log_ratio, side_by_side, slope_difference, slope_of_law
from ammup.stats.equivalence import Region
from ammup.theory.activations import activation_moments, variance_gain

E, F = "appendix E", "appendix F"
GELU_DEPTHS = (2, 8)


def _constant(value: Callable[[], float]) -> Callable[[Seeds], Array]:
    """Rows of an exact claim: a single row with one computed value."""
    return lambda seeds: np.array([[value()]])


def _gelu(gain: str) -> tuple[Setting, Setting]:
    """The same nets with ReLU and with GELU."""
    relu = MLP.at(*GELU_DEPTHS).of_width(512)
    return relu, relu.with_arguments(activation="gelu", gain=gain)


def _slope_difference_of_law(settings: tuple[Setting, Setting]) -> float:
    one, other = settings
    return slope_of_law(other) - slope_of_law(one)


def _steeper(gain: str, words: str, remark: str) -> Claim:
    settings = _gelu(gain)
    return Claim(
        id=f"appendix-e.gelu-slope-{gain}",
        where=E,
        statement=f"η* falls slightly faster with depth with GELU than with ReLU (the slope is lower by 0.05), {words}",
        regime="dense, n = 512, one sample, mse, label part, readout he; L = 2, 8",
        estimator="slope of log η* on log L with GELU, minus the same slope with ReLU",
        rows=side_by_side(*settings),
        statistic=slope_difference(GELU_DEPTHS),
        stated=Region(low=-0.1, high=0.0),
        law=lambda: Region.around(_slope_difference_of_law(settings), 0.15),
        n=128,
        remark=remark,
    )


def _jacobian_factor(gain: str) -> float:
    """χ = n Var[W] E φ'² of GELU for z ~ N(0, 1)."""
    moments = activation_moments("gelu")
    return variance_gain(moments, gain) * moments.derivative_second


def _softmax_gap(readout: str) -> Callable[[Seeds], Array]:
    """Rows with one column: the mean of ‖softmax(z) - y‖² over a batch."""
    setting = PLANE.at(4).with_arguments(readout=readout)

    def rows(seeds: Seeds) -> Array:
        inputs, classes = setting.batch
        assert classes is not None
        gaps = []
        for seed in seeds:
            p = setting.factory(4, seed=seed)(inputs).detach().double().softmax(1)
            p[range(len(classes)), classes] -= 1
            gaps.append([float(p.square().sum(1).mean())])
        return np.array(gaps)

    return rows


CE_AND_MSE = (PLANE.at(2, 8), replace(PLANE.at(2, 8), loss="mse"))
TRANSFER = (4, 16)


def _transfer(
    name: str, setting: Setting, words: str, regime: str, rows: Callable[[Seeds], Array], n: int, change: str
) -> Claim:
    shifted = 1.5 * np.log(TRANSFER[1] / TRANSFER[0])
    return Claim(
        id=f"conclusion.transfer-{name}",
        where="conclusion",
        statement=f"η*(L) = η*(L0) (L/L0)^(-3/2) transfers a learning rate to another depth, {words}",
        regime=f"{regime}; L0 = 4, L = 16",
        estimator="log of η*(16) over η*(4) (16/4)^(-3/2)",
        rows=rows,
        statistic=lambda r: log_ratio(r) + shifted,
        stated=Region.around(0, 0.1),
        law=lambda: Region.around(float(np.log(setting.law()[1] / setting.law()[0])) + shifted, 0.2),
        change=change,
        n=n,
    )


CLAIMS = (
    Claim(
        id="appendix-e.relu-constant",
        where=E,
        statement="E φ'(z)² = 0.5 for ReLU",
        regime="z ~ N(0, 1), by quadrature",
        estimator="E φ'²",
        rows=_constant(lambda: activation_moments("relu").derivative_second),
        stated=Region.around(0.5, 1e-9),
        n=1,
        exact=True,
    ),
    Claim(
        id="appendix-e.gelu-constant",
        where=E,
        statement="E φ'(z)² ≈ 0.456 for GELU",
        regime="z ~ N(0, 1), by quadrature",
        estimator="E φ'²",
        rows=_constant(lambda: activation_moments("gelu").derivative_second),
        stated=Region.around(0.456, 0.0005),
        n=1,
        exact=True,
    ),
    Claim(
        id="appendix-e.gelu-stationary",
        where="appendix D.1",
        statement="He variance times √2 keeps the pre-activation variance of GELU nets stationary",
        regime="2√2/fan_in, z ~ N(0, 1), by quadrature",
        estimator="variance after a layer over variance before it",
        rows=_constant(lambda: variance_gain(activation_moments("gelu"), "paper") * activation_moments("gelu").second),
        stated=Region.around(1, 0.02),
        n=1,
        exact=True,
        remark="with 2√2/fan_in the variance grows by 20 % in every layer; 2.352/fan_in, which is 1/(fan_in E φ²) "
        "(gain 'forward'), keeps it constant",
    ),
    Claim(
        id="appendix-e.gelu-jacobian",
        where=E,
        statement="the Jacobian factor χ of GELU is below that of ReLU (0.912 against 1), hence a steeper slope",
        regime="the initialization of D.1, 2√2/fan_in, z ~ N(0, 1), by quadrature",
        estimator="χ = n Var[W] E φ'²",
        rows=_constant(lambda: _jacobian_factor("paper")),
        stated=Region.around(0.912, 0.01),
        n=1,
        exact=True,
        remark="2 E φ'² = 0.912 is χ for variance 2/fan_in; with the √2 of D.1 it is 1.29, above that of ReLU",
    ),
    _steeper(
        "paper",
        "with the initialization of appendix D.1 (weight variance 2√2/fan_in)",
        "η* falls exponentially with depth, because the pre-activation variance grows and every layer multiplies the "
        "mean square of a change of the pre-activations by χ = 1.29",
    ),
    _steeper(
        "forward",
        "with the weight variance 1/(fan_in E φ²), which keeps the pre-activation variance constant",
        "every layer multiplies the mean square of a change of the pre-activations by χ = 1.07",
    ),
    Claim(
        id="appendix-f.gradient-norm",
        where=F,
        statement="at initialization the logits are near zero and ‖softmax(z) - y‖² = 1 - 1/C",
        regime="2D, 3×3, C = 128, 10 classes, 4 images of 6×6, pooled, mean-field readout; L = 4",
        estimator="mean of ‖softmax(z) - y‖²",
        rows=_softmax_gap("mean-field"),
        stated=Region.around(0.9, 0.01),
        n=32,
    ),
    Claim(
        id="appendix-f.gradient-norm-he",
        where=F,
        statement="at initialization the logits are near zero and ‖softmax(z) - y‖² = 1 - 1/C, with a He readout",
        regime="2D, 3×3, C = 128, 10 classes, 4 images of 6×6, pooled, He readout; L = 4",
        estimator="mean of ‖softmax(z) - y‖²",
        rows=_softmax_gap("he"),
        stated=Region.around(0.9, 0.01),
        n=256,
        remark="the logits are of order 1, so the variance of softmax(z) is added",
    ),
    Claim(
        id="appendix-f.parallel-slopes",
        where=F,
        statement="cross-entropy and mean squared error have the same slope",
        regime="2D, 3×3, C = 128, 4 images of 6×6 and their classes, pooled, mean-field readout; L = 2, 8",
        estimator="slope under mse minus slope under cross-entropy",
        rows=side_by_side(*CE_AND_MSE),
        statistic=slope_difference((2, 8)),
        stated=Region.around(0, DIFFERENCE_MARGIN),
        n=160,
    ),
    _transfer("plain", MLP.at(*TRANSFER), "in plain nets", "dense ReLU, n = 256, one sample, label part, readout he",
              MLP.at(*TRANSFER).S_bar_controlled, 100, ""),
    _transfer("residual", DENSE.with_arguments(branch=2).at(*TRANSFER), "in residual nets",
              "residual dense, n = 256, c = 2, two layers in a branch, both scaled",
              DENSE.with_arguments(branch=2).at(*TRANSFER).S_bar, 48, ""),
)  # fmt: skip
