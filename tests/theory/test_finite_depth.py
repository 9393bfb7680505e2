"""The law against closed forms, naive sums, and the nets that the families build."""

from functools import partial

import numpy as np
import pytest

import ammup
from ammup import InputError, finite_depth_law, fit_power_law
from ammup.models.factory import architecture_of
from ammup.theory.finite_depth import effective_depth
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import unit_moments
from ammup.theory.wide_net import wide_net


def _plain_relu_double_sum(depth: int) -> float:
    """The law as a sum over pairs of layers: a_1 = 1, a_h = 1/2, every gain 1, growth 2; no recursion."""
    a = np.array([1.0] + [0.5] * (depth - 1))
    h = np.arange(1, depth + 1)
    pairs = np.outer(a, a)
    S = [
        sum(pairs[i, j] * (1 + 2 * (unit - max(h[i], h[j]))) for i in range(unit) for j in range(unit))
        for unit in range(1, depth + 1)
    ]
    return float(np.mean(S) ** -0.5)


def _plain_relu_profile_sum(widths: list[int], in_features: int, outputs: int, power: float) -> float:
    """The same for any widths: a_1 = d P and a_h = n_(h-1) P/2 (‖x‖² of what the layer reads).

    A layer of width n_j behind one of width n_i has n_j/n_i of its squared signal back; a kernel of rank n_j gains
    2/n_j of the square of its mean at every gate (1 by the weights, 1 by the gates of a ReLU). So the layers j from
    max(h, h') to l - 1 give 1 + n_l Σ 2/n_j, and a square norm of 1/M of the gradient falls on n_l channels.
    """
    a = [power * in_features, *(power * n / 2 for n in widths[:-1])]
    S = []
    for unit, n in enumerate(widths):
        total = 0.0
        for h in range(unit + 1):
            for g in range(unit + 1):
                total += a[h] * a[g] * (1 + n * sum(2 / widths[j] for j in range(max(h, g), unit)))
        S.append(total / (n * outputs))
    return float(np.mean(S) ** -0.5)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 16, 64])
def test_plain_law_is_the_double_sum_over_layers(depth: int) -> None:
    # arccos near 1 knows a gate that meets itself to √rounding only.
    assert finite_depth_law([depth], family="mlp") == pytest.approx([_plain_relu_double_sum(depth)], rel=1e-8)


@pytest.mark.parametrize(
    ("profile", "power"),
    [
        (lambda depth: [64] * depth, 1.0),
        (lambda depth: [8 * (number + 1) for number in range(depth)], 2.0),
        (lambda depth: [2 ** (depth - number) for number in range(depth)], 1.0),
        (lambda depth: ([40, 10] * depth)[:depth], 0.5),
    ],
    ids=["flat", "growing", "halving", "bottlenecks"],
)
def test_any_widths_are_the_double_sum_over_layers(profile, power: float) -> None:
    law = finite_depth_law([1, 2, 5, 8], family="mlp", width=profile, in_features=24, out_features=7, input_power=power)
    expected = [_plain_relu_profile_sum(profile(depth), 24, 7, power) for depth in (1, 2, 5, 8)]
    np.testing.assert_allclose(law, expected, rtol=1e-8)


def test_outputs_that_are_not_given_are_as_many_as_the_last_width() -> None:
    profile = partial(np.linspace, 8, 32, dtype=int)
    law, given = (
        finite_depth_law([4], family="mlp", width=lambda depth: profile(depth).tolist(), in_features=8, **outputs)
        for outputs in ({}, {"out_features": 32})
    )
    assert law == given


def test_plain_law_tends_to_the_paper_exponent_from_above() -> None:
    slopes = [fit_power_law(d, finite_depth_law(d, family="mlp")).slope for d in ([2, 4], [32, 64], [256, 512])]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] == pytest.approx(-1.5, abs=0.01)


def test_residual_law_tends_to_minus_one_from_above() -> None:
    slopes = [fit_power_law(d, finite_depth_law(d, family="resnet")).slope for d in ([4, 8], [16, 32], [32, 64])]
    assert slopes == sorted(slopes, reverse=True)
    # The distance is O(1/K): 4.6 % here, and half of that of the pair before.
    assert slopes[2] == pytest.approx(-1, abs=0.05)
    assert slopes[2] + 1 == pytest.approx((slopes[1] + 1) / 2, rel=0.1)


def test_residual_law_of_a_linear_net_is_the_scalar_recursion() -> None:
    """Without gates Φ is one number and the recursion is a Wishart computation (growth 1)."""
    depth, c = 8, 1.5
    x, alpha, tau, power, S = c / depth, 1.0, 1.0, 1.0, []
    for block in range(1, depth + 1):
        tau = (1 + x) ** 2 * tau + (2 * x + x**2) * alpha**2 + 2 * power * (1 + x) * alpha + power**2
        alpha, power = (1 + x) * alpha + power, (1 + x) * power
        S.append(tau * (1 + x) ** (depth - block))
    law = finite_depth_law([depth], family="resnet", activation="linear", c=c)
    assert law == pytest.approx([np.mean(S) ** -0.5], rel=1e-12)


