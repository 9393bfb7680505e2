"""`ammup transfer` as a user types it."""

import json
from pathlib import Path

import pytest
from command_line import assert_refused, run

import ammup
from ammup.experiments.analysis import law_of, read_sweep
from ammup.measurement import depth_exponent

pytestmark = pytest.mark.usefixtures("project")


def test_transfer_prints_every_rule() -> None:
    options = ["--lr", "0.1", "--from", "2", "--to", "4", "--batch-size", "4", "--seeds", "8"]
    result = run("transfer", "their_nets:make_net", *options)
    assert result.exit_code == 0
    for rule in ("constant", "L^-1/2", "L^-1", "am-mup", "pathsum", "measured", "assumes", "95% interval"):
        assert rule in result.output
    assert "finite-depth" not in result.output  # there is no law for this net
    rules = json.loads(run("transfer", "mlp", "--width", "64", *options, "--json").output)["rules"]
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


def test_several_depths_are_measured_once_and_one_rule_is_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, ...]] = []
    original = depth_exponent.measure_depth_law

    def recording(factory: object, depths: tuple[int, ...], *given: object, **options: object) -> object:
        measured.append(depths)
        return original(factory, depths, *given, **options)

    monkeypatch.setattr(depth_exponent, "measure_depth_law", recording)
    options = ["--lr", "0.1", "--from", "2", "--to", "4,8", "--to", "3", "--batch-size", "4", "--seeds", "4"]
    result = run("transfer", "mlp", "--width", "64", *options, "--json")
    assert measured == [(2, 3, 4, 8)]
    given = json.loads(result.output)
    assert [one["depth"] for one in given["recommendations"]] == [4, 8, 3]
    for advice in given["recommendations"]:
        chosen = [row for row in given["rules"] if row["recommended"] and row["depth"] == advice["depth"]]
        assert [(row["rule"], row["lr"], row["reason"]) for row in chosen] == [
            (advice["rule"], advice["lr"], advice["reason"])
        ]
    assert given["parametrization"].startswith("one learning rate for all parameters")
    assert [one["kind"] for one in given["warnings"]] == ["setting"]


def test_sharpness_and_probed_edges_are_rows_with_a_price() -> None:
    options = ["--lr", "0.1", "--from", "2", "--to", "5", "--batch-size", "8", "--seeds", "2", "--width", "16"]
    more = ["--sharpness", "--sharpness-seeds", "2", "--probe-edges", "--edge-steps", "10", "--edge-seeds", "1"]
    given = json.loads(run("transfer", "mlp", *options, *more, "--json").output)
    rules = {row["rule"]: row for row in given["rules"]}
    assert rules["measured"]["price"] == 3 * 2 * 2
    assert rules["sharpness"]["price"] == rules["sharpness-fit"]["price"] > 0  # of the depths 2, 3, 4 and 5
    assert rules["sharpness"]["low"] < rules["sharpness"]["lr"] < rules["sharpness"]["high"]
    assert 40 <= rules["edge"]["price"] <= 2 * 16 * 10
    data = ammup.load_data("synthetic", image_size=4)
    images, labels = data.batch(8)
    net = lambda depth, seed: ammup.mlp(depth, width=16, in_features=48, seed=seed)  # noqa: E731
    batch = {"inputs": images, "targets": labels, "loss": "cross_entropy"}
    law = ammup.depth_exponent(net, [2, 3, 4, 5], seeds=2, measure="sharpness", **batch)
    expected = ammup.transfer_lr(0.1, 2, 5, rule="sharpness-fit", sharpness=law)
    assert rules["sharpness-fit"]["lr"] == pytest.approx(expected, rel=1e-6)
    edges = ammup.probe_edges(net, [2, 5], data=data, loss="cross_entropy", lr=0.1, steps=10, seeds=1)
    assert rules["edge"]["lr"] == pytest.approx(ammup.transfer_lr(0.1, 2, 5, rule="edge", edges=edges), rel=1e-6)
    text = run("transfer", "mlp", *options, *more).output
    assert "price: the cost of the measurement in training steps" in text


def test_swept_edges_are_read_from_a_record() -> None:
    record = Path(ammup.__file__).parents[1] / "baselines" / "sweeps" / "cnn-gelu-cifar10-small.json"
    options = ["--lr", "0.1", "--from", "3", "--to", "6", "--batch-size", "2", "--seeds", "2", "--width", "4"]
    given = json.loads(run("transfer", "mlp", *options, "--edges", str(record), "--json").output)
    (row,) = [row for row in given["rules"] if row["rule"] == "edge"]
    law = law_of(read_sweep(record), kind="edge")
    assert row["lr"] == pytest.approx(0.1 * law.lr_star(6)[0] / law.lr_star(3)[0])
    assert row["price"] is None
    assert_refused(run("transfer", "mlp", *options, "--edges", str(record), "--probe-edges"), "mutually exclusive")
    assert_refused(run("transfer", "mlp", *options, "--edge-experiment", "x"), "add --edges FILE")


