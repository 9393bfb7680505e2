"""S in the wide limit: special cases known exactly, and recursions that carry second moments forward, not backward.

The module sends the weight of every unit and the gradient to the gates and lets them meet there. The oracles below go
the other way: they carry Ψ[p; q, r] = Σ_j E A_(ip, jq) A_(jr, ip) of the tangent kernel A from layer to layer, by
Wick's theorem for each new weight, and end in S_l = mean_p Σ_qr Ψ_l[p; q, r] G_l[q, r], G the gradient's covariance.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from wide_nets import plain_net, residual_net

import ammup
from ammup import InputError, finite_depth_law
from ammup.architecture.kernels import DENSE, kernel_offsets
from ammup.models.factory import architecture_of
from ammup.theory.activations import activation_functions, activation_moments
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import gradient_squares, unit_moments, unit_moments_of_noise
from ammup.theory.wide_net import WideNet, wide_net

Array = np.ndarray
RNG = np.random.default_rng(0)
LABEL = LossGradient()
BRANCHES = pytest.mark.parametrize("scaled", ["all", "last"])


# --- special cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "gelu", "linear"])
@pytest.mark.parametrize("family", ["mlp", "resnet"])
def test_one_dense_sample_is_the_scalar_law(family: str, activation: str) -> None:
    sample = 1.5 * np.ones((1, 24))
    sizes = {"family": family, "width": 16, "in_features": 24, "out_features": 5, "activation": activation}
    ours = finite_depth_law([1, 2, 7], inputs=sample, **sizes)
    np.testing.assert_allclose(ours, finite_depth_law([1, 2, 7], input_power=2.25, **sizes), rtol=1e-7)


def test_white_noise_in_1d_is_the_table_of_the_derivation() -> None:
    """Computed independently when the law was derived; rounded to three digits."""
    table = {
        (8, 1): [4.856, 2.499, 1.089, 0.427],
        (8, 3): [1.619, 0.833, 0.363, 0.142],
        (8, 5): [0.971, 0.500, 0.218, 0.085],
        (4, 3): [0.817, 0.430, 0.194, 0.078],
        (16, 3): [3.179, 1.571, 0.649, 0.245],
        (32, 3): [6.140, 2.841, 1.097, 0.398],
    }
    for (positions, kernel), expected in table.items():
        law = finite_depth_law([2, 4, 8, 16], family="cnn", kernel=kernel, positions=(positions,))
        np.testing.assert_allclose(law, expected, atol=0.00061)


@pytest.mark.parametrize(("convolutional", "dense"), [("cnn", "mlp"), ("resnet", "resnet")])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_kernel_size_1_on_positions_is_a_dense_batch_over_its_positions(
    convolutional: str, dense: str, activation: str
) -> None:
    image = RNG.standard_normal((1, 6, 5))
    sizes = {"width": 6, "in_features": 6, "activation": activation, "part": "total", "out_features": 2}
    law = finite_depth_law([3], family=convolutional, kernel=1, inputs=image, **sizes)
    np.testing.assert_allclose(law, finite_depth_law([3], family=dense, inputs=image[0].T, **sizes), rtol=1e-12)


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_copies_of_a_sample_only_average_its_labels(family: str, padding: str) -> None:
    """B equal samples with independent labels: the gradient is that of their mean label, S falls by B."""
    image = RNG.standard_normal((1, 3, 4, 4))
    sizes = {"family": family, "width": 8, "in_features": 3, "padding": padding, "kernel": 3}
    one = finite_depth_law([3], inputs=image, **sizes)
    copies = finite_depth_law([3], inputs=np.repeat(image, 3, axis=0), **sizes)
    np.testing.assert_allclose(copies, one * np.sqrt(3), rtol=1e-6)


@pytest.mark.parametrize("head", ["field", "pool"])
def test_far_samples_do_not_see_each_other_in_a_linear_net(head: str) -> None:
    """Orthogonal samples of a linear net have no gradient in common: S of two is a quarter of the sum over one."""
    samples = np.eye(2, 16).reshape(2, 4, 4) * 4.0
    sizes = {"family": "cnn", "width": 16, "in_features": 4, "activation": "linear", "kernel": [0], "head": head}
    # Orthogonal at every pair of positions.
    samples = np.stack([samples[0] * [[1], [1], [0], [0]], np.roll(samples[0], 2, axis=0)])
    assert not np.einsum("cp,cq->pq", *samples).any()
    for depth in (1, 3):
        one = finite_depth_law([depth], inputs=samples[:1], **sizes)
        np.testing.assert_allclose(finite_depth_law([depth], inputs=samples, **sizes), one * 2)


def test_zero_padding_tends_to_circular_padding() -> None:
    ratio = [
        finite_depth_law([4], family="cnn", positions=(n,), padding="zero")[0]
        / finite_depth_law([4], family="cnn", positions=(n,))[0]
        - 1
        for n in (8, 16, 32, 64)
    ]
    assert all(0 < b < 0.6 * a for a, b in itertools.pairwise(ratio))  # the boundary term is of order s/N


def test_white_noise_is_any_batch_with_its_gram_matrix() -> None:
    """Four positions of eight channels can be orthogonal: the Gram matrix of noise of variance 2, exactly."""
    net = plain_net([6, 6, 6], in_features=8, out_features=3, offsets=((-1,), (0,), (2,)), head="pool", padding="zero")
    columns, _ = np.linalg.qr(RNG.standard_normal((8, 4)))
    image = np.sqrt(2 * 8) * columns[None]
    np.testing.assert_allclose(
        unit_moments(net, image, LABEL), unit_moments_of_noise(net, (4,), LABEL, power=2.0), rtol=1e-6
    )


def test_what_the_families_flatten_the_law_flattens() -> None:
    images = RNG.standard_normal((2, 3, 4, 5))
    dense = plain_net([8] * 3, in_features=60, out_features=8)
    assert np.array_equal(unit_moments(dense, images, LABEL), unit_moments(dense, images.reshape(2, 60), LABEL))
    line = residual_net(2, width=8, in_features=3, out_features=8, branch=["conv"], stem=((-1,), (0,)))
    assert np.array_equal(unit_moments(line, images, LABEL), unit_moments(line, images.reshape(2, 3, 20), LABEL))


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("residual", [False, True])
def test_one_position_pools_to_itself(residual: bool, padding: str) -> None:
    batch, classes = RNG.standard_normal((3, 4, 1, 1)), np.array([0, 1, 1])
    sizes = {"in_features": 4, "out_features": 3, "padding": padding}
    support = kernel_offsets(3, 2)

    def net(head: str) -> WideNet:
        if residual:
            return residual_net(2, width=6, branch=["conv", "conv"], stem=support, head=head, **sizes)
        return plain_net([6, 6, 6], offsets=support, head=head, **sizes)

    for gradient in (LABEL, LossGradient(loss="cross_entropy", part="total", classes=classes)):
        np.testing.assert_allclose(
            unit_moments(net("pool"), batch, gradient), unit_moments(net("field"), batch, gradient), rtol=1e-12
        )


@pytest.mark.parametrize(
    "gradient",
    [LABEL, LossGradient(loss="cross_entropy", part="total", classes=np.array([2, 0]))],
    ids=["mse", "cross_entropy"],
)
@pytest.mark.parametrize("residual", [False, True])
def test_constant_images_are_dense_samples_seen_through_k_taps(residual: bool, gradient: LossGradient) -> None:
    """Circular, all positions equal: every weight is one of k that move alike, so A is k times the dense net's."""
    pixels = RNG.standard_normal((2, 4))
    images = np.broadcast_to(pixels[:, :, None, None], (2, 4, 2, 3))
    support, sizes = ((0, 0), (0, 1), (1, -1)), {"in_features": 4, "out_features": 3}
    if residual:
        conv = residual_net(3, width=8, branch=["conv"] * 2, stem=support, head="pool", **sizes)
        dense = residual_net(3, width=8, branch=["dense"] * 2, **sizes)
    else:
        conv = plain_net([8, 6, 4], offsets=support, head="pool", **sizes)
        dense = plain_net([8, 6, 4], **sizes)
    # arccos near 1 knows equal positions to √rounding only.
    np.testing.assert_allclose(
        unit_moments(conv, images, gradient), 9 * unit_moments(dense, pixels, gradient), rtol=1e-6
    )


