"""A maintainer gates two families in CI: recording, green reruns, faults, a stale baseline, JUnit, the plugin."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import numpy.fft  # noqa: F401  (numpy.fft cannot be loaded twice, and pytester unloads new modules)
import pytest
from click.testing import Result
from command_line import run

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("unchecked")

Write = Callable[[str, str], None]
NETS = """
from torch import nn

def _linear(fan_in, fan_out, gain):
    layer = nn.Linear(fan_in, fan_out)
    nn.init.normal_(layer.weight, std=(gain / fan_in) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer

class Plain(nn.Module):
    def __init__(self, depth, width=64):
        super().__init__()
        self.layers = nn.ModuleList(_linear(width if i else 192, width, 2.0) for i in range(depth))
        self.head = _linear(width, 10, 1.0)
    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), _linear(width, width, 2.0), _linear(width, width, 1.0)
    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())

class Residual(nn.Module):
    def __init__(self, depth, width=64):
        super().__init__()
        self.stem = _linear(192, width, 1.0)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), _linear(width, 10, 1.0)
    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x.flatten(1)))))

def plain(depth):
    return Plain(depth)

def residual(depth):
    return Residual(depth)
"""
# The family, the fault as a change of the source, the outcome, and what the report must state.
FAULTS = {
    "all weights 1.5 times too large": ("plain", ("width, 2.0", "width, 4.5"), "does not hold", "grows exponentially"),
    "readout 4 times too large": (
        "plain",
        ("width, 10, 1.0", "width, 10, 16.0"),
        "moved",
        "same factor at every depth",
    ),
    "one layer too many": ("plain", ("range(depth)", "range(depth + 1)"), "moved", "one unit more"),
    "the skip is lost": ("residual", ("return x + ", "return "), None, "number of depth units was 2, 4, 8"),
    "one block too few": ("residual", ("range(depth)", "range(depth - 1)"), "moved", "one unit fewer"),
}


def _check(family: str, *options: object) -> Result:
    return run(
        *("check", f"nets:{family}", "--depths", "2,4,8", "--margin", "0.5", "--batch-size", "8"),
        *("--baseline", f"{family}.json", "--junit", "report.xml", *options),
    )


def _test_case(folder: Path) -> tuple[str, str]:
    """(Message of the failure or "", value of the property "outcome") of the report."""
    root = ElementTree.parse(folder / "report.xml").getroot()
    failure = root.find(".//failure")
    outcome = root.find(".//property[@name='outcome']")
    assert outcome is not None
    return "" if failure is None else failure.attrib["message"], outcome.attrib["value"]


@pytest.fixture
def in_ci(folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the project on a CI machine, before a baseline was committed."""
    write("nets", NETS)
    monkeypatch.setenv("CI", "true")
    return folder


@pytest.mark.parametrize("family", ["plain", "residual"])
def test_the_first_run_the_recording_and_a_rerun(family: str, in_ci: Path) -> None:
    first = _check(family)
    assert first.exit_code == 2
    assert f"the baseline {family}.json does not exist, and the environment variable CI is set" in first.stderr
    assert "record the baseline outside CI and commit the file, or pass --record" in first.stderr
    assert not list(in_ci.glob("*.json"))
    recorded = _check(family, "--record")
    assert (recorded.exit_code, f"recorded: {family}.json" in recorded.stderr) == (0, True), recorded.output
    again = _check(family)
    assert (again.exit_code, _test_case(in_ci)) == (0, ("", "holds")), again.output
    assert "the depth exponent holds: slope " in again.stdout
    assert "note: " not in again.stdout  # the same draws gave the same curve
    elsewhere = _check(family, "--seed-root", "1")
    assert (elsewhere.exit_code, _test_case(in_ci)) == (0, ("", "holds")), elsewhere.output
    assert "note: the curve agrees with the baseline within both standard errors" in elsewhere.stdout


QUICK_FAULTS = ("all weights 1.5 times too large", "one block too few")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK_FAULTS else pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_is_red_with_its_outcome_its_cause_and_a_junit_failure(name: str, in_ci: Path, write: Write) -> None:
    family, (right, wrong), outcome, words = FAULTS[name]
    assert _check(family, "--record").exit_code == 0
    assert NETS.count(right) >= 1
    write("nets", NETS.replace(right, wrong))
    result = _check(family, "--seed-root", "1")
    assert result.exit_code == 1
    message, reported = _test_case(in_ci)
    assert message == reported
    assert reported in (("moved", "does not hold") if outcome is None else (outcome,))
    assert words in result.stdout
    if reported == "moved":
        assert result.stdout.splitlines()[1].startswith("moved against the baseline: ")
        assert "if the change is intended, record the baseline again" in result.stdout
    write("nets", NETS)
    assert _check(family).exit_code == 0


def test_a_stale_or_damaged_baseline_is_invalid_input_with_a_remedy(in_ci: Path) -> None:
    assert _check("plain", "--record").exit_code == 0
    other = _check("plain", "--batch-size", "4")
    assert other.exit_code == 2
    assert re.search("8 images .*but this check measures .*4 images.*pass the same options, or another", other.stderr)
    assert _check("plain", "--depths", "2,4").exit_code == 2
    path = in_ci / "plain.json"
    path.write_text(path.read_text()[:200])
    damaged = _check("plain")
    assert damaged.exit_code == 2
    assert "plain.json" in damaged.stderr
    assert "restore it from git, or delete it and record a new one" in damaged.stderr


TEST = """
    import ammup
    from nets import plain

    def test_depth(depth_law):
        images, labels = ammup.load_data("synthetic", image_size=8).batch(8)
        depth_law(plain, [2, 4, 8], inputs=images, targets=labels, loss="cross_entropy", margin=0.5,
                  baseline="plain.json")
"""


def test_the_pytest_plugin_fails_and_passes_as_the_command_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(nets=NETS, test_depth=dedent(TEST))
    pytester.syspathinsert()

    def test(*options: str) -> pytest.RunResult:
        slow = ("hypothesispytest", "jaxtyping", "xdist", "benchmark")
        plugins = [a for name in slow for a in ("-p", f"no:{name}")]
        sys.modules.pop("nets", None)  # another test of this process may have imported its own
        return pytester.runpytest_inprocess(*plugins, "-W", "error", "--junit-xml=report.xml", *options)

    first = test()
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["*InputError: the baseline *plain.json does not exist*--ammup-record*"])
    test("--ammup-record").assert_outcomes(passed=1)
    assert (pytester.path / "plain.json").exists()
    test("--ammup-seed-root", "1").assert_outcomes(passed=1)
    pytester.makepyfile(nets=NETS.replace("range(depth)", "range(depth + 1)"))
    moved = test()
    moved.assert_outcomes(failed=1)
    moved.stdout.fnmatch_lines(
        ["*Moved: moved against the baseline: the number of depth units was 2, 4, 8 and is 3, 5, 9*"]
    )
    assert "number of depth units" in (pytester.path / "report.xml").read_text(encoding="utf-8")
