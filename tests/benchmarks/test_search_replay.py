"""What README says of the adaptive search, on the grids that it was measured on."""

import pytest
from tracked.search import Grids


@pytest.fixture(scope="module")
def rows():
    return Grids.read().replayed()


def test_the_search_ends_where_the_grid_does_and_takes_a_fourth_of_its_steps(rows) -> None:
    """No sample: the same grids, searched by the rule as it is. A rule that drops earlier or keeps more moves these."""
    assert len(rows) == 55
    near = (rows["off"].abs() <= 1).sum()
    assert near >= 52
    assert rows["grid"].sum() / rows["steps"].sum() > 3.6
    assert rows["accuracy lost"].mean() < 0.002
