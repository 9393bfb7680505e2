"""`ammup check` as a user types it, on a factory of the user."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import assert_refused, run

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(autouse=True)
def _outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests record baselines, and also run in continuous integration."""
    monkeypatch.delenv("CI", raising=False)


QUICK = ["--depths", "2,4", "--batch-size", "8", "--seeds", "8"]


def test_check_has_three_outcomes_and_writes_a_report(project: Path) -> None:
    holds = run("check", "their_nets:make_net", *QUICK, "--expected", "-1.0", "--margin", "2", "--junit", "a.xml",
                 "--plot", "law.png")  # fmt: skip
    assert holds.exit_code == 0, holds.output
    assert (project / "law.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(project / "a.xml").getroot().attrib["failures"] == "0"
    fails = run("check", "their_nets:make_net", *QUICK, "--expected", "1", "--junit", "b.xml", "--json")
    assert fails.exit_code == 1
    assert json.loads(fails.stdout)["outcome"] == "does not hold"
    (failure,) = ElementTree.parse(project / "b.xml").getroot().iter("failure")
    assert failure.attrib["message"] == "does not hold"
    assert "lr_star" in str(failure.text)
    slope = json.loads(fails.stdout)["slope"]
    narrow = ["--expected", str(slope), "--margin", "0.001"]
    inconclusive = run("check", "their_nets:make_net", *QUICK, *narrow, "--json", "--junit", "c.xml")
    assert inconclusive.exit_code == 1
    result = json.loads(inconclusive.stdout)
    assert (result["outcome"], result["cause"]) == ("inconclusive", "")
    (failure,) = ElementTree.parse(project / "c.xml").getroot().iter("failure")
    assert failure.attrib["message"] == "inconclusive"
    (case,) = ElementTree.parse(project / "c.xml").getroot().iter("testcase")
    properties = {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}
    assert properties["slope"] == str(result["slope"])
    assert properties["seeds"] == "8"


@pytest.mark.parametrize(("code", "kind", "counts"), [(0, "skipped", ("0", "1")), (75, "failure", ("1", "0"))])
def test_the_exit_code_of_an_inconclusive_result_can_be_chosen(
    code: int, kind: str, counts: tuple[str, str], project: Path
) -> None:
    command = ["check", "their_nets:make_net", *QUICK, "--margin", "0.001", "--inconclusive-code", str(code)]
    undecided = run(*command, "--expected", "-1.5", "--level", "0.999999", "--junit", "a.xml")
    assert undecided.exit_code == code
    assert "is inconclusive" in undecided.stdout
    (suite,) = ElementTree.parse(project / "a.xml").getroot().iter("testsuite")
    assert (suite.attrib["failures"], suite.attrib["skipped"]) == counts
    (element,) = suite.iter(kind)
    assert element.attrib["message"] == "inconclusive"
    assert run(*command, "--expected", "9").exit_code == 1  # another outcome keeps its code
    assert_refused(run(*command[:-1], "256", "--expected", "1"), "--inconclusive-code")


def test_check_records_a_baseline_and_compares_with_it(project: Path) -> None:
    command = ["check", "their_nets:make_net", *QUICK, "--margin", "1", "--baseline", "depth.json"]
    first = run(*command)
    assert (first.exit_code, "recorded: depth.json" in first.stderr) == (0, True)
    recorded = (project / "depth.json").read_bytes()
    again = run(*command)
    assert (again.exit_code, "recorded" in again.output) == (0, False)
    assert (project / "depth.json").read_bytes() == recorded
    nets = (project / "their_nets.py").read_text()
    (project / "faulty_nets.py").write_text(nets.replace('"relu"', '"linear"'))
    content = json.loads(recorded)
    content["about"] = content["about"].replace("their_nets", "faulty_nets")
    (project / "faulty.json").write_text(json.dumps(content))
    moved = run("check", "faulty_nets:make_net", *QUICK, "--margin", "9", "--baseline", "faulty.json", "--json")
    assert moved.exit_code == 1
    result = json.loads(moved.stdout)
    assert result["outcome"] == "moved"
    assert "η* at depth 2" in result["moved"][0]
    other = run("check", "their_nets:make_net", *QUICK, "--margin", "1", "--baseline", "faulty.json")
    assert_refused(other, "another baseline file")


def test_seeds_and_the_seed_root_can_change_after_the_baseline_was_recorded(project: Path) -> None:
    command = ["check", "mlp", "--width", "64", "--depths", "2,4", "--baseline", "depth.json"]
    assert run(*command, "--seeds", "4", "--margin", "9").exit_code == 0
    narrow = run(*command, "--seeds", "3", "--seed-root", "1", "--margin", "0.4")
    assert narrow.exit_code == 1
    assert "is inconclusive" in narrow.stdout
    (advised,) = re.findall(r"record it again with about (\d+) seeds", narrow.stdout)
    seeds = str(2 * int(advised))  # it is estimated from 3 draws
    again = run(*command, "--seeds", seeds, "--margin", "0.4", "--record")
    assert (again.exit_code, "recorded: depth.json" in again.stderr) == (0, True)
    for other in (["--seeds", seeds], ["--seeds", seeds, "--seed-root", "1"], []):
        holds = run(*command, *other, "--margin", "0.4")
        assert holds.exit_code == 0, holds.output


def test_a_missing_baseline_in_ci_is_invalid_input_unless_it_is_recorded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    command = ["check", "their_nets:make_net", *QUICK, "--margin", "2", "--baseline", "depth.json"]
    assert_refused(run(*command), "the baseline depth.json does not exist, and the environment variable CI is set")
    assert_refused(run(*command, "--expected", "-1"), "commit the file, or pass --record")
    assert not (project / "depth.json").exists()
    assert run(*command, "--record").exit_code == 0
    assert run(*command).exit_code == 0


def test_junit_test_cases_have_stable_names_and_a_time(project: Path) -> None:
    command = ["check", "their_nets:make_net", "--depths", "2,4", "--batch-size", "8", "--expected", "-1"]
    cases = []
    for seeds in ("4", "5"):
        run(*command, "--margin", "5", "--seeds", seeds, "--junit", "report.xml")
        suite = ElementTree.parse(project / "report.xml").getroot()
        (case,) = suite.iter("testcase")
        assert 0 < float(case.attrib["time"]) == float(suite.attrib["time"]) < 300
        cases.append((case.attrib["classname"], case.attrib["name"]))
    assert cases[0] == cases[1]
    name = "their_nets:make_net on synthetic: 8 images of 3×8×8, cross_entropy, part total, depths 2, 4"
    assert cases[0] == ("ammup.check", name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["their_nets:make_net"], "--expected"),
        (["their_nets:nothing", "--expected", "-1"], "'their_nets:nothing'"),
        (["vgg", "--expected", "-1"], "'vgg'"),
        (["cnn", "--expected", "-1", "--plot", "law.tiff9"], "'law.tiff9'"),
        (["cnn", "--expected", "-1", "--junit", "no/report.xml"], "no/report.xml"),
        (["cnn", "--baseline", "no/depth.json"], "no/depth.json"),
        (["cnn", "--expected", "nan"], "expected=nan"),
        (["cnn", "--expected", "-1", "--margin", "0"], "margin=0"),
        (["cnn", "--expected", "-1", "--level", "2"], "level=2"),
        (["cnn", "--expected", "-1", "--record"], "--record was given without --baseline"),
        (["cnn", "--expected", "-1", "--seed-root", "-1"], "-1 is not in the range"),
        (["cnn", "--expected", "-1", "--seeds", "1"], "1 is not in the range"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    assert_refused(run("check", *arguments), message)