def test_constants_scale_the_law_as_the_derivation_says() -> None:
    base = {"family": "mlp", "width": 512, "in_features": 512, "out_features": 512}
    law = finite_depth_law([4], **base)
    assert finite_depth_law([4], **base, label_variance=4.0) == pytest.approx(law / 2)
    assert finite_depth_law([4], **{**base, "out_features": 128}) == pytest.approx(law / 2)
    assert finite_depth_law([4], **base, input_power=4.0) == pytest.approx(law / 4)
    # A mean-field readout has 1/(2n) of the He readout's variance.
    assert finite_depth_law([4], **base, readout="mean-field") == pytest.approx(law * np.sqrt(2 * 512))
    # The output part of an O(1) readout: outputs of variance K/2 · 2 = 1 like the labels.
    assert finite_depth_law([4], **base, part="total") == pytest.approx(law / np.sqrt(2))
    assert finite_depth_law([4], **base, part="output") == pytest.approx(law)


@pytest.mark.parametrize(("family", "positions"), [("mlp", ()), ("cnn", (5,)), ("resnet", ()), ("resnet", (5,))])
def test_ratios_that_are_not_given_are_one(family: str, positions: tuple[int, ...]) -> None:
    batch = np.random.default_rng(0).standard_normal((3, 6, *positions))
    given = finite_depth_law([3], family=family, inputs=batch, width=6, in_features=6, out_features=6)
    np.testing.assert_allclose(finite_depth_law([3], family=family, inputs=batch), given, rtol=1e-12)
    noise = finite_depth_law([3], family=family, positions=positions)
    given = finite_depth_law([3], family=family, positions=positions, width=6, in_features=6, out_features=6)
    np.testing.assert_allclose(noise, given, rtol=1e-12)


def test_more_input_channels_move_the_stem_more() -> None:
    sizes = {"family": "cnn", "width": 4, "positions": (5,)}
    assert finite_depth_law([3], **sizes, in_features=8) < finite_depth_law([3], **sizes)


def test_spellings_of_one_net_have_one_law() -> None:
    noise = partial(finite_depth_law, [2, 3], family="cnn")
    np.testing.assert_array_equal(noise(), noise(positions=(8,), kernel=[-1, 0, 1]))
    residual = partial(finite_depth_law, [2, 3], family="resnet", positions=(4, 3))
    np.testing.assert_array_equal(residual(branch=2), residual(branch=("conv", "conv"), kernel=(3, 3)))
    dense = partial(finite_depth_law, [2, 3], family="resnet")
    np.testing.assert_array_equal(dense(branch=2), dense(branch=("dense", "dense")))
    assert not np.allclose(residual(branch=2), residual(branch=("conv", "dense")), rtol=1e-3)


SETTINGS = {"activation": "gelu", "readout": "mean-field"}
CONV = {"kernel": (3, 1), "padding": "zero", "head": "pool"}
BLOCKS = {"c": 0.5, "scaled": "last"}


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize(
    ("family", "settings", "branch"),
    [
        ("mlp", SETTINGS, None),
        ("cnn", SETTINGS | CONV, None),
        ("resnet", SETTINGS | CONV | BLOCKS, ("conv", "dense", "conv")),
        ("resnet", SETTINGS | BLOCKS, 2),
    ],
    ids=["mlp", "cnn", "resnet", "dense resnet"],
)
def test_the_law_of_a_family_is_that_of_the_net_it_builds(family: str, settings: dict, branch, loss: str) -> None:
    images, classes = np.random.default_rng(1).standard_normal((2, 4, 3, 2)), np.array([0, 2])
    batch = images if "kernel" in settings else images.reshape(2, 24)
    channels = batch.shape[1]
    sizes = {"in_features": channels, "out_features": 3} if family == "mlp" else {
        "in_channels": channels, "out_channels": 3
    }  # fmt: skip
    branches = {} if branch is None else {"branch": branch}
    dims = {"dims": 0} if family == "resnet" and "kernel" not in settings else {}
    build = partial(getattr(ammup, family), width=8, **sizes, **settings, **branches, **dims)
    S = unit_moments(wide_net(architecture_of(build, 3)), batch, LossGradient(loss=loss, part="total", classes=classes))
    law = finite_depth_law(
        [3],
        family=family,
        width=8,
        in_features=channels,
        out_features=3,
        inputs=batch,
        targets=classes,
        loss=loss,
        part="total",
        **settings,
        **branches,
    )
    assert law == pytest.approx([S.mean() ** -0.5], rel=1e-12)


