"""`ammup depth` as a user types it."""

import json

import pytest
from command_line import assert_refused, run

import ammup
from ammup.models.depth import CONVENTIONS

pytestmark = pytest.mark.usefixtures("project")


def test_depth_prints_units_and_counts_of_every_convention() -> None:
    result = run("depth", "their_nets:make_net", "--depths", "2,3")
    assert result.exit_code == 0
    for text in (*CONVENTIONS, "  0\n", "  2\n", "  4\n"):
        assert text in result.output
    answer = json.loads(run("depth", "resnet", "--depths", "4", "--convention", "layers", "--json").output)
    assert answer["counts"]["4"]["paper"] == 4
    assert answer["units"]["4"][0] == "stem"


def test_a_model_that_cannot_be_traced_needs_a_shape() -> None:
    result = run("depth", "their_nets:steps", "--depths", "2")
    assert_refused(result, "traced")
    assert "give --shape" in result.output
    assert "example_input" not in result.output
    assert run("depth", "their_nets:steps", "--depths", "2", "--shape", "4").exit_code == 0


def test_a_transformer_needs_a_shape_and_has_two_units_a_layer() -> None:
    assert_refused(run("depth", "their_nets:encoder", "--depths", "2,4"), "give --shape")
    answer = json.loads(run("depth", "their_nets:encoder", "--depths", "2,4", "--shape", "5,8", "--json").output)
    assert [answer["counts"][depth]["paper"] for depth in ("2", "4")] == [4, 8]


def test_the_same_count_at_two_depths_is_an_error() -> None:
    message = "depths 2 and 4 both gave 2 depth units in the convention 'paper'"
    assert_refused(run("depth", "their_nets:one_size", "--depths", "2,4"), message)
    assert_refused(run("depth", "their_nets:one_size", "--depths", "2,4", "--shape", "4"), message)
    assert run("depth", "their_nets:one_size", "--depths", "2").exit_code == 0
    assert_refused(run("depth", "cnn", "--depths", "2,4", "--convention", "blocks"), "both gave 0 depth units")


def test_the_units_are_those_of_the_library() -> None:
    answer = json.loads(run("depth", "resnet", "--depths", "2,4", "--convention", "layers", "--json").output)
    for depth in (2, 4):
        net = ammup.resnet(depth)
        assert tuple(answer["units"][str(depth)]) == ammup.depth_units(net, convention="layers")
        counts = {name: ammup.minimal_depth(net, convention=name) for name in CONVENTIONS}
        assert answer["counts"][str(depth)] == counts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn", "--convention", "trunk"], "convention='trunk'"),
        (["cnn", "--shape", "3,x"], "'3,x'"),
        (["cnn", "--depths", "2,2"], "depths=[2, 2]"),
        (["their_nets:make_net", "--shape", "4"], "(2, 4)"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    assert_refused(run("depth", *arguments), message)
