"""Content keys: those of existing experiments do not change, and every training setting is part of them."""

import json
from pathlib import Path

import pytest

from ammup import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.files import read_experiments
from ammup.experiments.shipped import shipped

# Recorded before the training settings below existed. Stored runs are found by these keys.
RECORDED = json.loads((Path(__file__).parent / "keys.json").read_text(encoding="utf-8"))

TEXT = """
name = "demo"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "some.module:load"}
grid = {depths = [2, 3], lrs = [0.1]}
"""


def test_keys_of_the_shipped_experiments_are_those_recorded() -> None:
    experiments = [
        one for name in shipped() for profile in (None, "small") for one in read_experiments(name, profile=profile)
    ]
    assert {one.name: one.key for one in experiments if one.name in RECORDED} == RECORDED


SETTINGS = [
    "training.optimizer.name=AdamW",
    "training.optimizer={name='AdamW', arguments={weight_decay=0.1}}",
    "training.schedule.name=CosineAnnealingLR",
    "training.schedule={name='CosineAnnealingLR', per='epoch'}",
    "training.warmup=3",
    "training.label_smoothing=0.1",
    "training.clip_norm=1.0",
    "training.augmentation=[{name='RandomHorizontalFlip'}]",
    "training.augmentation=[{name='RandomHorizontalFlip', arguments={p=0.4}}]",
    "training.epochs=2",
    "data.columns=['a', 'b']",
    "data.arguments={root='x'}",
]


def test_every_setting_changes_the_key_and_is_written_to_toml() -> None:
    experiments = [Experiment.from_toml(TEXT), *(Experiment.from_toml(TEXT, changes=[one]) for one in SETTINGS)]
    assert len({one.key for one in experiments}) == len(experiments)
    assert len({one.name for one in experiments}) == len(experiments)
    for one in experiments:
        assert Experiment.from_toml(one.to_toml()) == one


def test_settings_without_effect_do_not_change_the_key() -> None:
    changes = ["training.warmup=0", "training.label_smoothing=0.0", "training.augmentation=[]"]
    assert Experiment.from_toml(TEXT, changes=changes).key == Experiment.from_toml(TEXT).key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.optimizer=AdamW"], "training.optimizer: .*'AdamW' was given"),
        (["training.optimizer.nme=AdamW"], "training.optimizer.*name: is missing"),
        (["training.schedule={name='StepLR', per='day'}"], "unknown per='day'"),
        (["training.optimizer.name=Adam", "strategy=stacked"], "strategy='stacked' is for SGD"),
        (
            ["training.optimizer.name=Adam", "short_run={lr=0.1, steps=[0]}"],
            "short_run measures steps of SGD, and training.optimizer is Adam",
        ),
        (["data.columns=['a']"], "data.columns"),
    ],
)
def test_invalid_settings_are_rejected_when_the_file_is_read(changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Experiment.from_toml(TEXT, changes=changes)
