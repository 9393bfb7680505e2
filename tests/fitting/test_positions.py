"""The law over samples and positions: special cases that are known exactly, and the geometry of kernels."""

import itertools

import numpy as np
import pytest
import torch

import ammup
from ammup import InputError, finite_depth_law
from ammup.fitting.positions import PlainNet, kernel_offsets, shifts
from ammup.models.layers import conv

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("activation", ["relu", "gelu", "linear"])
def test_one_dense_sample_is_the_scalar_law(activation: str) -> None:
    sample = 1.5 * np.ones((1, 24))
    sizes = {"width": 16, "in_features": 24, "out_features": 5, "activation": activation}
    ours = finite_depth_law([1, 2, 5, 12], family="mlp", inputs=sample, **sizes)
    np.testing.assert_allclose(
        ours, finite_depth_law([1, 2, 5, 12], family="mlp", input_power=2.25, **sizes), rtol=1e-7
    )


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


def test_kernel_size_1_on_positions_is_a_dense_batch_over_its_positions() -> None:
    """A 1×1 convolution of one image is a dense net on a batch of its positions, but that one image shares no label."""
    image = RNG.standard_normal((1, 6, 5))
    law = finite_depth_law([3], family="cnn", kernel=1, width=6, in_features=6, inputs=image)
    batch = image[0].T
    np.testing.assert_allclose(
        law, finite_depth_law([3], family="mlp", width=6, in_features=6, inputs=batch), rtol=1e-12
    )


def test_ratios_that_are_not_given_are_one() -> None:
    batch = RNG.standard_normal((3, 6))
    sizes = {"width": 6, "in_features": 6, "out_features": 6}
    given = finite_depth_law([3], family="mlp", inputs=batch, **sizes)
    np.testing.assert_allclose(finite_depth_law([3], family="mlp", inputs=batch), given, rtol=1e-12)
    half = finite_depth_law([3], family="cnn", width=4, in_features=8, positions=(5,))
    assert half < finite_depth_law([3], family="cnn", width=4, positions=(5,))


@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_copies_of_a_sample_only_average_its_labels(padding: str) -> None:
    """B equal samples with independent labels: the gradient is that of their mean label, S falls by B."""
    image = RNG.standard_normal((1, 3, 4, 4))
    sizes = {"family": "cnn", "width": 8, "in_features": 3, "padding": padding, "kernel": 3}
    one = finite_depth_law([4], inputs=image, **sizes)
    np.testing.assert_allclose(finite_depth_law([4], inputs=np.repeat(image, 5, axis=0), **sizes), one * np.sqrt(5))


def test_far_samples_do_not_see_each_other_in_a_linear_net() -> None:
    """Orthogonal samples of a linear net have no gradient in common: S of two is a quarter of the sum over one."""
    samples = np.eye(2, 16) * 4.0
    sizes = {"family": "mlp", "width": 16, "in_features": 16, "activation": "linear"}
    one = finite_depth_law([1], inputs=samples[:1], **sizes)
    np.testing.assert_allclose(finite_depth_law([1], inputs=samples, **sizes), one * 2)


def test_zero_padding_tends_to_circular_padding() -> None:
    ratio = [
        finite_depth_law([4], family="cnn", positions=(n,), padding="zero")[0]
        / finite_depth_law([4], family="cnn", positions=(n,))[0]
        - 1
        for n in (8, 16, 32, 64)
    ]
    assert all(0 < b < 0.6 * a for a, b in itertools.pairwise(ratio))  # the boundary term is of order s/N


def test_support_of_kernels() -> None:
    assert kernel_offsets(3, 1) == ((-1,), (0,), (1,))
    assert kernel_offsets(2, 1) == ((0,), (1,))
    assert kernel_offsets((1, 3), 2, dilation=2) == ((0, -2), (0, 0), (0, 2))
    assert kernel_offsets([0, 5], 1) == ((0,), (5,))


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (2, 1), ((1, 3), 1), (3, 2), ([(0, 0), (1, 2), (-2, 0)], 1)])
def test_neighbours_are_those_of_the_convolution(kernel, dilation: int, padding: str) -> None:
    """An input of powers of two tells which positions a tap has read."""
    if kernel == 2 and padding == "zero":
        return  # refused by conv
    shape, offsets = (3, 4), kernel_offsets(kernel, 2, dilation=dilation)
    layer = conv(1, 1, dims=2, kernel=kernel, padding=padding, dilation=dilation).double()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    code = 2.0 ** torch.arange(24, dtype=torch.float64).reshape(2, 1, 3, 4)
    read = layer(code).detach().flatten().numpy()
    values = np.append(code.flatten().numpy(), 0.0)
    assert np.array_equal(read, values[shifts(2, shape, offsets, padding)].sum(axis=0))


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"inputs have shape \(2, 3\); the law asks for .*1 position axes"):
        PlainNet(width=4, in_features=3, out_features=2, offsets=((0,),)).lr_star(2, np.ones((2, 3)))


def test_what_the_families_flatten_the_law_flattens() -> None:
    images = RNG.standard_normal((2, 3, 4, 5))
    dense = PlainNet(width=8, in_features=60, out_features=8)
    assert dense.lr_star(3, images) == dense.lr_star(3, images.reshape(2, 60))
    line = PlainNet(width=8, in_features=3, out_features=8, offsets=((-1,), (0,)))
    assert line.lr_star(3, images) == line.lr_star(3, images.reshape(2, 3, 20))


def test_families_know_their_law() -> None:
    net = ammup.cnn(2, width=8, dims=1, kernel=[0, 2], head="field", readout="he", padding="zero", out_channels=4)
    assert net.law == PlainNet(
        width=8, in_features=3, out_features=4, offsets=((0,), (2,)), padding="zero", activation="relu", readout="he"
    )
    assert ammup.cnn(2, width=8).law is None  # pooled: what is propagated back is not white
    assert ammup.cnn(2, width=[8, 4], head="field").law is None
    assert ammup.mlp(2, width=8).law is not None
    assert ammup.resnet(2, width=8).law is None