def test_smooth_activations_on_constant_images_are_nearly_those_of_dense_samples() -> None:
    """Where all positions are equal and pooled, the three-point term of smooth activations is at its worst.

    It falls short of the growth 2.088 of GELU by 1 + 2 Cov(φ'², φ') E φ'/(E φ'²)² = 2.005; the stem is exact.
    """
    sizes = {"in_features": 4, "out_features": 3, "activation": "gelu"}
    conv = plain_net([8] * 8, offsets=((0,), (1,), (2,)), head="pool", **sizes)
    pixels = RNG.standard_normal((1, 4))
    pixels *= 2 / np.linalg.norm(pixels)
    images = np.broadcast_to(pixels[:, :, None], (1, 4, 6))
    ratio = unit_moments(conv, images, LABEL) / 9 / unit_moments(plain_net([8] * 8, **sizes), pixels, LABEL)
    assert ratio[0] == pytest.approx(1, rel=1e-9)
    assert (ratio[1:] < 1).all()
    assert (ratio > 0.95).all()


@pytest.mark.parametrize(("loss", "part"), [("mse", "total"), ("cross_entropy", "label")])
def test_a_batch_has_no_order(loss: str, part: str) -> None:
    batch, classes = RNG.standard_normal((4, 3, 5)), np.array([0, 2, 2, 1])
    net = residual_net(2, width=6, in_features=3, out_features=3, branch=["conv"], head="pool", stem=((0,), (1,)))
    given, shuffled = (
        unit_moments(net, batch[rows], LossGradient(loss=loss, part=part, classes=classes[rows]))
        for rows in ([0, 1, 2, 3], [2, 0, 3, 1])
    )
    np.testing.assert_allclose(shuffled, given, rtol=1e-9)
    # It is the pairs of a sample and its class that count.
    mixed = unit_moments(net, batch[[2, 0, 3, 1]], LossGradient(loss=loss, part=part, classes=classes))
    assert not np.allclose(mixed, given, rtol=1e-3)


