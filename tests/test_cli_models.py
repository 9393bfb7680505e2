"""`ammup depth`, `transfer` and `check` as a user types them, on a factory of his own."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import ammup
from ammup.cli import cli

NETS = """
from torch import nn

def make_net(depth, width=16):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net

def steps(depth):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.out = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth)), nn.Linear(4, 2)
        def forward(self, x):
            for layer in self.layers:
                x = layer(x) if x.sum() < 9e9 else x
            return self.out(x)
    return Steps()
"""
QUICK = ["--depths", "2,4", "--batch-size", "8", "--seeds", "8"]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_depth_prints_units_and_every_convention() -> None:
    result = _run("depth", "their_nets:make_net", "--depths", "2,3")
    assert result.exit_code == 0
    for text in ("paper", "shortest", "units at depth 3, paper:", "  0\n", "  2\n", "  4\n"):
        assert text in result.output
    answer = json.loads(_run("depth", "resnet", "--depths", "4", "--convention", "layers", "--json").output)
    assert answer["counts"]["4"]["paper"] == 4
    assert answer["units"]["4"][0] == "stem"


def test_depth_of_what_cannot_be_traced_needs_a_shape() -> None:
    result = _run("depth", "their_nets:steps", "--depths", "2")
    assert result.exit_code == 2
    assert "could not be traced" in result.output
    assert _run("depth", "their_nets:steps", "--depths", "2", "--shape", "4").exit_code == 0


def test_transfer_prints_every_rule() -> None:
    options = ["--lr", "0.1", "--from", "2", "--to", "4", "--batch-size", "4", "--seeds", "8"]
    result = _run("transfer", "their_nets:make_net", *options)
    assert result.exit_code == 0
    for rule in ("constant", "L^-1/2", "L^-1", "am-mup", "pathsum", "measured", "assumes", "95% interval"):
        assert rule in result.output
    assert "finite-depth" not in result.output  # no formula for their net
    rules = json.loads(_run("transfer", "mlp", "--width", "64", *options, "--json").output)["rules"]
    by_name = {row["rule"]: row for row in rules}
    assert by_name["am-mup"]["lr"] == pytest.approx(0.1 * 2**-1.5)
    assert by_name["pathsum"]["lr"] == pytest.approx(0.1 * 2**-1.5)  # one path: L_p = L
    assert by_name["finite-depth"]["low"] is None
    assert by_name["measured"]["low"] < by_name["measured"]["lr"] < by_name["measured"]["high"]
    data = ammup.load_data("synthetic", image_size=4)
    images, labels = data.batch(4)
    net = lambda depth, seed: ammup.mlp(depth, width=64, in_features=48, seed=seed)  # noqa: E731
    law = ammup.depth_exponent(net, [2, 4], inputs=images, targets=labels, loss="cross_entropy", seeds=8)
    assert by_name["measured"]["lr"] == pytest.approx(ammup.transfer_lr(0.1, 2, 4, measured=law), rel=1e-6)


def test_transfer_to_the_same_depth_is_refused() -> None:
    result = _run("transfer", "--lr", "0.1", "--from", "2", "--to", "2")
    assert result.exit_code == 2
    assert "are one depth" in result.output


def test_check_has_three_outcomes_and_writes_a_report(tmp_path: Path) -> None:
    holds = _run("check", "their_nets:make_net", *QUICK, "--expected", "-1.0", "--margin", "2", "--junit", "a.xml",
                 "--plot", "law.png")  # fmt: skip
    assert (holds.exit_code, "the depth exponent holds" in holds.output) == (0, True)
    assert (tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(tmp_path / "a.xml").getroot().attrib["failures"] == "0"
    fails = _run("check", "their_nets:make_net", *QUICK, "--expected", "1", "--junit", "b.xml", "--json")
    assert fails.exit_code == 1
    assert json.loads(fails.stdout)["outcome"] == "does not hold"
    (failure,) = ElementTree.parse(tmp_path / "b.xml").getroot().iter("failure")
    assert failure.attrib["message"] == "does not hold"
    assert "lr_star" in str(failure.text)
    slope = json.loads(fails.stdout)["slope"]
    open_ = _run("check", "their_nets:make_net", *QUICK, "--expected", str(slope), "--margin", "0.001")
    assert (open_.exit_code, "is open" in open_.output, "what to raise: seeds" in open_.output) == (1, True, True)


def test_check_records_a_baseline_and_compares_with_it(tmp_path: Path) -> None:
    command = ["check", "their_nets:make_net", *QUICK, "--margin", "1", "--baseline", "depth.json"]
    first = _run(*command)
    assert (first.exit_code, "recorded: depth.json" in first.stderr) == (0, True)
    recorded = (tmp_path / "depth.json").read_bytes()
    again = _run(*command)
    assert (again.exit_code, "recorded" in again.output) == (0, False)
    assert (tmp_path / "depth.json").read_bytes() == recorded
    (tmp_path / "faulty_nets.py").write_text(NETS.replace('"relu"', '"linear"'))
    content = json.loads(recorded)
    content["about"] = content["about"].replace("their_nets", "faulty_nets")
    (tmp_path / "faulty.json").write_text(json.dumps(content))
    moved = _run("check", "faulty_nets:make_net", *QUICK, "--margin", "9", "--baseline", "faulty.json")
    assert moved.exit_code == 1
    assert "moved: η* at depth 2 was" in moved.output
    other = _run("check", "their_nets:make_net", *QUICK, "--margin", "1", "--baseline", "faulty.json")
    assert other.exit_code == 2
    assert "another --baseline" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "their_nets:make_net"], "--expected SLOPE, or --baseline FILE"),
        (["check", "their_nets:nothing", "--expected", "-1"], "cannot be imported"),
        (["check", "vgg", "--expected", "-1"], "family 'vgg' is not known"),
        (["check", "cnn", "--expected", "-1", "--plot", "law.tiff9"], "cannot be written"),
        (["check", "cnn", "--expected", "nan"], "expected=nan must be finite"),
        (["depth", "cnn", "--convention", "trunk"], "convention='trunk' is not known"),
        (["depth", "cnn", "--shape", "3,x"], "is not a shape such as 3,32,32"),
        (["transfer", "cnn", "--lr", "-1", "--from", "2", "--to", "4", "--seeds", "2"], "lr=-1.0 must be positive"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
