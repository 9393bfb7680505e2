"""Small projects whose models are gated by a test with the ``depth_law`` fixture: correct, and with common faults."""

import sys

import numpy.fft  # noqa: F401  (numpy.fft cannot be loaded twice, and pytester unloads new modules)
import pytest
import torchvision.models  # noqa: F401  (for the same reason)
from project_faults import EXPECTED, FAULTS, faulty_source, source_of

import ammup

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("unchecked")

GATE = """
    import ammup
    from nets import make_net


    def test_depth_exponent(depth_law):
        images, labels = ammup.load_data("synthetic", image_size=8).batch(16)
        depth_law(
            make_net, [2, 4, 8], inputs=images, targets=labels, loss="cross_entropy", expected=EXPECTED, margin=MARGIN
        )
"""
PAIRS = [(project, fault) for project in FAULTS for fault in FAULTS[project]]
# All of these tests are statistical. The fast ones run with every test run.
QUICK_NETS = ("plain_cnn", "mixer")
QUICK = {(project, next(iter(FAULTS[project]))) for project in QUICK_NETS}
# The likely cause that the message must state for some of the faults. Without a baseline, only faults that act strongly
# are named; tests/gate/test_likely_cause.py compares with baselines.
CAUSES = {
    ("plain_cnn", "kernel cardinality left out of the fan-in"): "S̄ grows exponentially.*fan-in",
    ("resnet_1d", "not divided by the number of blocks"): "S̄ grows exponentially.*not divided by their number",
}


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Load every module that a project's test needs, before pytester records the loaded modules."""
    images, labels = ammup.load_data("synthetic", image_size=8).batch(2)
    net = lambda depth, seed: ammup.cnn(depth, width=2, seed=seed)  # noqa: E731
    options = {"inputs": images, "targets": labels, "loss": "cross_entropy", "expected": 0.0, "margin": 100.0}
    ammup.check_depth_exponent(net, [2, 4], seeds=2, **options)


@pytest.fixture(autouse=True)
def _nets_of_this_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test that ran in this process may have imported its own module `nets`."""
    monkeypatch.delitem(sys.modules, "nets", raising=False)


def _gate(pytester: pytest.Pytester, project: str, source: str) -> pytest.RunResult:
    expected, margin = EXPECTED[project]
    pytester.makepyfile(nets=source)
    pytester.makepyfile(test_depth=GATE.replace("EXPECTED", str(expected)).replace("MARGIN", str(margin)))
    pytester.syspathinsert()
    slow = ("hypothesispytest", "jaxtyping", "xdist", "benchmark")
    return pytester.runpytest_inprocess(*(a for name in slow for a in ("-p", f"no:{name}")), "-W", "error")


@pytest.mark.parametrize(
    "project",
    [pytest.param(name, marks=[] if name in QUICK_NETS else pytest.mark.statistical) for name in EXPECTED],
)
def test_a_correct_project_passes(project: str, pytester: pytest.Pytester) -> None:
    _gate(pytester, project, source_of(project)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("project", "fault"),
    [pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.statistical) for pair in PAIRS],
)
def test_a_fault_fails(project: str, fault: str, pytester: pytest.Pytester) -> None:
    result = _gate(pytester, project, faulty_source(project, fault))
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r".*AssertionError: the depth exponent does not hold: slope"])
    if (project, fault) in CAUSES:
        result.stdout.re_match_lines([f".*likely cause: .*{CAUSES[project, fault]}"])


def test_there_are_at_least_twenty_pairs() -> None:
    assert len(PAIRS) >= 20