@pytest.mark.parametrize("outputs", [2, 10])
def test_cross_entropy_from_zero_logits_keeps_1_minus_1_over_m_of_the_label(outputs: int) -> None:
    """Appendix F of the paper, by way of a mean-field readout whose logits have a variance of 1/(2n)."""
    net = plain_net([10**8] * 3, in_features=4, out_features=outputs, readout="mean-field")
    sample = np.array([[1.0, -1.0, 1.0, 1.0]])
    total, label = (
        unit_moments(net, sample, LossGradient(loss="cross_entropy", part=part)) for part in ("total", "label")
    )
    np.testing.assert_allclose(total, (1 - 1 / outputs) * label, rtol=1e-6)


# --- the stem of a linear net, by autograd through the module itself ------------------------------------------------


def _stem_by_autograd(net: torch.nn.Module, x: Array, readout: torch.Tensor, residuals: Array) -> tuple[float, float]:
    """E S_1 and E ‖∂loss/∂W_1‖² over a readout of variance 1: quadratic forms in it, so sums over its entries.

    ``residuals`` is one row for each independent direction of the loss gradient, in the shape of the outputs.
    """
    inputs, moment, square = torch.tensor(x, dtype=torch.float64), 0.0, 0.0
    for entry, row in itertools.product(range(readout.numel()), residuals):
        with torch.no_grad():
            readout.view(-1).copy_(torch.arange(readout.numel()) == entry)
        (gradient,) = torch.autograd.grad((net(inputs) * torch.tensor(row)).sum(), net.layers[0].weight)
        step = torch.func.functional_call(net.layers[0], {"weight": gradient}, (inputs,))
        moment += float((step**2).mean())
        square += float((gradient**2).sum())
    return moment, square


@pytest.mark.parametrize("label", ["mse", "one-hot", "cross_entropy"])
@pytest.mark.parametrize("head", ["pool", "field"])
@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_the_stem_of_a_linear_net_is_exact_at_any_width(padding: str, head: str, label: str) -> None:
    settings = {"dims": 1, "kernel": [-1, 0, 2], "in_channels": 2, "out_channels": 3, "activation": "linear"}
    build = partial(ammup.cnn, width=2, padding=padding, head=head, readout="he", **settings)
    net, described = build(1).double(), wide_net(architecture_of(build, 1))
    x, M = RNG.standard_normal((2, 2, 4)), 3
    outputs = (2, M, 4) if head == "field" else (2, M)
    n = 8 if head == "field" else 2  # readout positions
    classes = RNG.integers(M, size=(2, *outputs[2:]))
    one_hot = np.moveaxis(np.eye(M)[classes], -1, 1)
    gradient, rows = {
        "mse": (LossGradient(label_variance=2.0), np.sqrt(2.0) * np.eye(M * n).reshape(M * n, *outputs) / (M * n)),
        "one-hot": (LossGradient(classes=classes), one_hot[None] / (M * n)),
        "cross_entropy": (LossGradient(loss="cross_entropy", classes=classes), one_hot[None] / n),
    }[label]
    readout = (net.readout if head == "field" else net.readout[1]).weight
    moment, square = _stem_by_autograd(net, x, readout, rows)
    variance = described.readout.variance
    assert unit_moments(described, x, gradient) == pytest.approx([variance * moment], rel=1e-9)
    assert gradient_squares(described, x, gradient) == pytest.approx([variance * square], rel=1e-9)


def test_squared_gradients_of_one_dense_sample_are_those_of_its_layers_inputs() -> None:
    """‖x‖² of what a layer reads times ‖δ‖² behind it; He layers keep both: δ² is n_l/(n_l M), x² is n K/2 for ReLU."""
    net = plain_net([8, 6, 10], in_features=4, out_features=5)
    sample = np.array([[3.0, 1.0, -1.0, 1.0]])  # of square norm 12, so 12/4 at every pre-activation
    expected = np.array([12, 8 * 3 / 2, 6 * 3 / 2]) / 5
    np.testing.assert_allclose(gradient_squares(net, sample, LABEL), expected, rtol=1e-6)


def test_squared_gradients_of_residual_nets_are_refused() -> None:
    with pytest.raises(InputError, match="squared gradients are derived for plain nets only"):
        gradient_squares(residual_net(2, width=4, in_features=3, out_features=2), np.ones((1, 3)), LABEL)


# --- one sample of a dense net ---------------------------------------------------------------------------------------

Pair = Callable[[float, float, float], float]  # E h(z) h(y) of h = φ'², from two variances and a covariance


def _open_both(first: float, second: float, covariance: float) -> float:
    return 0.25 + np.arcsin(min(covariance / np.sqrt(first * second), 1.0)) / (2 * np.pi)


