"""The order of the tests: the longest first, and claims that measure the same nets together."""

from pathlib import Path

import pytest
import schedule

from ammup.claims.statements import CLAIMS

TESTS = Path(__file__).parents[1]


def test_the_longest_files_come_first_and_then_those_of_the_most_tests() -> None:
    one, two, slow = "tests/test_a.py::test_1", ["tests/test_b.py::test_1", "tests/test_b.py::test_2"], schedule.LONGEST
    given = [one, *two, f"{slow[4]}::test_x[a::b]", f"{slow[1]}::test_y"]
    assert schedule.sort(given) == [f"{slow[1]}::test_y", f"{slow[4]}::test_x[a::b]", *two, one]


def test_long_claims_come_first_with_those_that_measure_the_same_nets() -> None:
    prefix = "tests/statistical/test_claims.py::test_claim"
    names = ["overlap.growth", "law.field-1d", "lemma-3.recursion", "theorem-1.exponent-1d", "lemma-3.comparison"]
    order = schedule.sort(f"{prefix}[{name}]" for name in names)
    assert order == [
        f"{prefix}[{name}]"
        for name in (
            "lemma-3.recursion",
            "lemma-3.comparison",
            "law.field-1d",
            "theorem-1.exponent-1d",
            "overlap.growth",
        )
    ]
    assert len({schedule.scope(nodeid) for nodeid in order}) == 3


def test_every_claim_has_a_stored_duration() -> None:
    leaders = {schedule.scope(f"tests/statistical/test_claims.py::test_claim[{claim.id}]") for claim in CLAIMS}
    assert {name.removeprefix("claim ") for name in leaders} == set(schedule.seconds())


@pytest.mark.parametrize("path", schedule.LONGEST)
def test_the_longest_files_exist(path: str) -> None:
    assert (TESTS / path).is_file()
