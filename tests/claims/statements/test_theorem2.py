"""Theorem 2: statistics on rows whose corrections vanish at a known rate."""

from collections.abc import Callable

import numpy as np
import pytest

from ammup.claims.claim import claim_named
from ammup.claims.statements.theorem2 import ACROSS, ALONG, BATCHES, CLAIMS, CLASSED, DRAWN, LINES, NARROW, PADDED
from ammup.theory.finite_depth import finite_depth_law


@pytest.mark.parametrize("rate", [-1.0, -0.5])
def test_the_rate_in_the_width_is_that_of_the_shortfall_from_the_law(rate: float, rows_of: Callable) -> None:
    law = finite_depth_law([4], family="mlp")[0]
    lr = [law * (1 - 2 * width**rate) for width in NARROW]
    assert claim_named(CLAIMS, "theorem-2.width").statistic(rows_of(*lr)) == pytest.approx(rate)


@pytest.mark.parametrize(("name", "sizes"), [("1d", (8, 32)), ("2d-along", (6, 24))])
def test_the_rate_in_the_size_is_that_of_zero_over_circular_padding(
    name: str, sizes: tuple[int, int], rows_of: Callable
) -> None:
    claim = claim_named(CLAIMS, f"theorem-2.boundary-{name}")
    lr = [circular * factor for size, circular in zip(sizes, (0.5, 3.0), strict=True) for factor in (1, 1 + 2 / size)]
    assert claim.statistic(rows_of(*lr)) == pytest.approx(-1) == claim.stated.centre


def test_corrections_across_the_kernel_are_compared(rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, "theorem-2.boundary-2d-across")
    assert claim.statistic(rows_of(0.5, 0.5 * 1.1, 3.0, 3.0 * 1.3)) == pytest.approx(np.log(3))


@pytest.mark.parametrize(("settings", "sizes"), [(LINES, (8, 32)), (ALONG, (6, 24)), (ACROSS, (6, 6)), (PADDED, (6,))])
def test_paddings_alternate_with_the_same_other_settings(settings: tuple, sizes: tuple[int, ...]) -> None:
    assert [dict(setting.arguments)["padding"] for setting in settings] == ["circular", "zero"] * len(sizes)
    for one, other, size in zip(settings[::2], settings[1::2], sizes, strict=True):
        assert one.with_arguments(padding="zero") == other
        assert one.inputs[-1] == size


@pytest.mark.parametrize(("name", "settings"), [("batch", DRAWN), ("batch-classes", CLASSED)])
def test_the_rate_in_the_batch_size_is_a_least_squares_slope(name: str, settings: tuple, rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, f"theorem-2.{name}")
    assert claim.statistic(rows_of(*np.sqrt(BATCHES))) == pytest.approx(0.5)
    assert [len(setting.batch[0]) for setting in settings] == list(BATCHES)
    assert all((setting.batch[1] is not None) == (name == "batch-classes") for setting in settings)
