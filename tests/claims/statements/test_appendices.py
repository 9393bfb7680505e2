"""Appendices E and F and the conclusion: constants against adaptive quadrature, and rows with known slopes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from ammup.claims.claim import claim_named
from ammup.claims.statements import appendices
from ammup.claims.statements.appendices import CLAIMS, GELU_DEPTHS
from ammup.claims.statements.settings import DENSE, MLP, PLANE


def _mean(function: Callable[[float], float]) -> float:
    """The mean of a function over a standard normal."""
    value, _ = integrate.quad(lambda z: function(z) * stats.norm.pdf(z), -12, 12, epsabs=1e-12)
    return value


def _gelu_slope(z: float) -> float:
    return stats.norm.cdf(z) + z * stats.norm.pdf(z)


CONSTANTS = {
    "appendix-e.relu-constant": lambda: 0.5,
    "appendix-e.gelu-constant": lambda: _mean(lambda z: _gelu_slope(z) ** 2),
    "appendix-e.gelu-stationary": lambda: 8**0.5 * _mean(lambda z: (z * stats.norm.cdf(z)) ** 2),
    "appendix-e.gelu-jacobian": lambda: 8**0.5 * _mean(lambda z: _gelu_slope(z) ** 2),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_agrees_with_the_integral(name: str) -> None:
    claim = claim_named(CLAIMS, name)
    assert claim.statistic(claim.rows(range(1))) == pytest.approx(CONSTANTS[name](), rel=1e-6)


@pytest.mark.parametrize("readout", ["mean-field", "he"])
def test_the_softmax_gap_is_the_mean_squared_residual(readout: str) -> None:
    (row,) = appendices._softmax_gap(readout)(range(3, 4))
    inputs, classes = PLANE.batch
    net = PLANE.with_arguments(readout=readout).factory(4, seed=3)
    with torch.no_grad():
        logits = net(inputs).double().numpy()
    gaps = []
    for z, label in zip(logits, classes.tolist(), strict=True):
        p = np.exp(z) / np.exp(z).sum()
        gaps.append(sum((p[j] - (j == label)) ** 2 for j in range(10)))
    assert row[0] == pytest.approx(np.mean(gaps), rel=1e-5)


@pytest.mark.parametrize(("name", "setting"), [("plain", MLP), ("residual", DENSE.with_arguments(branch=2))])
def test_the_transfer_error_of_a_net_that_obeys_the_rule_is_zero(name: str, setting, rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, f"conclusion.transfer-{name}")
    assert claim.statistic(rows_of(0.3 * 4**-1.5, 0.3 * 16**-1.5)) == pytest.approx(0, abs=1e-12)
    assert claim.statistic(rows_of(0.3 / 4, 0.3 / 16)) == pytest.approx(np.log(2))
    four, sixteen = setting.at(4, 16).law()
    assert claim.guarded.centre == pytest.approx(np.log(sixteen / four * 8))


@pytest.mark.parametrize("gain", ["paper", "forward"])
def test_gelu_is_compared_with_relu_at_the_same_depths(gain: str, rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, f"appendix-e.gelu-slope-{gain}")
    depths = np.array(GELU_DEPTHS, dtype=float)
    assert claim.statistic(rows_of(*depths**-1.0, *depths**-1.05)) == pytest.approx(-0.05)
    relu, gelu = (np.diff(np.log(setting.law()))[0] / np.log(4) for setting in appendices._gelu(gain))
    assert claim.guarded.centre == pytest.approx(gelu - relu)


def test_losses_are_compared_on_the_same_nets(rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, "appendix-f.parallel-slopes")
    assert claim.statistic(rows_of(1.0, 4**-1.0, 5.0, 5 * 4**-1.2)) == pytest.approx(-0.2)
    one, other = appendices.CE_AND_MSE
    assert (one.loss, other.loss) == ("cross_entropy", "mse")
    assert one.arguments == other.arguments
    assert one.depths == other.depths
