"""The pytest plugin in another project: marker, options, seed root, JUnit properties, summary of the claims."""

import os
import re
from functools import partial
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import numpy.fft  # noqa: F401  (numpy.fft cannot be loaded twice, and pytester unloads new modules)
import pytest

pytest_plugins = ["pytester"]


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest without the plugins that are slow to load."""
    slow = ("hypothesispytest", "jaxtyping", "xdist")
    return pytester.runpytest_inprocess(*(a for name in slow for a in ("-p", f"no:{name}")), *arguments)


# A test that records a comparison without measuring a claim.
CLAIM = """
    import pytest
    from claim_records import record

    from ammup.claims.comparison import Comparison

    RECORD = record(estimate=0.123456, se=0.01, interval=[0.1, 0.15], n=40, looks=2, power=0.999, stated=[0.0, None])

    @pytest.mark.statistical
    def test_claim(record_claim):
        record_claim(Comparison(id="law.one", old=None, new=RECORD, problems=PROBLEMS))
"""


def _claim_file(*problems: str) -> str:
    return CLAIM.replace("PROBLEMS", repr(tuple(problems)))


def test_the_marker_is_registered_and_can_be_deselected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.statistical
        def test_random(): pass

        def test_exact(): pass
    """)
    _run(pytester, "--strict-markers").assert_outcomes(passed=2)
    _run(pytester, "--strict-markers", "-m", "not statistical").assert_outcomes(passed=1, deselected=1)
    _run(pytester, "--markers").stdout.fnmatch_lines(["@pytest.mark.statistical: *sample size and margin*"])


def test_an_unregistered_marker_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.statistic\ndef test_random(): pass")
    _run(pytester, "--strict-markers").assert_outcomes(errors=1)


def test_the_help_lists_the_options(pytester: pytest.Pytester) -> None:
    text = _run(pytester, "--help").stdout.str()
    for option in (
        "--ammup-seed-root=N",
        "--ammup-vary-seed",
        "--ammup-record",
        "--ammup-inconclusive",
        "--ammup-full",
    ):
        assert option in text


def test_the_options_do_not_collide_with_common_option_names(pytester: pytest.Pytester) -> None:
    """The plugin is loaded in every project where ammup is installed."""
    options = ("--full", "--seed-root", "--vary-seed", "--seed", "--root", "--claims", "--baseline")
    pytester.makeconftest(f"""
        def pytest_addoption(parser):
            for name in {options!r}:
                parser.addoption(name, action="store_true")
    """)
    pytester.makepyfile("""
        def test_options(request):
            assert request.config.getoption("--full")
            assert not request.config.getoption("--ammup-full")
    """)
    _run(pytester, "--full", "--seed-root").assert_outcomes(passed=1)


ROOT = """
    from pathlib import Path

    def test_root(seed_root):
        Path("root.txt").write_text(str(seed_root))
        assert isinstance(seed_root, int)
"""


