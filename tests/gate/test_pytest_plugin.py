"""The pytest plugin in another project: marker, options, seed root, JUnit properties, summary of the claims."""

import re
from xml.etree import ElementTree

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
    for option in ("--ammup-seed-root=N", "--ammup-vary-seed", "--ammup-full"):
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


def test_the_results_of_a_claim_are_properties_in_the_junit_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_claim_file())
    _run(pytester, "-o", "junit_family=xunit1", "--junit-xml=report.xml").assert_outcomes(passed=1)
    (case,) = ElementTree.parse(pytester.path / "report.xml").iter("testcase")
    assert {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")} == {
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
