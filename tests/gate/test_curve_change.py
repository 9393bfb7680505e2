"""Changes of a curve against random draws with a known scatter."""

import numpy as np
import pytest

from ammup.gate import curve_change
from ammup.gate.curve import CurvePoint
from ammup.gate.curve_change import largest, point_changes
from ammup.stats.power_law import maximal_lr_of


def _point(S_bar: np.ndarray) -> CurvePoint:
    lr_star, se = maximal_lr_of(S_bar)
    return CurvePoint(lr_star=lr_star, se=se, draws=len(S_bar))


@pytest.mark.parametrize(("scatter", "draws"), [(0.6, (10, 10)), (1.0, (29, 50))])
def test_an_unchanged_model_moves_at_most_with_the_stated_probability(
    scatter: float, draws: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skewed draws at an error rate of 0.02, which 2,000 pairs can resolve: their standard error is 0.003."""
    monkeypatch.setattr(curve_change, "MOVED_ERROR", 0.02 * curve_change.LOOKS * curve_change.CRITERIA)
    s = np.sqrt(np.log1p(scatter**2))
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(2000):
        old, new = ({depth: _point(rng.lognormal(0, s, n)) for depth in (2, 4)} for n in draws)
        moved += any(change.moved for change in point_changes(old, new))
    assert 0.002 < moved / 2000 < 0.03


def test_the_standard_error_of_a_difference_is_that_of_the_larger_scatter() -> None:
    old = {4: CurvePoint(lr_star=1.0, se=0.01, draws=16), 8: CurvePoint(lr_star=1.0, se=0.01, draws=16)}
    new = {4: CurvePoint(lr_star=10**0.03, se=0.02, draws=25), 8: CurvePoint(lr_star=10.0, se=0.0, draws=9)}
    small, large = point_changes(old, new)
    assert small.size == pytest.approx(0.03 / (0.02 * 5 * (1 / 16 + 1 / 25) ** 0.5))
    assert large.size == pytest.approx(1 / (0.01 * 4 * (1 / 16 + 1 / 9) ** 0.5))
    assert (small.moved, large.moved) == (False, True)
    assert largest([small, large]) is large
    assert str(large).startswith("η* at depth 8 was 1 and is 10, ")


def test_without_scatter_every_change_has_moved() -> None:
    one = {4: CurvePoint(lr_star=1.0, se=0.0, draws=8)}
    assert [change.moved for change in point_changes(one, one)] == [False]
    other = {4: CurvePoint(lr_star=1.1, se=0.0, draws=8)}
    assert [change.moved for change in point_changes(one, other)] == [True]


def test_a_change_by_a_small_share_of_the_stored_error_is_rounding() -> None:
    old = {4: CurvePoint(lr_star=1.0, se=0.01, draws=8)}
    for change, rounded in ((0.0009, True), (0.0011, False)):
        new = {4: CurvePoint(lr_star=10**change, se=0.01, draws=8)}
        assert [one.rounded for one in point_changes(old, new)] == [rounded]
