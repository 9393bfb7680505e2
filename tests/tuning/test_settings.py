"""Differences between the settings of base and target."""

import pytest

from ammup.errors import InputError
from ammup.tuning.settings import RunSetting, decay_advice, setting_change

SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128, "schedule": "cosine"}


def test_equal_settings_change_nothing() -> None:
    change = setting_change(RunSetting(**SGD), RunSetting(**SGD))
    assert (change.factor, change.spread, change.notes) == (1.0, 0.0, ())
    assert setting_change(RunSetting(), RunSetting()).notes == ()


@pytest.mark.parametrize(("optimizer", "factor"), [("sgd", 4.0), ("adamw", 2.0)])
def test_batch_size(optimizer: str, factor: float) -> None:
    base = RunSetting(optimizer=optimizer, batch_size=64)
    change = setting_change(base, RunSetting(optimizer=optimizer, batch_size=256))
    assert change.factor == pytest.approx(factor)
    assert "batch size 64 → 256: factor" in change.notes[0]
    assert "arXiv" in change.notes[0]


def test_momentum() -> None:
    change = setting_change(RunSetting(**SGD | {"momentum": 0.0}), RunSetting(**SGD))
    assert change.factor == pytest.approx(0.1)
    assert change.spread == pytest.approx(1.2788, abs=1e-4)  # log10 of 1.9 / 0.1
    assert "the edge of stability changes by the factor 1.9" in change.notes[0]


def test_weight_decay_and_schedule_are_stated_but_change_nothing() -> None:
    change = setting_change(RunSetting(**SGD), RunSetting(**SGD | {"weight_decay": 0.0, "schedule": "constant"}))
    assert change.factor == 1.0
    assert [note.split(":")[0] for note in change.notes] == ["weight decay 0.0005 → 0.0", "schedule cosine → constant"]


@pytest.mark.parametrize(
    ("base", "target", "message"),
    [
        ({"optimizer": "sgd"}, {"optimizer": "adamw"}, "no rule relates their learning rates"),
        ({"batch_size": 64}, {}, "batch_size is stated for the base only"),
        ({"batch_size": 64}, {"batch_size": 128}, "state the optimizer"),
        ({"optimizer": "adamw", "momentum": 0.9}, {"optimizer": "adamw", "momentum": 0.8}, "only SGD has a rule"),
        ({"momentum": 0.9}, {"momentum": 1.0}, "a momentum of 1 or more does not train"),
    ],
)
def test_what_is_not_known_is_refused(base: dict[str, object], target: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        setting_change(RunSetting(**base), RunSetting(**target))  # type: ignore[arg-type]


def test_a_batch_size_is_a_number_of_samples() -> None:
    with pytest.raises(InputError, match="batch_size=0: expected an integer of at least 1"):
        RunSetting(batch_size=0)


def test_adamw_keeps_its_time_scale() -> None:
    advice = decay_advice(RunSetting(optimizer="adamw", weight_decay=0.1), 1e-3, 5e-4)
    assert advice is not None
    assert advice.startswith("weight decay 0.2 keeps the time scale")
    assert decay_advice(RunSetting(**SGD), 0.1, 0.05) is None