def test_vanishing_nets_and_settings_outside_of_the_evidence_are_reported() -> None:
    result = run(
        *("transfer", "their_nets:default_mlp", "--lr", "0.1", "--from", "2", "--to", "4,8", "--batch-size", "8"),
        *("--seeds", "4", "--momentum", "0.9", "--schedule", "cosine", "--weight-decay", "0.0005"),
    )
    lines = result.output.splitlines()
    recommended = [line for line in lines if line.startswith("→ recommended")]
    assert [line.split(";")[0] for line in recommended] == [
        "→ recommended at L = 4: 0.1 (constant",
        "→ recommended at L = 8: 0.1 (constant",
    ]
    assert any(line.startswith("warning: η* changes exponentially with depth") for line in lines)
    assert any(line.startswith("warning: η* rises from L = ") for line in lines)
    for part in ("momentum 0.9", "a cosine schedule", "weight decay 0.0005", "not stated: optimizer"):
        assert any(line.startswith(f"warning: {part}") for line in lines), part
    assert any(line.startswith("holds for: one learning rate for all parameters") for line in lines)


def test_the_resnet_of_theory_section_8_is_not_given_the_measured_rate() -> None:
    result = run(
        *("transfer", "user_resnet:post_activation_resnet", "--lr", "0.1", "--from", "1", "--to", "3,5"),
        *("--image-size", "16", "--batch-size", "8", "--seeds", "2", "--set", "widths=(8, 16, 32)", "--json"),
    )
    given = json.loads(result.output)
    deep = given["recommendations"][1]
    assert (deep["depth"], deep["rule"], deep["lr"]) == (5, "L^-1/2", pytest.approx(0.0447, rel=1e-2))
    assert {"exponential", "setting"} <= {one["kind"] for one in given["warnings"]}
    (measured,) = (row for row in given["rules"] if row["rule"] == "measured" and row["depth"] == 5)
    assert measured["lr"] < 0.02


def test_late_adds_a_row_with_its_own_warning_and_is_resumable(tmp_path: Path) -> None:
    options = ["--lr", "0.1", "--from", "2", "--to", "3", "--batch-size", "4", "--seeds", "2", "--width", "8"]
    late = [
        "--late",
        "--late-steps",
        "6",
        "--late-every",
        "2",
        "--late-batch",
        "16",
        "--late-state",
        tmp_path / "s.json",
    ]
    first = run("transfer", "cnn", *options, *late, "--json")
    given = json.loads(first.output)
    (row,) = (row for row in given["rules"] if row["rule"] == "measured-late")
    assert row["low"] < row["lr"] < row["high"]
    assert not row["recommended"]
    (warning,) = (one for one in given["warnings"] if one["kind"] == "late")
    assert "its own short runs, 0.03" in warning["text"]
    assert run("transfer", "cnn", *options, *late, "--json").output == first.output
    assert_refused(run("transfer", "cnn", *options, *late, "--late-lr", "0.05"), "lr=0.03")


def test_transfer_to_the_same_depth_is_rejected() -> None:
    result = run("transfer", "--lr", "0.1", "--from", "2", "--to", "2")
    assert_refused(result, "--from 2 and --to 2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "-1", "--from", "2", "--to", "4"], "lr=-1.0"),
        (["--lr", "0.1", "--from", "0", "--to", "4"], "0 is not in the range"),
        (["--lr", "0.1", "--to", "4"], "'--from'"),
        (["--lr", "0.1", "--from", "2", "--to", "0"], "0 is not in the range"),
        (["--lr", "0.1", "--from", "2", "--to", "4;8"], "'4;8' is not a depth or a comma-separated list"),
        (["--lr", "0.1", "--from", "2", "--to", "4", "--momentum", "-1"], "momentum=-1.0: expected a finite number"),
        (["--lr", "0.1", "--from", "2", "--to", "4", "--optimizer", "sdg"], "'sdg' is not one of 'sgd'"),
        (["--lr", "0.1", "--from", "2", "--to", "4", "--late-every", "0"], "0 is not in the range"),
        (["--lr", "0.1", "--from", "2", "--to", "4", "--seeds", "1"], "1 is not in the range"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    assert_refused(run("transfer", "cnn", *arguments), message)
