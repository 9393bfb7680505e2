"""Small projects whose models are gated by a test with the ``depth_law`` fixture: correct, and with common faults."""

from pathlib import Path

import numpy.fft  # noqa: F401  (numpy.fft cannot be loaded twice, and pytester unloads new modules)
import pytest
import torchvision.models  # noqa: F401  (for the same reason)

import ammup

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("unchecked")

PROJECTS = Path(__file__).parents[1] / "projects"
GATE = """
    import ammup
    from nets import make_net


    def test_depth_exponent(depth_law):
        images, labels = ammup.load_data("synthetic", image_size=8).batch(16)
        depth_law(
            make_net, [2, 4, 8], inputs=images, targets=labels, loss="cross_entropy", expected=EXPECTED, margin=MARGIN
        )
"""
# (slope, margin) of the correct models: slopes from 128 weight draws (192 for plain_cnn and resnet_1d), ±0.05 to ±0.10.
EXPECTED = {
    "plain_cnn": (-1.67, 0.3),
    "preact_resnet": (-0.66, 0.2),
    "resnet_1d": (-0.91, 0.2),
    "torchvision_net": (-0.67, 0.2),
    "mixer": (-0.71, 0.2),
}
# Each fault replaces one text in the source of a project by another.
FAULTS = {
    "plain_cnn": {
        "kernel cardinality left out of the fan-in": ("conv.in_channels * 9", "conv.in_channels"),
        "no gain for ReLU": ("gain = 2.0 if i else 1.0", "gain = 1.0"),
        "variance for standard deviation": ("math.sqrt(gain / fan_in)", "gain / fan_in"),
        "an accidental skip": ("x = conv(x).relu()", "x = conv(x).relu() + (x if x.shape[1] > 3 else 0)"),
        "one layer too few": ("[width] * depth", "[width] * (depth - 1)"),
    },
    "preact_resnet": {
        "the skip is lost": ("return x + out", "return out"),
        "the sum is divided": ("return x + out", "return (x + out) / 2**0.5"),
        "branches are scaled down": ("return x + out", "return x + out / 8"),
        "normalized behind the sum": ("return x + out", "return self.bn2(x + out)"),
        "blocks squared": ("range(depth)", "range(depth**2 // 2)"),
    },
    "resnet_1d": {
        "not divided by the number of blocks": ("2 / fan_in / n_blocks", "2 / fan_in"),
        "every branch layer divided": ("conv1.weight, std=(2 / fan_in)", "conv1.weight, std=(2 / fan_in / n_blocks)"),
        "kernel cardinality left out of the fan-in": ("fan_in = 3 * width", "fan_in = width"),
        "the skip is halved": ("out += x", "out += 0.5 * x"),
        "the skip is lost": ("        out += x\n", ""),
    },
    "torchvision_net": {
        "branches end in zero": ("nn.init.ones_", "nn.init.zeros_"),
        "the skip is lost": (
            "            nn.init.ones_(block.conv[-1].weight)",
            "            block.use_res_connect = False",
        ),
        "branches fall with depth": ("ones_(block.conv[-1].weight)", "constant_(block.conv[-1].weight, depth**-0.5)"),
    },
    "mixer": {
        "tokens lose their skip": ("x = x + self.tokens", "x = self.tokens"),
        "channels lose their skip": ("return x + self.channels", "return self.channels"),
        "a norm is left out": ("self.channels(self.norm2(x))", "self.channels(x)"),
        "every layer divided": ("std=module.in_features**-0.5", "std=(module.in_features * depth) ** -0.5"),
        "a fixed standard deviation": ("module.in_features**-0.5", "0.02"),
    },
}
PAIRS = [(project, fault) for project in FAULTS for fault in FAULTS[project]]
# All of these tests are statistical. The fast ones run with every test run.
QUICK_NETS = ("plain_cnn", "mixer")
QUICK = {(project, next(iter(FAULTS[project]))) for project in FAULTS}
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
    _gate(pytester, project, (PROJECTS / f"{project}.py").read_text(encoding="utf-8")).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("project", "fault"),
    [pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.statistical) for pair in PAIRS],
)
def test_a_fault_fails(project: str, fault: str, pytester: pytest.Pytester) -> None:
    source = (PROJECTS / f"{project}.py").read_text(encoding="utf-8")
    right, wrong = FAULTS[project][fault]
    assert source.count(right) == 1
    result = _gate(pytester, project, source.replace(right, wrong))
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r".*AssertionError: the depth exponent does not hold: slope"])
    if (project, fault) in CAUSES:
        result.stdout.re_match_lines([f".*likely cause: .*{CAUSES[project, fault]}"])


def test_there_are_at_least_twenty_pairs() -> None:
    assert len(PAIRS) >= 20