def _mean_of_pair(f: Callable, g: Callable, first: float, second: float, covariance: float) -> float:
    """E f(z) g(y) on a grid of two independent Gaussians: exact to rounding for smooth functions (trapezoids)."""
    u = np.linspace(-9, 9, 361)
    w = np.exp(-(u**2) / 2) / np.exp(-(u**2) / 2).sum()
    rho = min(covariance / np.sqrt(first * second), 1.0)
    y = rho * u[:, None] + np.sqrt(1 - rho**2) * u
    return float((w * f(np.sqrt(first) * u)) @ (g(np.sqrt(second) * y) @ w))


def _gelu_slope_squared(z: Array) -> Array:
    return activation_functions("gelu")[1](z) ** 2


def _residual_recursion(K: int, v: Sequence[float], activation: str) -> Array:
    """S_l of a dense net of width n everywhere, one sample, by Φ_l[f, g] = (1/n) Σ_ij E f_i A_ij g_j A_ji.

    f and g are 1 (None) or the squared gates of a node of the trunk (its number); v holds n Var[W] of the layers of a
    branch. A block makes of A the sum of A, B A, A Bᵀ and the kernel of its branch, B = W_m D_(m-1) … W_1 D_0: off the
    diagonal the first stays, the next two see the gates of the node where the branch begins, the last is a chain of
    Wishart steps; on the diagonal A is α, and its gates are those of one channel.
    """
    pair: Pair = _open_both if activation == "relu" else partial(_mean_of_pair, *[_gelu_slope_squared] * 2)

    def second(variance: float) -> float:
        return activation_moments(activation, variance).second

    def slope(variance: float) -> float:
        return activation_moments(activation, variance).derivative_second

    s, alpha, gains, branches = [1.0], 1.0, [], []
    for _ in range(K):  # forward: variances of the trunk, and inside the branch
        inner = [s[-1]]
        for vj in v:
            inner.append(vj * second(inner[-1]))
        branches.append(inner)
        s.append(s[-1] + inner[-1])
        gains.append(float(np.prod([vj * slope(t) for vj, t in zip(v, inner, strict=False)])))
    nodes = range(K + 1)
    mean = {None: 1.0} | {k: slope(s[k]) for k in nodes}
    joint = {(f, g): mean[f] * mean[g] for f in mean for g in mean}
    joint |= {(f, g): pair(s[f], s[g], min(s[f], s[g])) for f in nodes for g in nodes}
    arrive = [0.0] * (K + 1)  # of the gradient at φ(z_k), over n Var[W_out]; the readout's at the last
    arrive[K], leaving = 1.0, mean[K]
    for k in range(K, 0, -1):
        arrive[k - 1] = leaving * gains[k - 1] / mean[k - 1]
        leaving += leaving * gains[k - 1]

    off, S = dict.fromkeys(joint, 0.0), []
    for unit in range(1, K + 1):
        e, inner = unit - 1, branches[unit - 1]
        phi = {key: alpha**2 * joint[key] + off[key] for key in joint}
        a, chain = second(s[e]) + v[0] * mean[e] * alpha, v[0] ** 2 * phi[e, e]
        for vj, t in zip(v[1:], inner[1:-1], strict=True):
            chain = vj**2 * (a**2 * pair(t, t, t) + chain * slope(t) ** 2)
            a = second(t) + vj * slope(t) * a
        through = gains[e] / mean[e]
        off = {
            (f, g): off[f, g] + through * (mean[f] * phi[g, e] + mean[g] * phi[f, e]) + chain * mean[f] * mean[g]
            for f, g in joint
        }
        alpha += a
        phi = {key: alpha**2 * joint[key] + off[key] for key in joint}
        S.append(sum(arrive[k] * phi[None, k] for k in range(unit, K + 1)))
    return np.array(S)


def _relu_recursion_in_closed_form(K: int, c: float) -> Array:
    """The same for m = 1 and ReLU in closed form: gates e² = e, b_k = ½ (1 + v/2)^(K-k)."""
    v = c / K
    s = (1 + v / 2) ** np.arange(K + 1)
    E = np.full((K + 2, K + 2), 0.5)  # the last row and column are those of f = 1
    E[-1, -1] = 1
    E[:-1, :-1] = 0.25 + np.arcsin(np.sqrt(np.minimum.outer(s, s) / np.maximum.outer(s, s))) / (2 * np.pi)
    mean, alpha, omega, S = E[-1], 1.0, np.zeros_like(E), []
    b = 0.5 * (1 + v / 2) ** (K - np.arange(K + 1))
    for unit in range(1, K + 1):
        phi, e = alpha**2 * E + omega, unit - 1
        omega = omega + v * (np.outer(mean, phi[e]) + np.outer(phi[e], mean)) + v**2 * np.outer(mean, mean) * phi[e, e]
        alpha = (1 + v / 2) * alpha + s[e] / 2
        phi = alpha**2 * E + omega
        S.append(2 * (phi[-1, K] + sum(v * b[k] * phi[-1, k - 1] for k in range(unit + 1, K + 1))))
    return np.array(S)


def test_residual_law_is_that_of_the_derivation() -> None:
    law = finite_depth_law([4, 8, 16, 32, 64], family="resnet", c=2.0)
    np.testing.assert_allclose(law, [0.1703, 0.1057, 0.0597, 0.0318, 0.0164], atol=5.1e-5)


