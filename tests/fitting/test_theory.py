"""The law of dense nets against closed forms and a naive double sum."""

import numpy as np
import pytest

from ammup import InputError, finite_depth_law, fit_power_law


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


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 16, 64])
def test_plain_law_is_the_double_sum_over_layers(depth: int) -> None:
    assert finite_depth_law([depth], family="mlp") == pytest.approx([_plain_relu_double_sum(depth)], rel=1e-12)


def test_plain_law_tends_to_the_paper_exponent_from_above() -> None:
    slopes = [fit_power_law(d, finite_depth_law(d, family="mlp")).slope for d in ([2, 4], [32, 64], [1024, 2048])]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] == pytest.approx(-1.5, abs=0.01)


def test_residual_law_tends_to_minus_one() -> None:
    assert fit_power_law([256, 512], finite_depth_law([256, 512], family="resnet")).slope == pytest.approx(-1, abs=0.01)


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
    # A mean-field readout has 1/(2n) of the He readout's variance.
    assert finite_depth_law([4], **base, readout="mean-field") == pytest.approx(law * np.sqrt(2 * 512))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "vgg"}, "no closed law"),
        ({"family": "mlp", "activation": "tanh"}, "allowed: relu, gelu, linear"),
        ({"family": "mlp", "gain": "he"}, "gain='he'"),
        ({"family": "mlp", "readout": "zero"}, "readout='zero'"),
        ({"family": "mlp", "readout": "mean-field"}, "give width="),
        ({"family": "mlp", "width": 8}, "or neither"),
        ({"family": "mlp", "in_features": 8}, "needs width="),
        ({"family": "resnet", "inputs": [[1.0]]}, "one sample only"),
        ({"family": "cnn", "readout": "mean-field"}, "give width="),
        ({"family": "cnn", "out_features": 3}, "give width="),
        ({"family": "cnn", "padding": "same"}, "padding='same'"),
        ({"family": "cnn", "kernel": 0}, "must be a positive int"),
        ({"family": "cnn", "inputs": [[[1.0]]], "in_features": 3}, "the law asks for"),
    ],
)
def test_unusable_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        finite_depth_law([2, 4], **arguments)
