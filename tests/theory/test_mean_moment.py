"""S̄ from one pass through the layers, compared with the mean of S_l of every unit."""

import numpy as np
import pytest

from ammup.architecture.architecture import Architecture
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.mean_moment import mean_unit_moments
from ammup.theory.trace import EXACT_POSITIONS, Trace
from ammup.theory.wide_limit import unit_moments
from ammup.theory.wide_net import WideNet, wide_net

RNG = np.random.default_rng(0)
BRANCHES = {
    "cnn": {"family": "cnn"},
    "one layer": {"family": "resnet", "branch": 1},
    "two layers": {"family": "resnet", "branch": 2},
    "last scaled": {"family": "resnet", "branch": 2, "scaled": "last"},
}
SHAPES = {(): 3, (5,): 3, (4, 3): 3, (4, 5): [(0, 0), (1, -2), (0, 1)]}


def _nets(shape: tuple[int, ...], depths: tuple[int, ...] = (1, 2, 4), **fields: object) -> list[WideNet]:
    sizes = {"width": 16, "in_features": 3, "out_features": 3, "dims": len(shape), "readout": "mean-field"}
    if not shape and fields["family"] == "cnn":
        fields["family"] = "mlp"
    return [wide_net(Architecture(depth=depth, **{**sizes, **fields})) for depth in depths]


def _means(nets: list[WideNet], batch: np.ndarray, gradient: LossGradient) -> list[float]:
    return [float(unit_moments(net, batch, gradient).mean()) for net in nets]


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize(("head", "loss"), [("pool", "mse"), ("pool", "cross_entropy"), ("field", "mse")])
def test_the_mean_is_that_of_all_units(activation, padding, head, shape, branch, loss) -> None:
    head = head if shape else "field"
    settings = {"activation": activation, "padding": padding, "kernel": SHAPES[shape], "head": head}
    nets = _nets(shape, **BRANCHES[branch], **settings)
    batch = RNG.standard_normal((3, 3, *shape))
    batch[1, :, ...] *= 2.0  # samples of different norms
    gradient = LossGradient() if loss == "mse" else LossGradient(loss=loss, part="total", classes=np.array([0, 2, 2]))
    found = mean_unit_moments(nets, batch, gradient, trace=Trace(exact=True))
    np.testing.assert_allclose(found, _means(nets, batch, gradient), rtol=1e-10)


def test_labels_of_a_field_are_read_sample_by_sample() -> None:
    batch, classes = RNG.standard_normal((3, 3, 2, 2)), RNG.integers(3, size=12)
    for family in ("cnn", "resnet"):
        nets = _nets((2, 2), family=family, head="field")
        gradient = LossGradient(loss="cross_entropy", part="total", classes=classes)
        found = mean_unit_moments(nets, batch, gradient, trace=Trace(exact=True))
        np.testing.assert_allclose(found, _means(nets, batch, gradient), rtol=1e-10)


def test_mixed_branches_and_groups() -> None:
    batch = RNG.standard_normal((2, 3, 4, 4))
    nets = _nets((4, 4), family="resnet", branch=("conv", "dense", "conv"), groups=2, head="pool")
    found = mean_unit_moments(nets, batch, LossGradient(), trace=Trace(exact=True))
    np.testing.assert_allclose(found, _means(nets, batch, LossGradient()), rtol=1e-10)


def test_a_sample_of_zeros_has_closed_gates() -> None:
    batch = RNG.standard_normal((2, 3, 4, 4))
    batch[1] = 0
    for family in ("cnn", "resnet"):
        nets = _nets((4, 4), family=family, head="pool")
        found = mean_unit_moments(nets, batch, LossGradient(), trace=Trace(exact=True))
        np.testing.assert_allclose(found, _means(nets, batch, LossGradient()), rtol=1e-10)


def test_nets_of_other_layers_do_not_share_them() -> None:
    batch = RNG.standard_normal((2, 3, 4, 4))
    nets = [
        _nets((4, 4), (depth,), family="cnn", kernel=kernel, head="pool")[0]
        for depth, kernel in ((3, 3), (2, 1), (2, 3))
    ]
    nets += _nets((4, 4), (2, 3), family="cnn", width=8, head="pool", padding="zero")
    found = mean_unit_moments(nets, batch, LossGradient(), trace=Trace(exact=True))
    np.testing.assert_allclose(found, _means(nets, batch, LossGradient()), rtol=1e-10)


def _smooth_images(batch: int, size: int) -> np.ndarray:
    """Images with the falling spectrum of photographs."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)) + 1 / size
    noise = RNG.standard_normal((batch, 3, size, size))
    return np.fft.ifft2(np.fft.fft2(noise) / frequency).real / size


@pytest.mark.parametrize("images", ["smooth", "noise"])
@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_a_trace_over_few_columns_is_near_the_exact_one(family: str, padding: str, images: str) -> None:
    batch = _smooth_images(16, 6) if images == "smooth" else RNG.standard_normal((16, 3, 6, 6))
    assert EXACT_POSITIONS < 16 * 36
    gradient = LossGradient(loss="cross_entropy", part="total", classes=RNG.integers(3, size=16))
    nets = _nets((6, 6), (2, 4), family=family, padding=padding, head="pool", width=64)
    found = mean_unit_moments(nets, batch, gradient)
    exact = mean_unit_moments(nets, batch, gradient, trace=Trace(exact=True))
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    assert found != exact