@pytest.mark.parametrize("c", [0.5, 2.0])
@pytest.mark.parametrize("K", [1, 2, 7, 32])
def test_residual_relu_nets_are_the_recursion_over_gates(K: int, c: float) -> None:
    S = unit_moments_of_noise(residual_net(K, width=1, in_features=1, out_features=1, c=c), (), LABEL)
    # arccos near 1 knows the gate that meets itself to √rounding only: 1.5e-8/π of each such term.
    np.testing.assert_allclose(S, _relu_recursion_in_closed_form(K, c), rtol=1e-8)
    law = finite_depth_law([K], family="resnet", c=c)
    assert law == pytest.approx([_relu_recursion_in_closed_form(K, c).mean() ** -0.5], rel=1e-8)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@BRANCHES
@pytest.mark.parametrize("m", [1, 2, 3])
def test_residual_branches_are_the_recursion_over_gates(m: int, scaled: str, activation: str) -> None:
    K, n, factor = 4, 8, 1 / activation_moments(activation).second
    net = residual_net(
        K,
        width=n,
        in_features=n,
        out_features=n,
        branch=["dense"] * m,
        scaled=scaled,
        activation=activation,
        c=1.5,
    )
    v = [1.5 / K if scaled == "all" else factor] * (m - 1) + [1.5 / K]
    expected = factor * _residual_recursion(K, v, activation)
    np.testing.assert_allclose(unit_moments(net, np.ones((1, n)), LABEL), expected, rtol=1e-7)


# --- plain and residual linear nets: no gates, one number for each pair of layers -----------------------------------


def _taps(net: WideNet, offsets: Sequence[tuple[int, ...]], shape: tuple[int, ...], n_samples: int) -> Array:
    """T[Δ, p, p + Δ] = 1, position by position."""
    positions = [(b, *place) for b in range(n_samples) for place in itertools.product(*map(range, shape))]
    taps = np.zeros((len(offsets), len(positions), len(positions)))
    for k, offset in enumerate(offsets):
        for p, (b, *place) in enumerate(positions):
            moved = [i + step for i, step in zip(place, offset, strict=True)]
            wrapped = [i % size for i, size in zip(moved, shape, strict=True)]
            if net.padding == "circular" or moved == wrapped:
                taps[k, p, positions.index((b, *wrapped))] = 1
    return taps


def _gather(taps: Array, X: Array) -> Array:
    return np.einsum("kpa,kqb,...ab->...pq", taps, taps, X, optimize=True)


def _linear_recursion(net: WideNet, batch: Array) -> Array:
    """S_l with mse labels of variance 1, circular padding and a field, where the gradient stays white and even.

    Full is (1/N) Σ_pq Σ_j A_(ip, jq)², of which α² is the diagonal in the channels; W A Wᵀ has diagonal α' and, off it,
    g² Full, with g = Var[W] k fan; see _residual_recursion for what a block adds.
    """
    n_samples, shape = len(batch), batch.shape[2:]
    columns = np.moveaxis(batch, 1, 0).reshape(batch.shape[1], -1)
    N = columns.shape[1]
    own = _gather(_taps(net, net.stem.offsets, shape, n_samples), columns.T @ columns)
    K, alpha, off, full, gains = net.stem.variance * own, own, 0.0, [], []
    for block in net.blocks:
        inner, inner_K, inner_off, gain = alpha, K, off, 1.0
        for layer in block:
            taps = _taps(net, layer.offsets, shape, n_samples)
            own = layer.fan_in * _gather(taps, inner_K)
            inner_off = layer.fan_in * layer.fan_out * (layer.variance * len(taps)) ** 2 * _full(inner, inner_off)
            inner = layer.fan_in * layer.variance * _gather(taps, inner) + own
            inner_K = layer.variance * own
            gain *= layer.fan_out * layer.variance * len(taps)
        if net.residual:
            off = off + 2 * gain * _full(alpha, off) + inner_off
            alpha, K, gain = alpha + inner, K + inner_K, 1 + gain
        else:
            full.append(_full(alpha, off))
            off, alpha, K = inner_off, inner, inner_K
        gains.append(gain)
        if net.residual:
            full.append(_full(alpha, off))
    if not net.residual:
        full.append(_full(alpha, off))
        gains = [1.0, *gains]
    # R = M/(M N)² of white labels; then from the readout back to each unit.
    G = net.readout.variance / net.readout.fan_out / N**2
    back = np.cumprod([1.0, *reversed(gains[1:])])[::-1]
    return G * back * np.array(full)


def _full(alpha: Array, off: float) -> float:
    return float((alpha**2).sum() / len(alpha) + off)


@pytest.mark.parametrize("offsets", [((),), ((-1,), (0,)), ((0, 0), (1, 2), (0, -1))])
@pytest.mark.parametrize("groups", [1, 2])
def test_plain_linear_nets_are_a_wishart_recursion(offsets: tuple, groups: int) -> None:
    batch = RNG.standard_normal((2, 4, *(3, 4)[: len(offsets[0])]))
    sizes = {"in_features": 4, "out_features": 5, "activation": "linear"}
    net = plain_net([8, 6, 6, 4], offsets=offsets, groups=groups, **sizes)
    np.testing.assert_allclose(unit_moments(net, batch, LABEL), _linear_recursion(net, batch), rtol=1e-9)


