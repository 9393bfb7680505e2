"""The pytest plugin: the marker `statistical`, options, fixtures, and a summary of the measured claims.

pytest loads it in every project where ammup is installed, so torch and other large packages are imported only when a
fixture measures something.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ammup.claims.comparison import Comparison
    from ammup.gate.check_result import DepthCheck

_COMPARISONS = pytest.StashKey[list["Comparison"]]()
_ROOT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for statistical tests."""
    group = parser.getgroup("ammup", "statistical tests of learning-rate laws")
    group.addoption(
        "--ammup-seed-root",
        type=int,
        default=0,
        metavar="N",
        help="Draw the weights from the seeds of root N.  [default: 0]",
    )
    group.addoption(
        "--ammup-vary-seed", action="store_true", help="Choose the seed root from the clock and print it in the header."
    )
    group.addoption(
        "--ammup-record",
        action="store_true",
        help="Record the baselines of depth_law, even if the files exist or CI is set in the environment.",
    )
    group.addoption(
        "--ammup-inconclusive",
        choices=("fail", "skip"),
        default="fail",
        help="What an inconclusive check of depth_law does to its test.  [default: fail]",
    )
    group.addoption("--ammup-full", action="store_true", help="Also run the tests that take hours (many seed roots).")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and choose the seed root."""
    config.addinivalue_line(
        "markers", "statistical: a statement about random networks, with its sample size and margin"
    )
    root_of_clock = time.time_ns() // 10**6 % 10**6 + 1
    vary = config.getoption("--ammup-vary-seed")
    config.stash[_ROOT] = root_of_clock if vary else config.getoption("--ammup-seed-root")
    config.stash[_COMPARISONS] = []


def pytest_report_header(config: pytest.Config) -> str | None:
    """The line that states the seed root, unless it is the default."""
    root = config.stash[_ROOT]
    return f"ammup: seed root {root}" if root else None


@pytest.fixture(scope="session")
def seed_root(request: pytest.FixtureRequest) -> int:
    """The seed root of this run, from ``--ammup-seed-root`` or ``--ammup-vary-seed``."""
    return request.config.stash[_ROOT]


def _property_recorder(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """A function that adds a property to the JUnit report of any family, without a warning.

    The family xunit2 allows no properties in a test case, and pytest's `record_property` warns. There they are
    properties of the test suite, with the test in their name. A worker of pytest-xdist writes no report; the properties
    of its tests are always sent with the test case.
    """
    config = request.config
    if not config.pluginmanager.hasplugin("junitxml") or hasattr(config, "workerinput"):
        family = "xunit1"
    else:
        family = config.getini("junit_family")
    if family != "xunit2":
        return lambda name, value: request.node.user_properties.append((name, value))
    record: Callable[[str, object], None] = request.getfixturevalue("record_testsuite_property")
    return lambda name, value: record(f"{request.node.nodeid}: {name}", value)


@pytest.fixture
def record_claim(request: pytest.FixtureRequest) -> "Callable[[Comparison], None]":
    """A function that records a measured claim as JUnit properties and for the summary at the end of the run."""
    record_property = _property_recorder(request)

    def record(comparison: "Comparison") -> None:
        request.config.stash[_COMPARISONS].append(comparison)
        measured = comparison.new.to_dict()
        for name in ("verdict", "estimate", "se", "interval", "n", "looks", "power", "stated", "law"):
            record_property(name, measured[name])

    return record


@pytest.fixture
def depth_law(request: pytest.FixtureRequest) -> "Callable[..., DepthCheck]":
    """:func:`ammup.assert_depth_exponent` with the arguments of ``check_depth_exponent``; adds JUnit properties.

    A relative ``baseline`` is a path in the folder of the test file. ``--ammup-record`` records it. The seed root is
    that of the run, see ``--ammup-seed-root``, unless ``seed_root`` is given. ``--ammup-inconclusive skip`` skips the
    test if the outcome is inconclusive, instead of failing it.
    """
    from ammup.gate.depth_check import check_depth_exponent, check_reference, raise_unless_holds
    from ammup.stats.verdicts import INCONCLUSIVE

    record_property = _property_recorder(request)

    def assert_depth_exponent(
        *arguments: Any,
        expected: float | None = None,
        baseline: Path | str | None = None,
        seed_root: int | None = None,
        **options: Any,
    ) -> "DepthCheck":
        check_reference(expected, baseline)
        check = check_depth_exponent(
            *arguments,
            expected=expected,
            baseline=None if baseline is None else request.path.parent / baseline,
            record=request.config.getoption("--ammup-record"),
            seed_root=request.config.stash[_ROOT] if seed_root is None else seed_root,
            **options,
        )
        measured = check.to_dict()
        for name in ("outcome", "slope", "slope_ci", "region", "seeds", "moved", "note", "cause"):
            record_property(name, measured[name])
        if check.outcome == INCONCLUSIVE and request.config.getoption("--ammup-inconclusive") == "skip":
            pytest.skip(f"inconclusive: {check.report()}")
        raise_unless_holds(check)
        return check

    return assert_depth_exponent


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter", config: pytest.Config) -> None:
    """Print one line for each measured claim, with its differences from the baseline."""
    comparisons = config.stash[_COMPARISONS]
    if not comparisons:
        return
    from ammup.format import with_interval

    terminalreporter.write_sep("=", "claims")
    for comparison in comparisons:
        record = comparison.new
        ends = [math.nan if end is None else end for end in record.interval]
        measured = with_interval(record.estimate, ends, "9.4f")
        terminalreporter.write_line(
            f"{record.id:<52} {measured}  n = {record.n:<5} {record.verdict}"
            f"{''.join(f'; {problem}' for problem in comparison.problems)}"
        )
