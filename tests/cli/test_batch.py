"""The options shared by several verbs: parsing, loading, and the command line that repeats them."""

import json
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from command_line import assert_refused, run
from images import write_images

import ammup
from ammup.cli.batch import BatchOptions, batch_options

QUICK = ["--depths", "2,4", "--width", "8", "--seeds", "3", "--batch-size", "4"]


def _parse(*arguments: str) -> BatchOptions:
    received = []

    @click.command()
    @batch_options
    def command(batch: BatchOptions) -> None:
        received.append(batch)

    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output
    return received[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1.5", -1.5),
        ("True", True),
        ("None", None),
        ("(1, 3)", (1, 3)),
        ("[(0, 0), (1, 0)]", [(0, 0), (1, 0)]),
        ("zero", "zero"),
        ("mean-field", "mean-field"),
        ("'3'", "3"),
        ("a=b", "a=b"),
        ("", ""),
        ("{[]: 1}", "{[]: 1}"),  # a literal of a dict whose key is not hashable
    ],
)
def test_a_setting_is_a_python_literal_or_a_plain_string(text: str, value: object) -> None:
    settings = _parse("--set", f"name={text}").settings
    assert settings == {"name": value}
    assert type(settings["name"]) is type(value)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--width", "8"],
        ["--data", "images.npz", "--image-size", "16", "--batch-size", "4"],
        ["--loss", "mse", "--part", "label", "--labels", "drawn"],
        ["--set", "kernel=(1, 3)", "--set", "padding=zero", "--device", "cpu"],
    ],
)
def test_options_that_differ_from_their_defaults_are_repeated(words: list[str]) -> None:
    parsed = _parse(*words)
    assert sorted(parsed.words) == sorted(words)
    assert _parse(*parsed.words) == parsed
    defaults = ["--data", "synthetic", "--loss", "cross_entropy", "--part", "total"]
    assert _parse(*defaults).words == []


@pytest.mark.parametrize(
    "text",
    ["3", "'3'", '"-1.5"', "'None'", "' True'", "\"'zero'\"", "'(1, 3)'", "zero", "", "it's", "[1, 'a b']", "1e999",
     "(-1e999, 2)", "{'a': 'x=y'}", "b'3'"],
)  # fmt: skip
def test_a_setting_keeps_its_value_and_type_when_it_is_repeated(text: str) -> None:
    parsed = _parse("--set", f"x={text}")
    repeated = _parse(*shlex.split(shlex.join(parsed.words)))
    assert repeated == parsed
    assert type(repeated.settings["x"]) is type(parsed.settings["x"])


@pytest.mark.parametrize(("family", "side"), [("cnn", 4), ("their_nets:make_net", 8)])
def test_synthetic_images_are_4_pixels_wide_for_built_in_families_and_8_for_others(
    family: str, side: int, project: Path
) -> None:
    batch = _parse().load(family, progress=False)
    inputs, labels = ammup.load_data("synthetic", image_size=side).batch(32)
    assert torch.equal(batch.spec.inputs, inputs)
    assert torch.equal(batch.spec.targets, labels)
    assert _parse("--image-size", "5").load(family, progress=False).spec.inputs.shape[2:] == (5, 5)


def test_images_of_a_folder_are_not_resized_and_a_small_folder_is_one_batch(tmp_path: Path) -> None:
    write_images(tmp_path / "pets", size=(6, 6))
    batch = _parse("--data", str(tmp_path / "pets"), "--width", "4").load("cnn", progress=False)
    assert batch.spec.inputs.shape == (11, 3, 6, 6)  # 12 images, of which one is for validation
    assert batch.heading(3) == "cnn on pets: 11 images of 3×6×6, cross_entropy, weight draws at each depth: 3"
    net = batch.factory(2, seed=0)
    assert net(batch.spec.inputs).shape == (11, 2)
    assert net.layers[0].weight.shape[:2] == (4, 3)
    one = _parse("--data", str(tmp_path / "pets"), "--batch-size", "1").load("cnn", progress=False)
    assert ": 1 image of 3×6×6," in one.heading(3)


def test_a_setting_overrides_the_width() -> None:
    batch = _parse("--width", "8", "--set", "width=6").load("mlp", progress=False)
    assert batch.factory(2, seed=0).readout.weight.shape[1] == 6


def test_settings_are_passed_to_the_factory() -> None:
    plain = json.loads(run("exponent", "cnn", *QUICK, "--json").stdout)
    zero = json.loads(
        run("exponent", "cnn", *QUICK, "--json", "--set", "padding=zero", "--set", "kernel=(1, 3)").stdout
    )
    assert plain["slope"] != zero["slope"]


def test_labels_come_from_the_data_for_cross_entropy_and_are_drawn_for_mse() -> None:
    slopes = {
        (loss, labels): json.loads(run("exponent", "cnn", *QUICK, "--json", "--loss", loss, *labels).stdout)["slope"]
        for loss in ("cross_entropy", "mse")
        for labels in ((), ("--labels", "data"), ("--labels", "drawn"))
    }
    assert slopes["cross_entropy", ()] == slopes["cross_entropy", ("--labels", "data")]
    assert slopes["cross_entropy", ()] != slopes["cross_entropy", ("--labels", "drawn")]
    assert slopes["mse", ()] == slopes["mse", ("--labels", "drawn")] != slopes["mse", ("--labels", "data")]


def _broken_image(root: Path) -> Path:
    write_images(root)
    image = root / "train" / "cat" / "0.png"
    image.write_bytes(image.read_bytes()[:50])
    return root


def _nan_images(root: Path) -> Path:
    np.savez(root / "a.npz", train_images=np.full((9, 8, 8), np.nan), train_labels=np.zeros(9, int))
    return root / "a.npz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depths", "four"], "'four'"),
        (["--depths", ""], "''"),
        (["--depths", "2,4.5"], "'2,4.5'"),
        (["--set", "kernel=4", "--set", "padding=zero"], "padding='zero'"),
        (["--set", "kernel"], "NAME=VALUE"),
        (["--set", "2=3"], "NAME=VALUE"),
        (["--set", "colour=red"], "'colour'"),
        (["--data", "imagenet-22k"], "synthetic, cifar10, cifar100"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--data", _broken_image], "0.png"),
        (["--data", _nan_images], "uint8"),
        (["--data", lambda root: root], "train/<class>"),
        (["--width", "0"], "0 is not in the range"),
        (["--image-size", "0"], "0 is not in the range"),
        (["--labels", "none"], "'data', 'drawn'"),
        (["--part", "all"], "'total', 'label', 'output'"),
        (["--loss", "hinge"], "'cross_entropy', 'mse'"),
        (["--device", "abacus"], "'abacus'"),
        (["--batch-size", "100000"], "batch size 100000"),
    ],
)
def test_invalid_input_is_a_one_line_error(arguments: list, message: str, tmp_path: Path) -> None:
    given = [a if isinstance(a, str) else str(a(tmp_path)) for a in arguments]
    pairs = zip(QUICK[::2], QUICK[1::2], strict=True)
    quick = [word for pair in pairs if pair[0] not in given for word in pair]
    assert_refused(run("exponent", "cnn", *quick, *given), message)
