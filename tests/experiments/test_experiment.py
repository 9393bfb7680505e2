"""Experiments in TOML, and the keys of their cells."""

from typing import get_type_hints

import pytest

from ammup.errors import InputError
from ammup.experiments.changes import LISTS
from ammup.experiments.experiment import Experiment, ShortRun, Source
from ammup.experiments.grid import Grid
from ammup.training.runs import Training

TEXT = """
name = "demo"

[model]
factory = "cnn"
arguments = {width = 16, kernel = [5, 3]}

[data]
source = "~/somewhere/cifar10"
image_size = 16

[grid]
depths = [3, 4]
lrs = {points = 5}
seeds = 2

[[segments]]
anchors = [3, 4]
predict = [6]
"""


def _keys(*changes: str) -> set[str]:
    return {cell.key for cell in Experiment.from_toml(TEXT, changes=changes).cells()}


def test_toml_round_trip() -> None:
    experiment = Experiment.from_toml(TEXT)
    assert Experiment.from_toml(experiment.to_toml()) == experiment
    assert experiment.model.arguments == {"width": 16, "kernel": [5, 3]}
    assert experiment.grid.learning_rates == (1e-4, 0.00177827941004, 0.0316227766017, 0.56234132519, 10.0)


def test_defaults_are_those_of_the_paper() -> None:
    experiment = Experiment.from_toml(TEXT, changes=["grid={depths=[3]}"])
    assert len(experiment.grid.learning_rates) == 40
    assert experiment.grid.learning_rates[0] == 1e-4
    assert experiment.grid.learning_rates[-1] == 10
    training = experiment.training
    assert (training.batch_size, training.epochs, training.momentum, training.weight_decay) == (128, 1, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        "grid.seeds=3",
        "grid.depths=[3, 4, 5]",
        "grid.lrs={points=9}",  # every second value is new
        "grid.lrs=[1e-4, 0.00177827941004, 0.0316227766017, 0.56234132519, 1e1, 20.0]",
        "name=another",
        "segments=[]",
        "short_run={lr = 0.1, steps = [0]}",
        'strategy="stacked"',
        "data.source=/elsewhere/cifar10",
    ],
)
def test_keys_do_not_change_when_the_grid_grows_or_the_data_move(change: str) -> None:
    assert _keys() <= _keys(change)


@pytest.mark.parametrize(
    "change",
    [
        "model.arguments.width=17",
        "model.factory=resnet",
        "data.source=/elsewhere/cifar100",
        "data.image_size=8",
        "data.seed=1",
        "training.batch_size=64",
        'training.dtype="bfloat16"',
        "training.momentum=0.9",
        "grid.depths=[5]",
        "grid.seeds=[7]",
        "grid.lrs=[0.5]",
    ],
)
def test_settings_that_change_a_run_change_its_key(change: str) -> None:
    assert not _keys() & _keys(change)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([], "demo"),
        (["grid.seeds=5", "grid.depths=3"], "demo"),  # cells of the same experiment
        (["strategy=loop", "segments=[]", "paper_slope=-1.0"], "demo"),
        (["model.arguments.width=16", "training.epochs=1"], "demo"),  # the values of the text and the default
        (["data.source=/elsewhere/cifar10"], "demo"),  # the same key
        (["model.arguments.width=32"], "demo+width=32"),
        (["training.epochs=2", "model.arguments.width=32"], "demo+width=32+training.epochs=2"),
        (["model.arguments.width=32", "training.epochs=2"], "demo+width=32+training.epochs=2"),
        (["model.arguments.width=64", "model.arguments.width=32"], "demo+width=32"),
        (["data.source=synthetic", "data.image_size=8"], "demo+data.source=synthetic+data.image_size=8"),
        (["model.arguments.kernel=3,3"], "demo+kernel=3,3"),
        (["model.arguments={kernel = [5, 3]}"], "demo+width=default"),
        (["model.arguments.text=a b"], "demo+text=a-b"),
        (["name=mine", "model.arguments.width=32"], "mine"),
    ],
)
def test_changes_of_what_is_trained_are_added_to_the_name(changes: list[str], name: str) -> None:
    changed = Experiment.from_toml(TEXT, changes=changes)
    assert changed.name == name
    assert Experiment.from_toml(changed.to_toml()) == changed
    assert (changed.name in ("demo", "mine")) == (changed.key == Experiment.from_toml(TEXT).key or name == "mine")


def test_a_long_list_of_changes_is_shortened_to_a_key() -> None:
    changes = [f"model.arguments.{'argument' * 3}{number}=1" for number in range(4)]
    changed = Experiment.from_toml(TEXT, changes=changes)
    assert changed.name == f"demo+{changed.key[:8]}"


def test_a_text_that_only_changes_complete_gets_a_name_for_each_change() -> None:
    text = TEXT.replace('factory = "cnn"', "")
    changes = (["model.factory=cnn"], ["model.factory=mlp"], ["model.factory=cnn", "training.epochs=2"])
    assert [Experiment.from_toml(text, changes=one).name for one in changes] == [
        "demo+model.factory=cnn",
        "demo+model.factory=mlp",
        "demo+model.factory=cnn+training.epochs=2",
    ]