@pytest.mark.parametrize(("options", "root"), [((), 0), (("--ammup-seed-root", "7"), 7), (("--ammup-seed-root=0",), 0)])
def test_the_seed_root_reaches_the_tests_and_the_header_unless_it_is_0(
    options: tuple[str, ...], root: int, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(ROOT)
    result = _run(pytester, *options)
    result.assert_outcomes(passed=1)
    assert int((pytester.path / "root.txt").read_text()) == root
    assert ("ammup: seed root 7" in result.outlines) is (root == 7)
    assert ("seed root" in result.stdout.str()) is (root != 0)


def test_a_varied_seed_root_is_never_0_and_is_printed_so_that_a_failure_can_be_reproduced(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(ROOT)
    for nanoseconds in (0, 999_999 * 10**6, 1_700_000_123_456 * 10**6):
        with monkeypatch.context() as patch:
            patch.setattr("ammup.gate.pytest_plugin.time.time_ns", lambda at=nanoseconds: at)
            result = _run(pytester, "--ammup-vary-seed")
        result.assert_outcomes(passed=1)
        (printed,) = re.findall(r"^ammup: seed root (\d+)$", result.stdout.str(), flags=re.MULTILINE)
        assert (pytester.path / "root.txt").read_text() == printed
        assert 1 <= int(printed) <= 10**6
    assert printed == "123457"


def test_a_seed_root_that_is_not_an_integer_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "--ammup-seed-root", "seven")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--ammup-seed-root: invalid int value: 'seven'*"])


CLAIM_PROPERTIES = {
    "verdict": "holds",
    "estimate": "0.123456",
    "se": "0.01",
    "interval": "[0.1, 0.15]",
    "n": "40",
    "looks": "2",
    "power": "0.999",
    "stated": "[0.0, None]",
    "law": "None",
}


def _properties(element: ElementTree.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in element.iterfind("properties/property")}


@pytest.mark.parametrize("family", ["xunit1", "xunit2", "legacy"])
def test_the_results_of_a_claim_are_properties_in_the_junit_file(family: str, pytester: pytest.Pytester) -> None:
    """Without a warning. In xunit2 only a suite has properties."""
    pytester.makepyfile(test_it=_claim_file())
    options = ("-W", "error", "-o", f"junit_family={family}", "--junit-xml=report.xml")
    _run(pytester, *options).assert_outcomes(passed=1)
    report = ElementTree.parse(pytester.path / "report.xml").getroot()
    (suite,) = report.iter("testsuite")
    (case,) = suite.iter("testcase")
    if family == "xunit2":
        expected = {f"test_it.py::test_claim: {name}": value for name, value in CLAIM_PROPERTIES.items()}
        assert (_properties(suite), _properties(case)) == (expected, {})
    else:
        assert (_properties(suite), _properties(case)) == ({}, CLAIM_PROPERTIES)


@pytest.mark.parametrize("options", [("-p", "no:junitxml"), ()])
def test_a_claim_is_recorded_without_a_junit_report(options: tuple[str, ...], pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_claim_file())
    _run(pytester, "-W", "error", *options).assert_outcomes(passed=1)


def test_the_properties_reach_the_junit_file_from_the_workers_of_xdist(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders).rstrip(os.pathsep))
    pytester.makepyfile(_claim_file())
    pytester.runpytest_subprocess(
        *("-n", "1", "-W", "error", "-o", "junit_family=xunit2", "--junit-xml=report.xml"),
        *("-p", "no:hypothesispytest", "-p", "no:jaxtyping"),
    ).assert_outcomes(passed=1)
    (case,) = ElementTree.parse(pytester.path / "report.xml").iter("testcase")
    assert _properties(case) == CLAIM_PROPERTIES


def test_the_summary_lists_the_measured_claims_with_their_problems(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_fine=_claim_file(), test_moved=_claim_file("it moved", "it was redefined"))
    result = _run(pytester)
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if line]
    start = next(i for i, line in enumerate(lines) if re.fullmatch("=+ claims =+", line))
    row = r"law\.one +0\.1235 \[ +0\.1000, +0\.1500\]  n = 40 +holds"
    assert re.fullmatch(row, lines[start + 1])
    assert re.fullmatch(row + "; it moved; it was redefined", lines[start + 2])


