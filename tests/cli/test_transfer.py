"""`ammup transfer` as a user types it."""

import json

import pytest
from command_line import assert_refused, run

import ammup

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


def test_transfer_to_the_same_depth_is_rejected() -> None:
    result = run("transfer", "--lr", "0.1", "--from", "2", "--to", "2")
    assert_refused(result, "--from 2 and --to 2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "-1", "--from", "2", "--to", "4"], "lr=-1.0"),
        (["--lr", "0.1", "--from", "0", "--to", "4"], "0 is not in the range"),
        (["--lr", "0.1", "--to", "4"], "'--from'"),
        (["--lr", "0.1", "--from", "2", "--to", "4", "--seeds", "1"], "1 is not in the range"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    assert_refused(run("transfer", "cnn", *arguments), message)
