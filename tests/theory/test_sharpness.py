"""The largest eigenvalues in the wide limit: closed forms, a naive recursion over pairs of samples, and wide nets."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from wide_nets import plain_net, residual_net

import ammup
from ammup import InputError
from ammup.architecture.kernels import kernel_offsets
from ammup.models.factory import architecture_of
from ammup.theory.sharpness import largest_gauss_newton_eigenvalues, largest_ntk_eigenvalue, output_kernels
from ammup.theory.wide_net import wide_net

RNG = np.random.default_rng(0)


def _relu_kernels(x: np.ndarray, depth: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(Covariance, tangent kernel) of one output of a dense He ReLU net, by a loop over pairs of samples and layers."""
    shape = (len(x), len(x))
    covariance, tangent = np.zeros(shape), np.zeros(shape)
    for s, t in np.ndindex(shape):
        k_ss, k_tt, k_st = (float(a @ b) / x.shape[1] for a, b in ((x[s], x[s]), (x[t], x[t]), (x[s], x[t])))
        theta = float(x[s] @ x[t])
        for _ in range(depth):
            angle = math.acos(max(-1.0, min(1.0, k_st / math.sqrt(k_ss * k_tt))))
            value = math.sqrt(k_ss * k_tt) * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
            # He variance 2/n: k' = 2 E φφ, Θ' = 2 E φ'φ' Θ + n E φφ; the diagonal of k does not change.
            theta = 2 * (math.pi - angle) / (2 * math.pi) * theta + width * value
            k_st = 2 * value
        covariance[s, t], tangent[s, t] = k_st, theta
    return covariance, tangent


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_dense_relu_nets_agree_with_a_loop_over_pairs_of_samples(depth: int) -> None:
    x = RNG.standard_normal((4, 6))
    net = plain_net([20] * depth, in_features=6, out_features=3, readout="he")
    covariance, tangent = _relu_kernels(x, depth, 20)
    kernels = output_kernels(net, x)
    np.testing.assert_allclose(kernels.covariance, covariance, rtol=1e-6)
    np.testing.assert_allclose(kernels.tangent, tangent, rtol=1e-6)
    expected = np.linalg.eigvalsh(tangent)[-1]
    assert largest_ntk_eigenvalue(net, x) == pytest.approx(expected / 12)
    assert largest_ntk_eigenvalue(net, x, loss="cross_entropy") == pytest.approx(expected / 4)


@pytest.mark.parametrize(("activation", "per_layer"), [("relu", 0.5), ("linear", 1.0)])
def test_one_sample_is_an_affine_function_of_the_depth(activation: str, per_layer: float) -> None:
    for depth in (1, 2, 16, 64):
        net = plain_net([64] * depth, in_features=64, out_features=2, readout="he", activation=activation)
        assert largest_ntk_eigenvalue(net, np.ones((1, 64))) == pytest.approx(64 / 2 * (1 + per_layer * depth))


def test_the_kernel_of_two_samples_tends_to_a_quarter_of_that_of_one() -> None:
    x = RNG.standard_normal((2, 16))
    x *= np.sqrt(16 / (x**2).sum(axis=1, keepdims=True))

    def ratio(depth: int) -> float:
        tangent = output_kernels(plain_net([16] * depth, in_features=16, out_features=1, readout="he"), x).tangent
        return float(tangent[0, 1] / tangent[0, 0])

    assert ratio(4000) == pytest.approx(0.25, abs=0.01)
    assert abs(ratio(4000) - 0.25) < abs(ratio(400) - 0.25)


def test_a_residual_net_is_bounded_only_if_all_branch_layers_are_scaled() -> None:
    x = RNG.standard_normal((3, 8))

    def at(n_blocks: int, **fields: object) -> float:
        net = residual_net(n_blocks, width=16, in_features=8, out_features=1, readout="he", **fields)
        return largest_ntk_eigenvalue(net, x)

    two, three = ("dense", "dense"), ("dense", "dense", "dense")
    assert at(512, branch=two) == pytest.approx(at(64, branch=two), rel=0.05)
    # Three scaled layers vanish: what remains is the stem and the readout, a plain net with one layer.
    stem = largest_ntk_eigenvalue(plain_net([16], in_features=8, out_features=1, readout="he"), x)
    assert at(512, branch=three) == pytest.approx(stem, rel=0.01)
    for grows in ({"branch": ("dense",)}, {"branch": two, "scaled": "last"}):
        assert at(512, **grows) / at(64, **grows) == pytest.approx(8, rel=0.2)