@pytest.mark.parametrize(
    ("change", "depths"),
    [("3,4,6", (3, 4, 6)), ("3, 4, 6", (3, 4, 6)), ("[3, 4, 6]", (3, 4, 6)), ("3", (3,))],
)
def test_a_list_is_accepted_without_brackets(change: str, depths: tuple[int, ...]) -> None:
    assert Experiment.from_toml(TEXT, changes=[f"grid.depths={change}"]).grid.depths == depths


def test_other_lists_are_accepted_without_brackets() -> None:
    changes = ["grid.lrs=1e-3,0.1", "grid.seeds=0,3", "short_run.lr=0.1", "short_run.steps=0,10"]
    experiment = Experiment.from_toml(TEXT, changes=changes)
    assert experiment.grid.lrs == (1e-3, 0.1)
    assert experiment.grid.seeds == (0, 3)
    assert experiment.short_run is not None
    assert experiment.short_run.steps == (0, 10)
    single = Experiment.from_toml(TEXT, changes=["grid.lrs=1", *changes[2:3], "short_run.steps=0", "grid.seeds=3"])
    assert (single.grid.lrs, single.short_run.steps, single.grid.seeds) == ((1.0,), (0,), 3)
    assert Experiment.from_toml(TEXT, changes=["model.arguments.text=a,b"]).model.arguments["text"] == "a,b"
    assert Experiment.from_toml(TEXT, changes=["model.arguments.text='3,4'"]).model.arguments["text"] == "3,4"


def test_every_setting_that_is_only_a_list_accepts_one_number() -> None:
    tables = {"grid": Grid, "short_run": ShortRun, "training": Training, "data": Source}
    hints = {f"{table}.{name}": hint for table, kind in tables.items() for name, hint in get_type_hints(kind).items()}
    numbers = ("tuple[int", "tuple[float")
    lists = {path for path, hint in hints.items() if "int |" not in str(hint) and any(n in str(hint) for n in numbers)}
    assert lists == set(LISTS)


def test_keys_are_those_of_the_previous_release() -> None:
    """If this key changes, stored runs are no longer found: increase KEY_VERSION and mention it in the changelog."""
    cell = next(Experiment.from_toml(TEXT).cells())
    assert (cell.depth, cell.lr, cell.seed) == (4, 1e-4, 0)
    assert cell.key == "fcdf40bd3bf713f0c9b397d905805352"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grid.seeds=x", "grid.seeds: .*valid integer .*'x'"),
        ("grid.seed=3", "grid.seed: unknown setting"),
        ("trainig.epochs=3", "trainig: unknown setting"),
        ("training.epochs=0", "training: epochs=0 must be at least 1"),
        ('training.epochs="3"', "training.epochs: .*valid integer"),
        ("training.momentum=nan", "training: momentum=nan"),
        ('training.dtype="half"', "unknown dtype='half'; expected one of: float32"),
        ("grid.depths=[]", "grid: depths"),
        ("grid.depths=[3, 3]", "contains a repeated depth"),
        ("grid.depths=[1.5]", "grid.depths.0: .*valid integer"),
        ("grid.lrs=[]", "one or more distinct learning rates"),
        ("grid.lrs=[0.1, -1]", "positive and finite"),
        ("grid.lrs={low=1, high=0.1}", "low=1.0, high=0.1"),
        ("grid.lrs={points=0}", "points=0"),
        ("strategy=quick", "unknown strategy='quick'; expected one of: auto, loop, stacked"),
        ("segments=[{anchors=[3], predict=[4]}]", "give at least 2"),
        ("name=", "name"),
        ("grid", "'grid'.*TABLE.NAME=VALUE"),
        ("name.x=3", "name is not a table"),
    ],
)
def test_an_invalid_setting_is_reported_with_its_name(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Experiment.from_toml(TEXT, changes=[change])


def test_all_invalid_settings_are_reported_together() -> None:
    with pytest.raises(InputError, match=r"grid\.seed: .*; training\.epoch: "):
        Experiment.from_toml(TEXT, changes=["grid.seed=3", "training.epoch=1"])


@pytest.mark.parametrize("text", ["name = ", "a = 1\na = 2", "\x00"])
def test_invalid_toml_is_reported(text: str) -> None:
    with pytest.raises(InputError, match="invalid TOML"):
        Experiment.from_toml(text)


def test_missing_tables_are_reported_by_name() -> None:
    with pytest.raises(InputError, match=r"model: is missing; data: is missing; grid: is missing"):
        Experiment.from_toml('name = "x"')


@pytest.mark.parametrize(
    ("short_run", "message"),
    [
        ("{lr = 0.0, steps = [0]}", "learning rate"),
        ("{lr = 0.1, steps = []}", "distinct step numbers"),
        ("{lr = 0.1, steps = [3, 3]}", "distinct step numbers"),
        ("{lr = 0.1, steps = [-1]}", "distinct step numbers"),
        ("{lr = 0.1, steps = [0], draws = -1}", "at least 0"),
    ],
)
def test_an_invalid_short_run_is_rejected(short_run: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Experiment.from_toml(TEXT, changes=[f"short_run={short_run}"])
