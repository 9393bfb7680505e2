"""The command line as a user types it: what it prints, and one clear line with exit code 2 for what cannot be done."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import ammup
from ammup import InputError
from ammup.cli import cli

QUICK = ["--depths", "2,4", "--width", "8", "--seeds", "3", "--batch-size", "4"]


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["exponent", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _images(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(8):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_prints_table_slope_and_references(family: str) -> None:
    result = _run(family, *QUICK)
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


def test_the_default_run_shows_the_law_and_what_to_type_next() -> None:
    """Its net and batch are such that the finite-depth law takes seconds."""
    result = _run("--seeds", "2")
    assert result.exit_code == 0, result.output
    assert re.search(r"finite-depth law +-1\.\d\d +at L = 2, 4, 8, 16", result.output)
    *_, meaning, after = result.output.strip().splitlines()
    assert meaning.startswith("In plain words: ")
    command = re.match(r"Next: `ammup (transfer cnn --lr 0\.1 --from 2 --to 16)` carries a tuned rate", after)
    assert command is not None
    said = CliRunner().invoke(cli, [*command[1].split(), "--seeds", "2"])
    assert said.exit_code == 0, said.output
    options = ["--width", "8", "--data", "synthetic", "--loss", "mse", "--set", "readout=he", "--image-size", "5"]
    after = _run("resnet", "--depths", "2,4", "--seeds", "2", *options).output.splitlines()[-1]
    given = "--width 8 --image-size 5 --loss mse --set readout=he"
    assert f"`ammup transfer resnet --lr 0.1 --from 2 --to 4 {given}`" in after


def test_json_is_the_library_s_answer(tmp_path: Path) -> None:
    root = _images(tmp_path)
    result = _run("cnn", "--data", str(root), *QUICK, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    data = ammup.load_data(root)
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


def test_closed_law_is_printed_where_it_is_known() -> None:
    arguments = ["--loss", "mse", "--part", "label", "--batch-size", "1", "--set", "readout=he", "--json"]
    answer = json.loads(_run("mlp", *QUICK[:-2], *arguments).stdout)
    assert answer["reference"] is not None
    dense = ["--set", "dims=0", "--set", "branch=1"]
    assert json.loads(_run("resnet", *QUICK[:-2], *arguments, *dense).stdout)["reference"] is not None
    assert json.loads(_run("cnn", *QUICK[:-2], *arguments).stdout)["reference"] is not None
    normed = ["--set", "batchnorm=True"]
    assert json.loads(_run("resnet", *QUICK[:-2], *arguments, *normed).stdout)["reference"] is None


def test_settings_reach_the_factory() -> None:
    plain = json.loads(_run("cnn", *QUICK, "--json").stdout)
    zero = json.loads(_run("cnn", *QUICK, "--json", "--set", "padding=zero", "--set", "kernel=(1, 3)").stdout)
    assert plain["slope"] != zero["slope"]


def test_labels_are_the_data_s_for_cross_entropy_and_drawn_for_mse() -> None:
    answers = {
        (loss, labels): json.loads(_run("cnn", *QUICK, "--json", "--loss", loss, *labels).stdout)["slope"]
        for loss in ("cross_entropy", "mse")
        for labels in ((), ("--labels", "data"), ("--labels", "drawn"))
    }
    assert answers["cross_entropy", ()] == answers["cross_entropy", ("--labels", "data")]
    assert answers["cross_entropy", ()] != answers["cross_entropy", ("--labels", "drawn")]
    assert answers["mse", ()] == answers["mse", ("--labels", "drawn")] != answers["mse", ("--labels", "data")]


def test_plot_is_written_and_never_over_a_file(tmp_path: Path) -> None:
    figure = tmp_path / "law.png"
    assert _run("mlp", *QUICK, "--plot", str(figure)).exit_code == 0
    with Image.open(figure) as image:
        assert image.size == (1500, 630)
    before = figure.read_bytes()
    result = _run("mlp", *QUICK, "--plot", str(figure))
    assert result.exit_code == 2
    assert "law.png exists; give another name" in result.stderr
    assert figure.read_bytes() == before


def test_a_user_s_factory_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text(
        "import torch.nn as nn\n"
        "def make(depth, hidden=8):\n"
        "    layers = [m for _ in range(depth - 1) for m in (nn.Linear(hidden, hidden), nn.ReLU())]\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, hidden), nn.ReLU(), *layers, nn.Linear(hidden, 10))\n"
    )
    command = [sys.executable, "-m", "ammup", "exponent", "mynets:make", *QUICK[:2], *QUICK[4:], "--set", "hidden=12"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "mynets:make on synthetic" in result.stdout
    assert result.stderr == ""


def fails(depth: int, width: int) -> torch.nn.Module:
    raise ZeroDivisionError("division by zero")


def ignores_depth(depth: int, width: int) -> torch.nn.Module:
    return ammup.mlp(3, width=4, in_features=192)


NOT_CALLABLE = 3


def _broken_image(root: Path) -> Path:
    image = _images(root) / "train" / "cat" / "0.png"
    image.write_bytes(image.read_bytes()[:50])
    return root


def _nan_images(root: Path) -> Path:
    np.savez(root / "a.npz", train_images=np.full((9, 8, 8), np.nan), train_labels=np.zeros(9, int))
    return root / "a.npz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depths", "0,4"], "must be whole numbers of at least 1"),
        (["--depths", "4,4"], "holds a depth twice"),
        (["--depths", "4"], "give at least 2"),
        (["--depths", "four"], "is not a list of whole numbers"),
        (["--depths", ""], "is not a list of whole numbers"),
        (["--set", "kernel=4", "--set", "padding=zero"], "no centre under padding='zero'"),
        (["--set", "kernel"], "is not of the form NAME=VALUE"),
        (["--set", "colour=red"], "unexpected keyword argument 'colour'"),
        (["--data", "imagenet-22k"], "neither a known name"),
        (["--data", "/no/such/folder"], "neither a known name"),
        (["--data", _broken_image], "0.png cannot be read"),
        (["--data", _nan_images], "allowed: uint8"),
        (["--data", lambda root: root], "holds no training images"),
        (["transformer"], "allowed: mlp, cnn, resnet"),
        (["tests.test_cli:ignores_depth"], "ignores its depth"),
        (["tests.test_cli:fails"], "failed at depth 2: ZeroDivisionError"),
        (["tests.test_cli:NOT_CALLABLE"], "is a int; it must be callable"),
        (["tests.test_cli:missing"], "has no attribute 'missing'"),
        (["no_such_module:make"], "No module named 'no_such_module'"),
        (["--width", "0"], "0 is not in the range"),
        (["--seeds", "x"], "not a valid integer"),
        (["--loss", "hinge"], "is not one of 'cross_entropy', 'mse'"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--plot", "/no/such/folder/law.png"], "does not exist"),
        (["--plot", "law.txt"], "allowed suffixes"),
        (["--batch-size", "100000"], "100000 images"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    arguments: list, message: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    arguments = [a if isinstance(a, str) else str(a(tmp_path)) for a in arguments]
    family = [] if not arguments[0].startswith("--") else ["cnn"]
    given = " ".join(arguments)
    quick = [a for pair in zip(QUICK[::2], QUICK[1::2], strict=True) if pair[0] not in given for a in pair]
    result = _run(*family, *quick, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert result.stdout == ""


def test_help_shows_an_example() -> None:
    result = CliRunner().invoke(cli, ["exponent", "--help"])
    assert "\n    ammup exponent resnet --depths" in result.output  # on a line of its own


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError("depth=0 is none"), 2, "Error: depth=0 is none\n"),
        (FileNotFoundError(2, "No such file", "x.db"), 2, "Error: [Errno 2] No such file: 'x.db'\n"),
        (torch.OutOfMemoryError("tried to allocate 80 GiB\nof 79"), 2, "not enough memory (tried to allocate 80 GiB)"),
        (MemoryError(), 2, "not enough memory (MemoryError); take fewer images"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory (DefaultCPUAllocator"),
        (KeyError("slope"), 3, "Error: an error inside ammup: KeyError: 'slope'; `ammup --debug"),
    ],
)
def test_an_error_is_one_line_and_its_traceback_is_shown_on_request(
    error: Exception, code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("ammup.experiments.analysis.read_sweep", fail)
    quiet = CliRunner().invoke(cli, ["fit", "runs.db"])
    assert (quiet.exit_code, quiet.stdout) == (code, "")
    assert told in quiet.stderr
    assert len(quiet.stderr.splitlines()) == 1
    shown = CliRunner().invoke(cli, ["--debug", "fit", "runs.db"])
    assert shown.exit_code == code
    assert "Traceback" in shown.stderr
    assert "in fail\n" in shown.stderr
