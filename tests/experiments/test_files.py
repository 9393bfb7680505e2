"""Experiment files with variants and profiles, and the experiments that come with ammup."""

import math
import re
from pathlib import Path

import pytest

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.files import read_experiment, read_experiments
from ammup.experiments.shipped import SHIPPED, described, shipped

TEXT = """
name = "demo"
model = {factory = "cnn", arguments = {width = 64, kernel = 5}}
data = {source = "synthetic"}
grid = {depths = [3, 4, 5], seeds = 3}

[[segments]]
anchors = [3, 4]
predict = [5]

[variants.relu]
[variants.gelu]
name = "smooth"
model = {arguments = {activation = "gelu"}}

[profiles.small]
model = {arguments = {width = 8}}
grid = {depths = [3]}
segments = []
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "demo.toml"
    path.write_text(TEXT)
    return path


def test_variant_and_profile_override_the_base_settings(path: Path) -> None:
    relu, gelu = read_experiments(path, profile="small")
    assert (relu.name, gelu.name) == ("demo-relu-small", "smooth-small")
    assert relu.model.arguments == {"width": 8, "kernel": 5}
    assert gelu.model.arguments == {"width": 8, "kernel": 5, "activation": "gelu"}
    assert (gelu.grid.depths, gelu.grid.seeds, gelu.segments) == ((3,), 3, ())
    full = read_experiment(path, variant="gelu")
    assert (full.name, full.model.arguments["width"], len(full.segments)) == ("smooth", 64, 1)


def test_changes_override_variant_and_profile_in_every_variant(path: Path) -> None:
    experiments = read_experiments(path, profile="small", changes=["model.arguments.width=2", "grid.seeds=1"])
    assert [(one.model.arguments["width"], one.grid.seeds) for one in experiments] == [(2, 1), (2, 1)]


def test_a_file_without_variants_is_one_experiment(tmp_path: Path) -> None:
    path = tmp_path / "plain.toml"
    path.write_text(TEXT[: TEXT.index("[variants")])
    assert read_experiment(path) == Experiment.from_toml(path.read_text())
    with pytest.raises(InputError, match=r"profile 'small'.*no profiles"):
        read_experiment(path, profile="small")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "tiny"}, r"demo\.toml: .*profile 'tiny'.*small"),
        ({"variant": "tanh"}, r"variant 'tanh'.*relu, gelu"),
        ({}, r"has 2 variants \(demo-relu, smooth\); choose one with variant="),
        ({"variant": "relu", "changes": ["grid.seed=3"]}, r"demo\.toml: grid\.seed: unknown setting"),
    ],
)
def test_unknown_names_and_settings_are_reported(path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_experiment(path, **arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "invalid TOML"),
        (b"\xff\xfe", "utf-8"),
        (
            TEXT.replace("[variants.relu]", "[variants]\nrelu = 3\n[variants.x]").encode(),
            r"variants.*\[variants\.small\]",
        ),
        (b"profiles = 3", r"profiles.*\[profiles\.small\]"),
        (b'[profiles.small]\nname = "x"', "model: is missing"),
    ],
)
def test_a_file_that_is_not_an_experiment_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"bad\\.toml.*{message}"):
        read_experiments(path)


def test_a_missing_file_and_an_unknown_name_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        read_experiments(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match=r"unknown experiment 'cnn-relu-cifar'; nearest of .*cnn-relu-cifar10"):
        read_experiments(Path("cnn-relu-cifar"))


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("profile", [None, "small"])
def test_every_shipped_experiment_can_be_read_with_and_without_the_small_profile(
    name: str, profile: str | None
) -> None:
    for one in read_experiments(Path(name), profile=profile):
        assert Experiment.from_toml(one.to_toml()) == one
        assert (one.training.epochs, one.training.momentum) == (1, 0)
        if name != "resnet-readings-cifar10":  # not an experiment of the paper
            assert one.grid.learning_rates == pytest.approx([10 ** (-4 + 5 * i / 39) for i in range(40)])  # section 4.1
            assert len(one.grid.depths) >= 5
        assert {d for s in one.segments for d in (*s.anchors, *s.predict)} <= set(one.grid.depths)
        assert one.short_run is not None
        if one.data.train is not None:
            assert max(one.short_run.steps) < math.ceil(one.data.train / one.training.batch_size)
        if profile == "small" and name != "cnn-resolution-cifar10":
            assert one.data.image_size == 16
        if profile == "small" and name != "cnn-widths-cifar10":
            assert one.model.arguments["width"] == 16


def test_every_figure_of_the_paper_has_a_file() -> None:
    descriptions = " ".join(described().values())
    for figure in ("Fig. 2(a)", "Fig. 2(b)", "Fig. 3", "Fig. 4", "Fig. 5", "Figs. 6 and 7", "Fig. 8", "Figs. 9 and 10"):
        assert figure in descriptions
    assert descriptions.count("ablations") == 4


def test_the_same_setup_has_the_same_key_in_every_file() -> None:
    keys_of: dict[str, set[str]] = {}
    for name in shipped():
        for one in read_experiments(Path(name)):
            keys_of.setdefault(one.name, set()).add(one.key)
    assert {name for name, keys in keys_of.items() if len(keys) > 1} == set()
    (plain,) = keys_of["cnn-relu-cifar10"]
    assert plain in {key for name, keys in keys_of.items() if name.startswith("cnn-widths") for key in keys}


def test_every_shipped_file_lists_what_the_paper_does_not_state() -> None:
    for name in shipped():
        text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
        assert re.search(r"^# Not stated", text, re.MULTILINE), name
        assert len(text.splitlines()[0]) <= 120