def test_gain_rules_of_the_law() -> None:
    """The derivative rule keeps the gradients of GELU, the forward rule its variances: only one depth agrees."""
    forward, derivative = (
        finite_depth_law([1, 6], family="mlp", activation="gelu", gain=g) for g in ("forward", "derivative")
    )
    # At depth 1 the readout alone differs, and S is linear in its variance 1/E φ² or 1/E φ'².
    assert (derivative[0] / forward[0]) ** 2 == pytest.approx(0.45585086565 / 0.42522148257, rel=1e-9)
    assert not np.isclose(derivative[1] / forward[1], derivative[0] / forward[0], rtol=1e-2)


def test_effective_depth_turns_the_law_into_the_papers_exponent() -> None:
    depths = [3, 4, 7, 30]
    law = finite_depth_law(depths, family="mlp")
    L_eff = effective_depth(law)
    np.testing.assert_allclose(L_eff**-1.5, law, rtol=1e-12)
    assert np.polyfit(np.log(L_eff), np.log(law), 1)[0] == pytest.approx(-1.5, abs=1e-9)
    # Equal a_h = 1/2 and growth 2 give S_l = ¼ · 2 · l³/3 and a mean of L³/24, but for O(1/L).
    far = effective_depth(finite_depth_law([512], family="mlp"))
    np.testing.assert_allclose(far / 512, 24 ** (-1 / 3), rtol=0.01)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0], [np.nan], [np.inf]])
def test_what_is_no_learning_rate_has_no_effective_depth(values: list[float]) -> None:
    with pytest.raises(InputError, match="must be positive and finite"):
        effective_depth(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "vgg"}, "unknown family='vgg'; expected one of: mlp, cnn, resnet"),
        ({"family": "mlp", "activation": "tanh"}, "unknown activation='tanh'; expected one of: relu, gelu, linear"),
        ({"family": "mlp", "gain": "he"}, "gain='he'"),
        ({"family": "mlp", "readout": "zero"}, "readout='zero'"),
        ({"family": "mlp", "loss": "hinge"}, "loss='hinge'"),
        ({"family": "mlp", "part": "residual"}, "part='residual'"),
        ({"family": "mlp", "readout": "mean-field"}, "require width="),
        ({"family": "mlp", "in_features": 8}, "require width="),
        ({"family": "cnn", "readout": "mean-field"}, "require width="),
        ({"family": "resnet", "out_features": 3}, "require width="),
        ({"family": "mlp", "positions": (8,)}, r"positions=\(8,\) do not fit a net with 0 position axes"),
        ({"family": "cnn", "padding": "same"}, "padding='same'"),
        ({"family": "cnn", "head": "max"}, "head='max'"),
        ({"family": "cnn", "kernel": 0}, "must be a positive int"),
        ({"family": "cnn", "kernel": (3, 3)}, "a tuple of 1 positive ints"),
        ({"family": "cnn", "inputs": [[[1.0]]], "in_features": 3, "width": 3}, "expected"),
        ({"family": "mlp", "inputs": [[1.0], [2.0]], "targets": [1]}, "1 class indices for 2 outputs"),
        ({"family": "resnet", "scaled": "first"}, "scaled='first'"),
        ({"family": "resnet", "branch": 0}, "branch=0.*a count of at least 1"),
        ({"family": "resnet", "positions": (3, 3), "kernel": [(0,)]}, "offsets of 2 integers"),
    ],
)
def test_unusable_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        finite_depth_law([2, 4], **arguments)


@pytest.mark.parametrize("depths", [[0, 2], [-1], [2.5], []])
def test_unusable_depths_are_refused(depths: list) -> None:
    with pytest.raises(InputError):
        finite_depth_law(depths, family="mlp")


def test_a_constant_profile_is_a_width() -> None:
    assert finite_depth_law([4], family="mlp", width=lambda depth: [64] * depth) == pytest.approx(
        finite_depth_law([4], family="mlp", width=64)
    )


def test_a_profile_of_another_depth_is_refused() -> None:
    with pytest.raises(InputError):
        finite_depth_law([4], family="mlp", width=lambda depth: [8] * 2, in_features=8)


def test_unknown_kinds_of_branch_layers_are_refused() -> None:
    with pytest.raises(InputError, match="branch"):
        finite_depth_law([2], family="resnet", branch=["conv", "norm"], positions=(4,))


def test_a_dense_law_flattens_images() -> None:
    images = np.random.default_rng(2).standard_normal((2, 3, 2, 2))
    assert finite_depth_law([2], family="mlp", inputs=images) == finite_depth_law(
        [2], family="mlp", inputs=images.reshape(2, 12)
    )