@pytest.mark.parametrize("axes", [0, 1, 2])
@BRANCHES
@pytest.mark.parametrize("kinds", [["conv"], ["conv", "dense"], ["dense", "conv", "conv"]])
@pytest.mark.parametrize("groups", [1, 2])
def test_residual_linear_nets_are_a_wishart_recursion(kinds: list, scaled: str, axes: int, groups: int) -> None:
    support = {0: DENSE, 1: ((0,), (2,)), 2: ((0, 0), (1, 2), (0, -1))}[axes]
    batch = RNG.standard_normal((2, 4, *(3, 4)[:axes]))
    net = residual_net(
        3,
        width=8,
        in_features=4,
        out_features=5,
        activation="linear",
        branch=kinds if axes else ["dense"] * len(kinds),
        stem=support,
        scaled=scaled,
        c=1.5,
        groups=groups,
    )
    np.testing.assert_allclose(unit_moments(net, batch, LABEL), _linear_recursion(net, batch), rtol=1e-9)


# --- smooth activations on white noise: the gates of a position and of a pair ----------------------------------------


def _stationary_recursion(net: WideNet, noise: int) -> Array:
    """The same for a plain net with gates on 1D white noise of variance 1, whose variance the gain keeps at 1."""
    phi, slope = activation_functions(net.activation)
    g, K = activation_moments(net.activation).derivative_second, np.eye(noise)
    taps = _taps(net, net.stem.offsets, (noise,), 1)
    alpha, off, full = net.stem.fan_in * _gather(taps, K), 0.0, []

    def pairs(f: Callable) -> Array:
        return np.array([[_mean_of_pair(f, f, 1.0, 1.0, rho) for rho in row] for row in K])

    for (layer,) in net.blocks:
        full.append(_full(alpha, off))
        factor = layer.fan_in * layer.fan_out * (layer.variance * len(taps)) ** 2
        off = factor * ((alpha**2 * pairs(lambda z: slope(z) ** 2)).sum() / noise + g**2 * off)
        own = layer.fan_in * _gather(taps, pairs(phi))
        alpha = own + layer.fan_in * layer.variance * _gather(taps, alpha * pairs(slope))
        K = layer.variance * own
    full.append(_full(alpha, off))
    G = net.readout.variance / net.readout.fan_out / noise**2 * g
    back = [layer.fan_out * layer.variance * len(taps) * g for (layer,) in reversed(net.blocks)]
    return G * np.cumprod([1.0, *back])[::-1] * np.array(full)


@pytest.mark.parametrize("activation", ["gelu", (np.tanh, lambda z: 1 - np.tanh(z) ** 2)], ids=["gelu", "tanh"])
def test_smooth_activations_on_white_noise_are_the_recursion_over_gates(activation: object) -> None:
    sizes = {"in_features": 3, "out_features": 5, "activation": activation}
    net = plain_net([8, 6, 4, 6], offsets=((-1,), (0,), (1,)), **sizes)
    np.testing.assert_allclose(unit_moments_of_noise(net, (5,), LABEL), _stationary_recursion(net, 5), rtol=1e-7)


# --- ReLU at any positions, gradient and padding: the gates of three positions are an orthant ------------------------


def _correlations(C: Array, first: Array, second: Array) -> Array:
    return np.clip(C / np.sqrt(np.outer(np.diag(first), np.diag(second))), -1, 1)


def _two_open(rho: Array) -> Array:
    return 0.25 + np.arcsin(rho) / (2 * np.pi)


def _three_open(first: Array, second: Array) -> Array:
    """P(x_p > 0, y_q > 0, y_r > 0) from corr(x_p, y_q) and corr(y_q, y_r), shape (p, q, r)."""
    a, b = np.arcsin(first), np.arcsin(second)
    return 1 / 8 + (a[:, :, None] + a[:, None, :] + b) / (4 * np.pi)


def _arc_cosine(K: Array) -> Array:
    scale, theta = np.sqrt(np.outer(np.diag(K), np.diag(K))), np.arccos(_correlations(K, K, K))
    return scale * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)


def _gather_three(taps: Array, X: Array) -> Array:
    """Σ_ΔΔ' X[p + Δ, q + Δ', r + Δ']."""
    return np.einsum("pa,aqr->pqr", taps.sum(axis=0), _gather(taps, X))


def _twice(alpha: Array) -> Array:
    return alpha[:, :, None] * alpha[:, None, :]