def test_constant_images_with_a_pooled_head_are_dense_samples_seen_through_k_taps() -> None:
    """Circular, all positions equal: J Jᵀ of each convolution is k times that of the dense layer."""
    pixels = RNG.standard_normal((2, 4))
    images = np.broadcast_to(pixels[:, :, None, None], (2, 4, 3, 3))
    sizes = {"in_features": 4, "out_features": 3, "readout": "he"}
    dense, image = plain_net([8] * 3, **sizes), plain_net([8] * 3, offsets=kernel_offsets(3, 2), head="pool", **sizes)
    body = output_kernels(dense, pixels)
    readout = 8 * 0.5 * body.covariance  # n F, F = K_out / 2; it has no taps
    expected = readout + 9 * (body.tangent - readout)
    np.testing.assert_allclose(output_kernels(image, images).tangent, expected, rtol=1e-6)


def _measured(factory: partial, depth: int, inputs: torch.Tensor, seeds: range, **arguments: object) -> np.ndarray:
    return np.array([float(ammup.measure_sharpness(factory(depth, seed=seed), inputs, **arguments)) for seed in seeds])


WIDE = [
    partial(ammup.mlp, width=512, in_features=12, readout="he"),
    partial(ammup.resnet, dims=0, width=256, in_channels=12, branch=2, scaled="last", readout="he"),
    partial(ammup.mlp, width=512, in_features=12, readout="he", activation="gelu"),
]


@pytest.mark.parametrize("factory", WIDE, ids=["plain", "residual", "gelu"])
def test_wide_nets_have_the_limit_within_8_percent(factory: partial) -> None:
    """One output for the NTK, so that no degenerate eigenvalue splits. The standard errors are 1 to 3 %."""
    x = RNG.standard_normal((3, 12))
    inputs = torch.tensor(x, dtype=torch.float32)
    outputs = "out_channels" if factory.func is ammup.resnet else "out_features"
    single = partial(factory, **{outputs: 1})
    ntk = _measured(single, 2, inputs, range(16), loss="mse", matrix="ntk").mean()
    assert ntk == pytest.approx(largest_ntk_eigenvalue(wide_net(architecture_of(single, 2)), x), rel=0.08)
    four = partial(factory, **{outputs: 4})
    measured = _measured(four, 2, inputs, range(16), loss="cross_entropy").mean()
    limit = largest_gauss_newton_eigenvalues(wide_net(architecture_of(four, 2)), x)
    # Different weights have different outputs, so that the mean over 16 nets scatters as that over 16 draws.
    assert abs(measured - limit.mean()) < 0.08 * limit.mean() + 3 * limit.std() / 4


def test_the_gauss_newton_matrix_of_one_sample_is_the_kernel_times_that_of_the_softmax() -> None:
    net = plain_net([8, 8], in_features=5, out_features=3, readout="he")
    x = RNG.standard_normal((1, 5))
    kernels = output_kernels(net, x)
    z = np.sqrt(kernels.covariance[0, 0]) * np.random.default_rng(7).standard_normal((6, 1, 3))[:, 0]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = [kernels.tangent[0, 0] * np.linalg.eigvalsh(np.diag(row) - np.outer(row, row))[-1] for row in p]
    np.testing.assert_allclose(largest_gauss_newton_eigenvalues(net, x, draws=6, seed=7), expected)


def test_the_loss_is_checked_and_inputs_that_do_not_fit_are_an_error() -> None:
    net = plain_net([8, 8], in_features=5, out_features=3)
    with pytest.raises(InputError, match="loss='hinge'"):
        largest_ntk_eigenvalue(net, np.ones((1, 5)), loss="hinge")
    with pytest.raises(InputError, match="inputs have shape"):
        largest_gauss_newton_eigenvalues(net, np.ones((1, 6)))
