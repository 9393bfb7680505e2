"""`ammup check` as a user types it, on a factory of the user."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import assert_refused, run

pytestmark = pytest.mark.usefixtures("project")

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
    moved = run("check", "faulty_nets:make_net", *QUICK, "--margin", "9", "--baseline", "faulty.json")
    assert moved.exit_code == 1
    assert "η* at depth 2" in moved.output
    other = run("check", "their_nets:make_net", *QUICK, "--margin", "1", "--baseline", "faulty.json")
    assert_refused(other, "--baseline")


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
        (["cnn", "--expected", "-1", "--seeds", "1"], "1 is not in the range"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    assert_refused(run("check", *arguments), message)
