"""pytest's side of the claims: marker `statistical`, options, and the figures of every claim that was measured.

Loaded by pytest in any project where ammup is installed; it imports nothing heavy until a claim is measured.
"""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ammup.claims.comparison import Comparison
    from ammup.gate.depth_check import DepthCheck

_COMPARISONS = pytest.StashKey[list["Comparison"]]()
_ROOT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of statistical tests."""
    group = parser.getgroup("ammup", "statistical tests of learning-rate laws")
    group.addoption("--ammup-seed-root", type=int, default=0, metavar="N", help="Draw other weights.  [default: 0]")
    group.addoption("--ammup-vary-seed", action="store_true", help="Take the seed root from the clock, and print it.")
    group.addoption("--ammup-full", action="store_true", help="Also run what takes hours: many seed roots.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and settle the seed root."""
    config.addinivalue_line(
        "markers", "statistical: a statement about random networks, with its sample size and margin"
    )
    varied = time.time_ns() // 10**6 % 10**6 + 1
    config.stash[_ROOT] = varied if config.getoption("--ammup-vary-seed") else config.getoption("--ammup-seed-root")
    config.stash[_COMPARISONS] = []


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the seed root where it is not the usual one."""
    root = config.stash[_ROOT]
    return f"ammup: seed root {root}" if root else None


@pytest.fixture(scope="session")
def seed_root(request: pytest.FixtureRequest) -> int:
    """The seed root of this run, from ``--ammup-seed-root`` or ``--ammup-vary-seed``."""
    return request.config.stash[_ROOT]


@pytest.fixture
def record_claim(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> "Callable[[Comparison], None]":
    """A function that takes down a measured claim, for JUnit and for the table at the end."""

    def record(comparison: "Comparison") -> None:
        request.config.stash[_COMPARISONS].append(comparison)
        measured = comparison.new.to_dict()
        names = ("verdict", "estimate", "se", "interval", "n", "looks", "power", "stated", "law")
        for name in names:
            record_property(name, measured[name])

    return record


@pytest.fixture
def depth_law(record_property: Callable[[str, object], None]) -> "Callable[..., DepthCheck]":
    """`ammup.assert_depth_exponent`, which also takes down what it measured for JUnit; returns the check."""
    from ammup.gate.depth_check import check_depth_exponent, raise_unless_holds

    def assert_depth_exponent(*arguments: Any, **options: Any) -> "DepthCheck":
        check = check_depth_exponent(*arguments, **options)
        record = check.to_dict()
        for name in ("outcome", "slope", "slope_ci", "region", "seeds", "cause"):
            record_property(name, record[name])
        raise_unless_holds(check)
        return check

    return assert_depth_exponent


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter", config: pytest.Config) -> None:
    """Print one line for each measured claim."""
    comparisons = config.stash[_COMPARISONS]
    if not comparisons:
        return
    from ammup.format import with_interval

    terminalreporter.write_sep("=", "claims")
    for comparison in comparisons:
        record = comparison.new
        ends = [math.nan if end is None else end for end in record.interval]
        figure = with_interval(record.estimate, ends, "9.4f")
        terminalreporter.write_line(
            f"{record.id:<52} {figure}  n = {record.n:<5} {record.verdict}"
            f"{''.join(f'; {problem}' for problem in comparison.problems)}"
        )