class _ReLUNet:
    """The taps of a net's layers on a batch, the stem's outcome, and the gradient R at the readout positions."""

    def __init__(self, net: WideNet, batch: Array, R: Array) -> None:
        self.net = net
        self.n_samples, self.shape = len(batch), batch.shape[2:]
        columns = np.moveaxis(batch, 1, 0).reshape(batch.shape[1], -1)
        self.alpha = _gather(self.taps(net.stem.offsets), columns.T @ columns)
        self.K = net.stem.variance * self.alpha
        if net.head == "pool" and self.shape:
            size = int(np.prod(self.shape))
            R = np.repeat(np.repeat(R, size, axis=0), size, axis=1) / size**2
        self.arriving = net.readout.variance * R

    def taps(self, offsets: Sequence[tuple[int, ...]]) -> Array:
        return _taps(self.net, offsets, self.shape, self.n_samples)

    def plain(self) -> Array:
        """S_l: a layer takes α[p, q] α[p, r] behind the gates of one channel, the rest of Ψ behind those of two."""
        K, alpha, psi = [self.K], self.alpha, _twice(self.alpha)
        units, taps = [psi], [self.taps(layer.offsets) for (layer,) in self.net.blocks]
        for (layer,), T in zip(self.net.blocks, taps, strict=True):
            rho = _correlations(K[-1], K[-1], K[-1])
            gated = _twice(alpha) * _three_open(rho, rho) + (psi - _twice(alpha)) * _two_open(rho) / 2
            off = layer.fan_in * layer.fan_out * layer.variance**2 * _gather_three(T, gated)
            own = layer.fan_in * _gather(T, _arc_cosine(K[-1]))
            alpha = own + layer.fan_in * layer.variance * _gather(T, alpha * _two_open(rho))
            K.append(layer.variance * own)
            psi = _twice(alpha) + off
            units.append(psi)
        G, S = self.arriving, []
        for number in range(len(units) - 1, -1, -1):
            G = G * _two_open(_correlations(K[number], K[number], K[number]))
            S.append(np.einsum("pqr,qr->", units[number], G) / len(G))
            if number:
                ((layer,), T) = self.net.blocks[number - 1], taps[number - 1]
                G = layer.fan_out * layer.variance * np.einsum("kap,kbq,ab->pq", T, T, G)
        return np.array(S[::-1])

    def residual(self) -> Array:
        """S_l by Φ_l[f, m](p; q, r), f the gates at p (None: open) and m the node whose gates stand at q and r."""
        trunk, inner = self._covariances()
        nodes = range(len(trunk))
        joint = {(None, m): _two_open(_correlations(trunk[m], trunk[m], trunk[m]))[None] for m in nodes} | {
            (f, m): _three_open(
                _correlations(trunk[min(f, m)], trunk[f], trunk[m]), _correlations(trunk[m], trunk[m], trunk[m])
            )
            for f in nodes
            for m in nodes
        }
        arriving = self._arriving(trunk, inner)
        alpha, off, S = self.alpha, dict.fromkeys(joint, np.zeros((len(self.K),) * 3)), []
        for unit, block in enumerate(self.net.blocks, start=1):
            phi = {key: _twice(alpha) * joint[key] + off[key] for key in joint}
            e = unit - 1
            kernel, chain = self._branch(block, [trunk[e], *inner[e]], alpha, phi[e, e])
            off = {
                (f, m): off[f, m]
                + (1 if f is None else 0.5) * self._left(block, phi[e, m])
                + joint[None, m] * self._right(block, inner[e], phi[f, e])
                + (1 if f is None else 0.5) * joint[None, m] * chain
                for f, m in joint
            }
            alpha = alpha + kernel
            S.append(
                sum(
                    np.einsum("pqr,qr->", _twice(alpha) * joint[None, m] + off[None, m], arriving[m])
                    for m in range(unit, len(trunk))
                )
                / len(alpha)
            )
        return np.array(S)

    def _covariances(self) -> tuple[list[Array], list[list[Array]]]:
        trunk, inner = [self.K], []
        for block in self.net.blocks:
            K = [trunk[-1]]
            for layer in block:
                K.append(layer.variance * layer.fan_in * _gather(self.taps(layer.offsets), _arc_cosine(K[-1])))
            inner.append(K[1:-1])
            trunk.append(trunk[-1] + K[-1])
        return trunk, inner

    def _arriving(self, trunk: list[Array], inner: list[list[Array]]) -> list[Array]:
        """The gradient's covariance where it arrives at φ of each node of the trunk."""
        found = [self.arriving]
        G = self.arriving * _two_open(_correlations(trunk[-1], trunk[-1], trunk[-1]))
        for block, K, nodes in zip(self.net.blocks[::-1], trunk[-2::-1], inner[::-1], strict=True):
            signal = G
            for layer, node in zip(reversed(block), reversed([K, *nodes]), strict=True):
                T = self.taps(layer.offsets)
                arrives = layer.fan_out * layer.variance * np.einsum("kap,kbq,ab->pq", T, T, signal)
                signal = arrives * _two_open(_correlations(node, node, node))
            found.append(arrives)
            G = G + signal
        return found[::-1]

    def _branch(self, block: tuple, nodes: list[Array], alpha: Array, phi: Array) -> tuple[Array, Array]:
        """Of the branch's own kernel: the diagonal in the channels and the second moments off it."""
        for number, (layer, K) in enumerate(zip(block, nodes, strict=True)):
            T, rho = self.taps(layer.offsets), _correlations(K, K, K)
            if number:
                phi = _twice(alpha) * _three_open(rho, rho) + off * _two_open(rho) / 2
            off = layer.fan_in * layer.fan_out * layer.variance**2 * _gather_three(T, phi)
            own = layer.fan_in * _gather(T, _arc_cosine(K))
            alpha = own + layer.fan_in * layer.variance * _gather(T, alpha * _two_open(rho))
        return alpha, off

    def _left(self, block: tuple, phi: Array) -> Array:
        """B A seen from the left: the gates inside the branch are open half of the time."""
        for number, layer in enumerate(block):
            gain = layer.fan_in * layer.variance * (0.5 if number else 1.0)
            phi = gain * np.einsum("pa,aqr->pqr", self.taps(layer.offsets).sum(axis=0), phi)
        return phi

    def _right(self, block: tuple, inner: list[Array], phi: Array) -> Array:
        """A Bᵀ seen from the right: the gates stand at pairs of positions."""
        for number, layer in enumerate(block):
            if number:
                phi = phi * _two_open(_correlations(*[inner[number - 1]] * 3))
            phi = layer.fan_out * layer.variance * _gather(self.taps(layer.offsets), phi)
        return phi


