"""The paper's small closed forms against naive sums, products and one-layer recursions."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from jaxtyping import config

from ammup import InputError
from ammup.architecture.kernels import kernel_offsets
from ammup.errors import checked_integer
from ammup.transfer.depth_factors import (
    boundary_fraction,
    overlap_sum,
    overlap_sum_of_law,
    residual_factor,
    residual_factor_bounds,
)

DEPTHS = [1, 2, 3, 4, 7, 16, 33]


@pytest.fixture
def _as_installed() -> Iterator[None]:
    """Without the type checker of the tests, as users call: what is not declared gets as far as our own checks."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def _pairs(depth: int) -> list[tuple[int, int]]:
    return list(product(range(1, depth + 1), repeat=2))


@pytest.mark.parametrize("depth", DEPTHS)
def test_overlap_sum_is_the_double_sum_of_the_smaller_layer(depth: int) -> None:
    assert overlap_sum(depth) == sum(min(pair) for pair in _pairs(depth))


@pytest.mark.parametrize("growth", [0.0, 0.5, 1.0, 2.0, 2.09])
@pytest.mark.parametrize("depth", DEPTHS)
def test_overlap_sum_of_law_is_its_double_sum(depth: int, growth: float) -> None:
    naive = sum(1 + growth * (depth - max(pair)) for pair in _pairs(depth))
    assert overlap_sum_of_law(depth, growth) == pytest.approx(naive, rel=1e-13)


def test_overlap_sum_of_law_is_that_of_relu_unless_told() -> None:
    assert overlap_sum_of_law(7) == overlap_sum_of_law(7, 2.0) != overlap_sum_of_law(7, 1.0)


@pytest.mark.parametrize("depth", DEPTHS)
def test_both_overlap_sums_agree_for_a_linear_net(depth: int) -> None:
    """1 + l - max(h1, h2) runs through the values of min(h1, h2) when layers are counted from the other end."""
    assert overlap_sum_of_law(depth, 1.0) == overlap_sum(depth)


def test_overlap_sums_grow_like_the_cube_with_the_factors_of_the_docstring() -> None:
    depth = 10**6
    assert overlap_sum(depth) / depth**3 == pytest.approx(1 / 3, rel=1e-5)
    assert overlap_sum_of_law(depth, 2.0) / depth**3 == pytest.approx(2 / 3, rel=1e-5)


@pytest.mark.usefixtures("_as_installed")
def test_overlap_sum_is_exact_beyond_the_digits_of_a_float_and_of_int64() -> None:
    depth = 10**9 + 1
    assert overlap_sum(np.int64(depth)) == depth * (depth + 1) * (2 * depth + 1) // 6 > 2**64
    assert overlap_sum(10**9 + 1) - overlap_sum(10**9) == (10**9 + 1) ** 2


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize("count", [overlap_sum, overlap_sum_of_law])
@pytest.mark.parametrize("depth", [0, -1, 2.5, [2, 3], float("nan")])
def test_unusable_depths_are_refused(count, depth) -> None:
    with pytest.raises(InputError, match="depths="):
        count(depth)


@pytest.mark.parametrize("growth", [-0.1, float("nan"), float("inf")])
def test_unusable_growth_is_refused(growth: float) -> None:
    with pytest.raises(InputError, match=r"growth=.*at least 0"):
        overlap_sum_of_law(3, growth)


@pytest.mark.parametrize(
    ("offsets", "sizes", "fraction"),
    [
        ([(0,)], [8], 0.0),
        ([(-1,), (0,), (1,)], [8], 1 / 8),
        ([(0,), (1,)], [8], 1 / 8),
        ([(-3,), (1,)], [8], 3 / 8),  # the largest |Δ|, not the largest Δ
        ([(-9,), (9,)], [3], 3.0),
        ([(-1, -2), (1, 2)], [4, 16], 1 / 4 + 2 / 16),
        ([(-1, 0), (0, 3)], [4, 16], 1 / 4 + 3 / 16),  # each axis has a maximum of its own
        ([(0, 0, 1), (1, 0, 0)], [2, 4, 8], 1 / 2 + 1 / 8),
    ],
)
def test_boundary_fraction_is_the_reach_over_the_size_summed_over_axes(offsets, sizes, fraction: float) -> None:
    assert boundary_fraction(offsets, sizes) == pytest.approx(fraction, rel=1e-15)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_boundary_fraction_takes_the_offsets_of_a_kernel(side: int, dilation: int) -> None:
    reach = math.ceil(dilation * (side - 1) / 2)
    rows, columns = 11, 32
    fraction = boundary_fraction(kernel_offsets(side, 2, dilation=dilation), (rows, columns))
    assert fraction == pytest.approx(reach / rows + reach / columns)


