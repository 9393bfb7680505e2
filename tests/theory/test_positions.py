"""The geometry of kernels, and the sums over their supports."""

from itertools import product

import numpy as np
import pytest
import torch

from ammup.architecture.kernels import Kernel, kernel_offsets
from ammup.models.layers import conv
from ammup.theory.positions import Support, shifts

PADDINGS = pytest.mark.parametrize("padding", ["circular", "zero"])
# A line, an even kernel, rectangles, dilation and taps off the centre (reaching around the short axis).
SUPPORTS = pytest.mark.parametrize(
    ("shape", "kernel", "dilation"),
    [
        ((), 1, 1),
        ((5,), 3, 1),
        ((5,), 2, 1),
        ((6,), [1, 4], 1),
        ((3, 4), 3, 1),
        ((3, 4), (1, 3), 2),
        ((3, 4), [(0, 2)], 1),
        ((3, 4), [(0, 0), (1, 2), (-2, 0)], 1),
    ],
)


def _support(shape: tuple[int, ...], kernel: Kernel, dilation: int, padding: str) -> Support:
    offsets = kernel_offsets(kernel, len(shape), dilation=dilation) if shape else ((),)
    return Support.from_offsets(2, shape, offsets, padding)


def _taps(shape: tuple[int, ...], kernel: Kernel, dilation: int, padding: str) -> np.ndarray:
    """T[Δ, p, p + Δ] = 1, position by position, for two samples."""
    offsets = kernel_offsets(kernel, len(shape), dilation=dilation) if shape else ((),)
    positions = [(sample, *place) for sample in range(2) for place in product(*map(range, shape))]
    taps = np.zeros((len(offsets), len(positions), len(positions)))
    for k, offset in enumerate(offsets):
        for p, (sample, *place) in enumerate(positions):
            moved = [i + step for i, step in zip(place, offset, strict=True)]
            wrapped = [i % size for i, size in zip(moved, shape, strict=True)]
            if padding == "circular" or moved == wrapped:
                taps[k, p, positions.index((sample, *wrapped))] = 1
    return taps


@PADDINGS
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (2, 1), ((1, 3), 1), (3, 2), ([(0, 0), (1, 2), (-2, 0)], 1)])
def test_neighbours_are_those_of_the_convolution(kernel: Kernel, dilation: int, padding: str) -> None:
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


@PADDINGS
@SUPPORTS
def test_sums_over_a_support(shape: tuple[int, ...], kernel: Kernel, dilation: int, padding: str) -> None:
    support, taps = _support(shape, kernel, dilation, padding), _taps(shape, kernel, dilation, padding)
    assert support.cardinality == len(taps)
    X, x = np.random.default_rng(1).standard_normal((2, taps.shape[1], taps.shape[1]))
    np.testing.assert_allclose(support.gather_pairs(X), np.einsum("kpa,kqb,ab->pq", taps, taps, X), atol=1e-12)
    np.testing.assert_allclose(support.scatter_pairs(X), np.einsum("kap,kbq,ab->pq", taps, taps, X), atol=1e-12)
    np.testing.assert_allclose(support.scatter(x[:3]), np.einsum("kap,la->lp", taps, x[:3]), atol=1e-12)


@PADDINGS
@SUPPORTS
def test_gather_and_scatter_are_adjoint(shape: tuple[int, ...], kernel: Kernel, dilation: int, padding: str) -> None:
    support = _support(shape, kernel, dilation, padding)
    N = support.neighbours.shape[1]
    X, Y = np.random.default_rng(2).standard_normal((2, N, N))
    assert (support.gather_pairs(X) * Y).sum() == pytest.approx((X * support.scatter_pairs(Y)).sum(), abs=1e-10)
    # On a diagonal a sum over pairs is a sum over positions: <gather x, y> = <x, scatter y>.
    x, y = X[0], Y[0]
    assert np.diag(support.gather_pairs(np.diag(x))) @ y == pytest.approx(x @ support.scatter(y), abs=1e-10)


def test_scatter_takes_any_leading_axes() -> None:
    support = _support((5,), 3, 1, "zero")
    rows = np.random.default_rng(3).standard_normal((2, 3, 10))
    np.testing.assert_array_equal(support.scatter(rows)[1, 2], support.scatter(rows[1, 2]))


def test_samples_do_not_see_each_other() -> None:
    support = _support((3, 4), 3, 1, "circular")
    block = np.kron(np.diag([1.0, 0.0]), np.ones((12, 12)))
    assert not support.gather_pairs(block)[12:].any()
    assert not support.scatter(np.repeat([1.0, 0.0], 12))[12:].any()
