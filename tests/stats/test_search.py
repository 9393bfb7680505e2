"""The adaptive search as a game of question and answer: what it asks for, and what it is left with."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ammup.stats.search import FEWEST, MARGIN, MOST, SHARES, Rung, adaptive_search

INF = float("inf")


def _played(points: int, start: int, loss: Callable[[int, float], float]) -> tuple[list[Rung], tuple[int, ...]]:
    """(every rung, the places that are left)."""
    search, rungs = adaptive_search(points, start), []
    rung = next(search)
    while True:
        rungs.append(rung)
        try:
            rung = search.send({place: loss(place, rung.share) for place in rung.places})
        except StopIteration as end:
            return rungs, end.value


@pytest.mark.parametrize("start", [0, 5, 20, 39])
@pytest.mark.parametrize("best", [0, 1, 17, 38, 39])
def test_the_best_is_found_from_wherever_it_begins(start: int, best: int) -> None:
    rungs, left = _played(40, start, lambda place, share: 0.02 * (place - best) ** 2)
    near = [p for p in range(40) if 0.02 * (p - best) ** 2 <= MARGIN]
    assert set(near) <= set(left)
    assert len(left) == max(len(near), FEWEST)
    assert [rung.share for rung in rungs][-len(SHARES) + 1 :] == list(SHARES[1:])


def test_a_bracket_that_holds_the_best_does_not_grow() -> None:
    rungs, _ = _played(40, 20, lambda place, share: 0.02 * (place - 20) ** 2)
    assert rungs[0].places == (16, 18, 20, 22, 24, 26)
    assert set(rungs[1].places) == {*rungs[0].places, 15, 17, 19, 21, 23, 25}  # beside those that are kept
    assert len(rungs) == 1 + len(SHARES)


def test_it_grows_down_where_all_diverge_and_ends_with_nothing() -> None:
    rungs, left = _played(40, 30, lambda place, share: INF)
    assert left == ()
    assert rungs[-1].places[0] == 0
    assert max(max(rung.places) for rung in rungs) <= 36  # nobody looks above what diverges
    assert {rung.share for rung in rungs} == {SHARES[0]}


def test_it_does_not_grow_past_a_diverged_end() -> None:
    rungs, left = _played(40, 20, lambda place, share: INF if place > 22 else -0.05 * place)
    assert max(max(rung.places) for rung in rungs) <= 26
    assert 22 in left


def test_what_lags_late_is_dropped_late() -> None:
    """Place 21 is as good as place 20 until half of the steps."""
    good = range(19, 26)
    rungs, left = _played(40, 20, lambda p, share: (0.0 if p in good else 1.0) + (share > 0.4 and p == 21))
    assert left == (19, 20, 22, 23, 24, 25)
    assert [21 in rung.places for rung in rungs][-2:] == [True, False]


def test_some_are_kept_however_far_off() -> None:
    _, left = _played(40, 20, lambda place, share: 3.0 * abs(place - 20.1))
    assert left == (18, 19, 20, 21, 22)


def test_of_equals_so_many_are_kept() -> None:
    _, left = _played(40, 20, lambda place, share: 2.0)
    assert len(left) == MOST


@given(
    points=st.integers(1, 60),
    data=st.data(),
    losses=st.lists(st.one_of(st.floats(0, 5), st.just(INF)), min_size=60, max_size=60),
)
def test_it_ends_and_asks_for_nothing_absurd(points: int, data: st.DataObject, losses: list[float]) -> None:
    rungs, left = _played(points, data.draw(st.integers(0, points - 1)), lambda place, share: losses[place])
    asked = {place for rung in rungs for place in rung.places}
    assert asked <= set(range(points))
    assert [rung.share for rung in rungs] == sorted(rung.share for rung in rungs)
    later = [set(rung.places) for rung in rungs if rung.share > SHARES[0]]
    assert all(after <= before for before, after in pairwise(later))
    assert set(left) <= (later[-1] if later else asked)
    assert all(math.isfinite(losses[place]) for place in left)
    # The best of all that it saw is never dropped.
    best = min(asked, key=lambda place: (losses[place], place))
    assert (best in left) == math.isfinite(losses[best])
