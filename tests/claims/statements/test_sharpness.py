"""Claims on the sharpness: statistics on rows with known slopes, regimes, and the full matrices by loops."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ammup.claims.claim import Claim, claim_named
from ammup.claims.statements import sharpness, sharpness_accuracy
from ammup.claims.statements.sharpness import BATCH_NORM, PLAIN, RELU, RESIDUAL
from ammup.measurement.sharpness import measure_sharpness

CLAIMS = sharpness.CLAIMS


def _rows(values: np.ndarray, *, logarithms: bool) -> np.ndarray:
    """Scattered rows with these column means, or with these means of logarithms."""
    scatter = np.array([0.25, 0.5, 1.0, 2.25])
    scatter = scatter / (np.exp(np.log(scatter).mean()) if logarithms else scatter.mean())
    return scatter[:, None] * values


@pytest.mark.parametrize(
    ("name", "depths", "sign"),
    [
        ("growth-plain", PLAIN.depths, 1),
        ("growth-plain-limit", sharpness.DEEP, 1),
        ("growth-residual", RESIDUAL.depths, 1),
        ("growth-residual-limit", sharpness.DEEP, 1),
        ("growth-residual-last-limit", sharpness.DEEP, 1),
        ("slope-cnn-relu", RELU.depths, -1),
        ("slope-residual-last", (2, 8), -1),
        ("slope-batch-norm", BATCH_NORM.depths, -1),
    ],
)
def test_the_statistic_is_the_slope_over_depth(name: str, depths: tuple[int, ...], sign: int) -> None:
    rows = _rows(0.3 * np.array(depths) ** 0.7, logarithms=name.startswith("slope"))
    assert claim_named(CLAIMS, f"sharpness.{name}").statistic(rows) == pytest.approx(sign * 0.7)


@pytest.mark.parametrize(
    ("name", "setting", "matrix"), [("law-plain", PLAIN, "ntk"), ("law-cnn", RELU.at(3), "gauss-newton")]
)
def test_the_estimate_is_the_log_ratio_to_the_limit(name: str, setting: sharpness.Setting, matrix: str) -> None:
    limit = sharpness._limit(setting, matrix)
    for distance in (0.0, -0.3):
        rows = _rows(limit * np.exp(distance), logarithms=name == "law-cnn")
        estimate = claim_named(CLAIMS, f"sharpness.{name}").statistic(rows)
        assert estimate == pytest.approx(distance, abs=1e-9)


def test_rows_are_the_eigenvalues_of_each_weight_draw_and_depth() -> None:
    setting = RELU.with_arguments(width=4).at(1, 2)
    rows = sharpness._rows(setting, "gauss-newton")(range(3, 5))
    inputs, classes = setting.batch
    for row, seed in zip(rows, (3, 4), strict=True):
        for value, depth in zip(row, (1, 2), strict=True):
            net = setting.factory(depth, seed=seed)
            expected = measure_sharpness(net, inputs, classes, loss="cross_entropy", tolerance=1e-3)
            assert value == pytest.approx(float(expected), rel=0.01)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_regime_states_the_depths_and_the_readout(claim: Claim) -> None:
    assert "readout he" in claim.regime
    assert re.search(r"; (\S+ )?[LK] = [\d, ]+$", claim.regime)
    assert ("limit" in claim.estimator or "C = " in claim.regime or "n = " in claim.regime) or claim.exact


@pytest.mark.parametrize("seed", [0, 1])
def test_the_full_matrices_are_those_of_a_loop_over_weights(seed: int) -> None:
    """Second differences of the loss for the Hessian; gradients of single outputs for the other two."""
    net, inputs, classes = sharpness_accuracy._small_net(seed)
    weights = list(net.parameters())
    gradient = torch.autograd.grad(F.cross_entropy(net(inputs), classes), weights, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])
    rows = [torch.autograd.grad(g, weights, retain_graph=True) for g in flat]
    hessian = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    assert sharpness_accuracy._largest_full("hessian", net, inputs, classes) == pytest.approx(
        float(torch.linalg.eigvalsh(hessian)[-1])
    )
    z = net(inputs)
    tangents = [torch.autograd.grad(value, weights, retain_graph=True) for value in z.flatten()]
    J = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in tangents])
    assert sharpness_accuracy._largest_full("ntk", net, inputs, classes) == pytest.approx(
        float(torch.linalg.matrix_norm(J, 2) ** 2) / len(inputs)
    )
    p = z.detach().softmax(1)
    blocks = torch.block_diag(*(torch.diag(row) - torch.outer(row, row) for row in p))
    assert sharpness_accuracy._largest_full("gauss-newton", net, inputs, classes) == pytest.approx(
        float(torch.linalg.eigvalsh(J.T @ blocks @ J)[-1]) / len(inputs)
    )
