"""Convolutions over any support against a loop over taps and against torch's own."""

import itertools

import pytest
import torch
from torch import nn

from ammup import InputError
from ammup.models.layers import SupportConv, conv

PLUS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
SUPPORTS = {
    "plus": PLUS,
    "dilated row": [(0, -2), (0, 0), (0, 2)],
    "one tap off the centre": [(1, 2)],
    "far corner": [(-1, 0), (3, -2)],
}


def _loop_over_taps(x: torch.Tensor, weight: torch.Tensor, offsets: list, padding: str) -> torch.Tensor:
    """z[p] = Σ_Δ W_Δ x[p + Δ], position by position."""
    out = x.new_zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    for p in itertools.product(*map(range, x.shape[2:])):
        for k, offset in enumerate(offsets):
            q = tuple(a + b for a, b in zip(p, offset, strict=True))
            inside = all(0 <= a < n for a, n in zip(q, x.shape[2:], strict=True))
            if padding == "zero" and not inside:
                continue
            q = tuple(a % n for a, n in zip(q, x.shape[2:], strict=True))
            out[(slice(None), slice(None), *p)] += x[(slice(None), slice(None), *q)] @ weight[:, :, k].T
    return out


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("offsets", SUPPORTS.values(), ids=SUPPORTS)
def test_support_conv_is_the_loop_over_taps_in_2d(offsets: list, padding: str) -> None:
    layer = SupportConv(3, 4, offsets, padding=padding).double()
    nn.init.normal_(layer.weight)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), _loop_over_taps(x, layer.weight.detach(), offsets, padding))


@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_support_conv_is_the_loop_over_taps_in_1d(padding: str) -> None:
    offsets = [(-3,), (0,), (1,)]
    layer = SupportConv(2, 3, offsets, padding=padding).double()
    nn.init.normal_(layer.weight)
    x = torch.randn(2, 2, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), _loop_over_taps(x, layer.weight.detach(), offsets, padding))


@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_a_square_kernel_equals_the_list_of_its_offsets(padding: str) -> None:
    offsets = list(itertools.product((-1, 0, 1), repeat=2))
    square = conv(4, 6, dims=2, kernel=3, padding=padding, groups=2).double()
    listed = conv(4, 6, dims=2, kernel=offsets, padding=padding, groups=2).double()
    nn.init.normal_(square.weight)
    with torch.no_grad():
        listed.weight.copy_(square.weight.flatten(2))
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(listed(x), square(x))


def test_even_and_rectangular_kernels_keep_the_positions() -> None:
    x = torch.randn(1, 2, 6, 8)
    for kernel in (2, (3, 1), (4, 3), 5):
        assert conv(2, 3, dims=2, kernel=kernel, padding="circular")(x).shape == (1, 3, 6, 8)
    assert conv(2, 3, dims=2, kernel=(3, 5), padding="zero", dilation=2)(x).shape == (1, 3, 6, 8)


def test_circular_convolution_commutes_with_shifts() -> None:
    x = torch.randn(1, 2, 6, 8)
    for kernel in (2, 3, (4, 3), PLUS):
        layer = conv(2, 3, dims=2, kernel=kernel, padding="circular")
        nn.init.normal_(layer.weight)
        torch.testing.assert_close(layer(x.roll((2, 3), (2, 3))), layer(x).roll((2, 3), (2, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 2, "padding": "zero"}, "kernel=2 has no centre under padding='zero'"),
        ({"kernel": 0}, "must be a positive int"),
        ({"kernel": (3, 3, 3)}, "a tuple of 2"),
        ({"kernel": []}, "distinct offsets of 2"),
        ({"kernel": [(0, 0), (0, 0)]}, "distinct offsets"),
        ({"kernel": [0, 1]}, "distinct offsets of 2"),
        ({"kernel": PLUS, "dilation": 2}, "dilate the offsets"),
        ({"kernel": 2, "stride": 2}, "no symmetric padding"),
        ({"padding": "reflect"}, "unknown padding='reflect'"),
        ({"groups": 3}, "groups=3 must divide"),
    ],
)
def test_impossible_convolutions_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        conv(4, 4, **{"dims": 2, "kernel": 3, "padding": "circular", **arguments})
