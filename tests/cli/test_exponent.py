"""`ammup exponent` as a user types it."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from command_line import assert_refused, run
from images import write_images
from PIL import Image

import ammup

QUICK = ["--depths", "2,4", "--width", "8", "--seeds", "3", "--batch-size", "4"]


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_exponent_prints_table_slope_and_references(family: str) -> None:
    result = run("exponent", family, *QUICK)
    assert result.exit_code == 0, result.output
    for text in (
        "η*",
        "± s.e.",
        "local slope",
        "slope of log η* on log L",
        "95% interval",
        "finite-depth law",
        "-1.50",
    ):
        assert text in result.output


def test_the_default_run_prints_the_law_and_a_next_command_that_runs() -> None:
    """Its default net and batch are small enough that the finite-depth law is computed within seconds."""
    result = run("exponent", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert re.search(r"finite-depth law +-1\.\d\d +at L = 2, 4, 8, 16", result.output)
    *_, after = result.output.strip().splitlines()
    command = re.search(r"`ammup (transfer cnn --lr 0\.1 --from 2 --to 16)`", after)
    assert command is not None
    transferred = run(*command[1].split(), "--seeds", "2")
    assert transferred.exit_code == 0, transferred.output
    options = ["--width", "8", "--data", "synthetic", "--loss", "mse", "--set", "readout=he", "--image-size", "5"]
    after = run("exponent", "resnet", "--depths", "2,4", "--seeds", "2", *options).output.splitlines()[-1]
    given = "--width 8 --image-size 5 --loss mse --set readout=he"
    assert f"`ammup transfer resnet --lr 0.1 --from 2 --to 4 {given}`" in after


def test_json_agrees_with_the_library_call(tmp_path: Path) -> None:
    write_images(tmp_path)
    result = run("exponent", "cnn", "--data", tmp_path, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    data = ammup.load_data(tmp_path)
    inputs, labels = data.batch(4)
    law = ammup.depth_exponent(
        lambda depth, seed: ammup.cnn(depth, width=8, out_channels=2, seed=seed),
        [2, 4],
        inputs=inputs,
        targets=labels,
        loss="cross_entropy",
        seeds=3,
    )
    assert answer["slope"] == pytest.approx(law.power_law.slope)
    assert answer["slope_ci"] == pytest.approx(law.power_law.slope_ci)
    assert [row["lr_star"] for row in answer["curve"]] == pytest.approx(law.curve["lr_star"].tolist())


@pytest.mark.parametrize(("options", "loss"), [([], "cross_entropy"), (["--loss", "mse", "--labels", "data"], "mse")])
def test_the_loss_of_class_indices_is_printed_and_is_that_of_the_library(
    tmp_path: Path, options: list[str], loss: str
) -> None:
    write_images(tmp_path)
    command = ["exponent", "cnn", "--data", tmp_path, *QUICK, *options]
    assert f", {loss}, weight draws" in run(*command).stdout.splitlines()[0]
    inputs, labels = ammup.load_data(tmp_path).batch(4)
    law = ammup.depth_exponent(
        partial(ammup.cnn, width=8, out_channels=2), [2, 4], inputs=inputs, targets=labels, loss=loss, seeds=3
    )
    assert json.loads(run(*command, "--json").stdout)["slope"] == pytest.approx(law.power_law.slope)


def test_the_finite_depth_law_is_printed_for_nets_that_it_covers() -> None:
    arguments = ["--loss", "mse", "--part", "label", "--batch-size", "1", "--set", "readout=he", "--json"]
    answer = json.loads(run("exponent", "mlp", *QUICK[:-2], *arguments).stdout)
    assert answer["reference"] is not None
    dense = ["--set", "dims=0", "--set", "branch=1"]
    assert json.loads(run("exponent", "resnet", *QUICK[:-2], *arguments, *dense).stdout)["reference"] is not None
    assert json.loads(run("exponent", "cnn", *QUICK[:-2], *arguments).stdout)["reference"] is not None
    normed = ["--set", "batchnorm=True"]
    assert json.loads(run("exponent", "resnet", *QUICK[:-2], *arguments, *normed).stdout)["reference"] is None


def test_a_plot_is_written_and_never_overwrites_a_file(tmp_path: Path) -> None:
    figure = tmp_path / "law.png"
    assert run("exponent", "mlp", *QUICK, "--plot", figure).exit_code == 0
    with Image.open(figure) as image:
        assert image.size == (1500, 630)
    before = figure.read_bytes()
    result = run("exponent", "mlp", *QUICK, "--plot", figure)
    assert_refused(result, "law.png already exists")
    assert figure.read_bytes() == before


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn", "--depths", "0,4"], "at least 1"),
        (["cnn", "--depths", "4,4"], "depths=[4, 4]"),
        (["cnn", "--depths", "4"], "at least 2"),
        (["cnn", "--seeds", "x"], "'x'"),
        (["cnn", "--seeds", "0"], "0 is not in the range"),
        (["cnn", "--plot", "/no/such/folder/law.png"], "/no/such/folder"),
        (["cnn", "--plot", "law.txt"], "'law.txt'"),
        (["transformer"], "mlp, cnn, resnet"),
        (["their_nets:ignores_depth"], "depths 2 and 4"),
        (["their_nets:fails"], "depth 2: ZeroDivisionError"),
        (["their_nets:NOT_CALLABLE"], "callable"),
        (["their_nets:missing"], "'missing'"),
        (["no_such_module:make"], "'no_such_module'"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list[str], message: str) -> None:
    pairs = zip(QUICK[::2], QUICK[1::2], strict=True)
    quick = [word for pair in pairs if pair[0] not in arguments for word in pair]
    assert_refused(run("exponent", *quick, *arguments), message)


def test_sharpness_is_measured_in_the_same_table_figure_and_json(tmp_path: Path) -> None:
    figure = tmp_path / "law.png"
    result = run("exponent", "mlp", *QUICK, "--measure", "sharpness", "--plot", figure)
    assert result.exit_code == 0, result.output
    assert figure.exists()
    header, *rows = [line for line in result.output.splitlines() if re.match(r"│|┃", line)]
    assert header.count("local slope") == 2
    assert "2/λ" in header
    answer = json.loads(run("exponent", "mlp", *QUICK, "--measure", "sharpness", "--json").stdout)
    assert answer["slope"] == pytest.approx(json.loads(run("exponent", "mlp", *QUICK, "--json").stdout)["slope"])
    sharpness = answer["sharpness"]
    assert sharpness["measure"] == "sharpness"
    assert f"slope of log 2/λ on log L  {sharpness['slope']:.2f}" in result.output
    for row, updates, edge in zip(rows, answer["curve"], sharpness["curve"], strict=True):
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert (cells[1], cells[4]) == (f"{updates['lr_star']:.3g}", f"{edge['lr_star']:.3g}")
    refused = run("exponent", "mlp", *QUICK, "--measure", "sharpness", "--part", "label")
    assert_refused(refused, "part='label' of the sharpness is not defined; use part='total'")