def test_a_run_without_claims_has_no_summary(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_exact(): pass")
    _run(pytester).stdout.no_re_match_line("=+ claims =+")


def test_the_plugin_alone_does_not_import_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_light(seed_root, record_claim):
            assert "ammup.gate.pytest_plugin" in sys.modules
            assert not {"torch", "ammup.claims.claim", "ammup.claims.record", "pydantic"} & set(sys.modules)
    """)
    pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:jaxtyping").assert_outcomes(passed=1)


GATE = """
    from functools import partial

    import torch

    import ammup

    NET = partial(ammup.mlp, width=32, in_features=32, out_features=32, readout="he")
    FAULTY = partial(NET, readout="mean-field")
    BATCH = dict(inputs=torch.ones(2, 32), part="label", loss="mse", margin=9.0, seeds=4)


    def test_gate(depth_law):
        check = depth_law(NET, [2, 4], **BATCH, ARGUMENTS)
        print("seeds", sorted(set(check.law.table["seed"])))
"""


def _gate_file(arguments: str, net: str = "NET") -> str:
    return GATE.replace("ARGUMENTS", arguments).replace("depth_law(NET", f"depth_law({net}")


@pytest.fixture
def _loaded_torch() -> None:
    """Load every module that the tests below need, before pytester records the loaded modules."""
    import torch

    import ammup

    net = partial(ammup.mlp, width=4, in_features=4, out_features=4)
    ammup.check_depth_exponent(net, [2, 4], inputs=torch.ones(2, 4), loss="mse", expected=0.0, margin=99.0, seeds=2)


@pytest.mark.usefixtures("_loaded_torch", "unchecked")
@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_the_fixture_adds_properties_without_warnings(family: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=_gate_file("expected=-1.0"))
    options = ("-W", "error", "-o", f"junit_family={family}", "--junit-xml=report.xml")
    _run(pytester, *options).assert_outcomes(passed=1)
    names = {
        one.attrib["name"].removeprefix("test_it.py::test_gate: ")
        for one in ElementTree.parse(pytester.path / "report.xml").iter("property")
    }
    assert names == {"outcome", "slope", "slope_ci", "region", "seeds", "moved", "note", "cause"}


@pytest.mark.usefixtures("_loaded_torch", "unchecked")
def test_the_fixture_compares_with_a_baseline_next_to_the_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.mkdir("gates")
    test, stored = folder / "test_it.py", folder / "depth.json"
    test.write_text(dedent(_gate_file('baseline="depth.json"')), encoding="utf-8")
    monkeypatch.setenv("CI", "true")
    missing = _run(pytester)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*InputError: the baseline *depth.json does not exist, and*pytest: --ammup-record*"])
    assert not stored.exists()
    _run(pytester, "--ammup-record").assert_outcomes(passed=1)
    recorded = stored.read_bytes()
    _run(pytester).assert_outcomes(passed=1)
    assert stored.read_bytes() == recorded
    test.write_text(dedent(_gate_file('baseline="depth.json"', "FAULTY")), encoding="utf-8")
    moved = _run(pytester)
    moved.assert_outcomes(failed=1)
    moved.stdout.fnmatch_lines(["*ammup.gate.depth_check.Moved: moved against the baseline: *"])


@pytest.mark.usefixtures("_loaded_torch", "unchecked")
@pytest.mark.parametrize(
    ("arguments", "options", "first"),
    [
        ("expected=-1.0", (), 0),
        ("expected=-1.0", ("--ammup-seed-root", "2"), 2_000_000),
        ("expected=-1.0, seed_root=5", ("--ammup-seed-root", "2"), 5_000_000),
    ],
)
def test_the_fixture_draws_from_the_seed_root(
    arguments: str, options: tuple[str, ...], first: int, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(_gate_file(arguments))
    result = _run(pytester, "-s", *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*seeds [[]{', '.join(str(first + i) for i in range(4))}[]]"])


@pytest.mark.usefixtures("_loaded_torch", "unchecked")
@pytest.mark.parametrize(
    ("expected", "options", "outcome"),
    [
        ("-1.0", (), {"failed": 1}),
        ("-1.0", ("--ammup-inconclusive", "skip"), {"skipped": 1}),
        ("99.0", ("--ammup-inconclusive=skip",), {"failed": 1}),  # does not hold
    ],
)
def test_an_inconclusive_check_can_skip_its_test(
    expected: str, options: tuple[str, ...], outcome: dict[str, int], pytester: pytest.Pytester
) -> None:
    text = _gate_file(f"expected={expected}").replace("margin=9.0", "margin=1e-6")
    pytester.makepyfile(text)
    result = _run(pytester, "-rs", *options)
    result.assert_outcomes(**outcome)
    if "skipped" in outcome:
        result.stdout.fnmatch_lines(["SKIPPED*the depth exponent is inconclusive: slope*"])


@pytest.mark.usefixtures("_loaded_torch", "unchecked")
def test_the_fixture_requires_an_expected_slope_or_a_baseline(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_gate_file("level=0.9"))
    result = _run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*InputError: pass expected=, the slope with its sign, or baseline=*"])