RELU_CASES = pytest.mark.parametrize(
    ("shape", "support", "padding", "head"),
    [
        ((), DENSE, "circular", "field"),
        ((4,), ((-1,), (0,), (1,)), "circular", "pool"),
        ((4,), ((-1,), (0,), (1,)), "zero", "pool"),
        ((4,), ((0,), (1,)), "zero", "field"),
        ((2, 2), ((0, 0), (1, -1)), "zero", "pool"),
    ],
)


def _relu_case(shape: tuple[int, ...], head: str) -> tuple[Array, LossGradient, Array]:
    """Three samples, cross-entropy labels and their R: 1/n² wherever two labels agree."""
    batch = RNG.standard_normal((3, 4, *shape))
    classes = np.array([1, 0, 1]) if head == "pool" or not shape else RNG.integers(3, size=(3, *shape))
    agree = np.equal.outer(classes.ravel(), classes.ravel())
    return batch, LossGradient(loss="cross_entropy", classes=classes), agree / classes.size**2


# arccos near 1 knows a gate that meets itself to √rounding only.
@RELU_CASES
@pytest.mark.parametrize("groups", [1, 2])
def test_plain_relu_nets_are_the_recursion_over_orthants(shape, support, padding: str, head: str, groups: int) -> None:
    batch, gradient, R = _relu_case(shape, head)
    net = plain_net(
        [8, 6, 10, 4], in_features=4, out_features=3, offsets=support, padding=padding, head=head, groups=groups
    )
    expected = _ReLUNet(net, batch, R).plain()
    np.testing.assert_allclose(unit_moments(net, batch, gradient), expected, rtol=1e-6)


@RELU_CASES
@BRANCHES
@pytest.mark.parametrize("kinds", [["conv"], ["conv", "dense", "conv"]])
def test_residual_relu_nets_are_the_recursion_over_orthants(
    shape, support, padding: str, head: str, kinds: list, scaled: str
) -> None:
    batch, gradient, R = _relu_case(shape, head)
    net = residual_net(
        3,
        width=8,
        in_features=4,
        out_features=3,
        branch=kinds if shape else ["dense"] * len(kinds),
        stem=support,
        padding=padding,
        head=head,
        scaled=scaled,
        groups=2,
    )
    expected = _ReLUNet(net, batch, R).residual()
    np.testing.assert_allclose(unit_moments(net, batch, gradient), expected, rtol=1e-6)


# --- errors ----------------------------------------------------------------------------------------------------------

LINE = plain_net([4, 4], in_features=3, out_features=2, offsets=((0,),))
GRID = residual_net(2, width=4, in_features=3, out_features=2, branch=["dense"], stem=((0, 0), (0, 1)))


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (LINE, (2, 3), r"inputs have shape \(2, 3\); expected \(batch, 3\) and 1 position axes"),
        (LINE, (2, 4, 5), r"inputs have shape \(2, 4, 5\); expected \(batch, 3\)"),
        (GRID, (2, 3, 5), "and 2 position axes"),
        (GRID, (2, 3, 5, 5, 5), "and 2 position axes"),
        (GRID, (2, 3, 0, 5), "and 2 position axes"),
        (plain_net([4], in_features=3, out_features=2), (3,), "and 0 position axes"),
        pytest.param(
            plain_net([4], in_features=3, out_features=2),
            (0, 3),
            "and 0 position axes",
        ),
    ],
)
def test_inputs_of_another_shape_are_refused(net: WideNet, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit_moments(net, np.ones(shape), LABEL)


@pytest.mark.parametrize(("net", "shape"), [(LINE, ()), (LINE, (2, 2)), (GRID, (4,))])
def test_noise_at_other_positions_is_refused(net: WideNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"do not fit a net with {net.axes} position axes"):
        unit_moments_of_noise(net, shape, LABEL)


def test_classes_that_are_not_one_for_each_output_are_refused() -> None:
    gradient = LossGradient(loss="cross_entropy", classes=np.array([0, 1]))
    with pytest.raises(InputError, match="2 class indices for 10 outputs"):
        unit_moments(LINE, np.ones((2, 3, 5)), gradient)