def test_boundary_fraction_vanishes_as_the_map_grows() -> None:
    fractions = [boundary_fraction([(-2,), (2,)], [size]) for size in (4, 40, 400, 4000)]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[-1] == pytest.approx(0, abs=1e-3)


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize(
    ("offsets", "sizes", "message"),
    [
        ([], [8], "at least one offset"),
        ([(1,)], [], "0 axes"),
        ([()], [], "one axis"),
        ([(1,)], [8, 8], "2 axes"),
        ([(1, 1), (1,)], [8, 8], "2 axes"),
        ([0, 1], [8], "1 axes"),
        ([(0.5,)], [8], "integer of positions"),
        ([(1,)], [0], "sizes=0.*at least 1"),
        ([(1,)], [8.0], "sizes=8.0: expected an integer"),
    ],
)
def test_unusable_offsets_and_sizes_are_refused(offsets, sizes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        boundary_fraction(offsets, sizes)


@pytest.mark.parametrize("n_blocks", [1, 2, 5, 64])
@pytest.mark.parametrize("c", [0.5, 1.0, 2.0, 6.0])
def test_residual_factor_multiplies_by_the_gain_of_a_block(n_blocks: int, c: float) -> None:
    growth, lower, upper = 1.0, *residual_factor_bounds(c)
    for block in range(n_blocks + 1):
        factor = residual_factor(block, n_blocks=n_blocks, c=c)
        assert factor == pytest.approx(growth, rel=1e-13)
        assert lower <= factor <= upper
        growth *= 1 + c / (2 * n_blocks)


def test_residual_factor_at_fixed_values() -> None:
    assert residual_factor(0, n_blocks=3) == 1.0
    assert residual_factor(1, n_blocks=1) == pytest.approx(2.0)
    assert residual_factor(3, n_blocks=3, c=3.0) == pytest.approx(3.375)
    assert residual_factor_bounds(2.0) == pytest.approx((1.0, math.e))


@pytest.mark.parametrize("c", [0.5, 2.0, 6.0])
def test_the_upper_bound_is_approached_from_below_as_blocks_are_added(c: float) -> None:
    last = [residual_factor(k, n_blocks=k, c=c) for k in (1, 4, 16, 256, 10**7)]
    assert last == sorted(last)
    assert last[-1] == pytest.approx(residual_factor_bounds(c)[1], rel=1e-6)


def test_residual_factor_keeps_its_digits_with_very_many_blocks() -> None:
    """The series of the logarithm; the plain power is off by 6e-10 here."""
    n = 3 * 10**7
    assert residual_factor(n, n_blocks=n) == pytest.approx(math.exp(1 - 1 / (2 * n) + 1 / (3 * n**2)), rel=1e-14)


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize(
    ("block", "n_blocks", "c", "message"),
    [
        (5, 4, 2.0, "block=5 exceeds n_blocks=4"),
        (-1, 4, 2.0, "block=-1: expected"),
        (1.5, 4, 2.0, "block=1.5: expected"),
        (0, 0, 2.0, "n_blocks=0: expected"),
        (1, 4, 0.0, "c=0.0 must be positive"),
        (1, 4, -2.0, "c=-2.0 must be positive"),
        (1, 4, float("inf"), "c=inf must be positive and finite"),
        (1, 4, float("nan"), "c=nan must be positive and finite"),
    ],
)
def test_unusable_blocks_are_refused(block, n_blocks, c, message: str) -> None:
    with pytest.raises(InputError, match=message):
        residual_factor(block, n_blocks=n_blocks, c=c)


def test_bounds_of_an_unusable_constant_are_refused() -> None:
    with pytest.raises(InputError, match="c=-1 must be positive"):
        residual_factor_bounds(-1)


def test_checked_integer_returns_a_python_int() -> None:
    assert type(checked_integer("width", np.int32(7), at_least=1)) is int
    with pytest.raises(InputError, match="width='7': expected an integer of at least 1"):
        checked_integer("width", "7", at_least=1)
