"""A dry run rejects what the sweep rejects, with the same message, and writes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ammup.errors import InputError
from ammup.experiments.dry_run import dry_run
from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

TOML = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 512, validation = 128}
grid = {depths = [2, 3], lrs = [0.03, 0.1], seeds = 2}
training = {batch_size = 64}
short_run = {lr = 0.1, steps = [0, 3], draws = 3}
"""
NETS = """
from torch import nn
import ammup

def make(depth, seed=0):
    return ammup.cnn(depth, width=4, seed=seed)

class Fails(nn.Module):
    def __init__(self, when):
        super().__init__()
        self.net, self.when = ammup.cnn(2, width=4), when
    def forward(self, x):
        if self.when == "train" and self.training:
            raise RuntimeError("no training today")
        return self.net(x) if self.when != "shape" else self.net(x)[:, :3]

def in_training(depth, seed=0):
    return Fails("train") if depth == 2 else make(depth, seed)

def another_shape(depth, seed=0):
    return Fails("shape") if depth == 2 else make(depth, seed)
"""


def _message(call: Callable[..., object], *changes: str, **arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        call(Experiment.from_toml(TOML, changes=changes), **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        ["short_run.steps=0,350"],
        ["short_run.steps=8"],  # 512 images are 8 steps: 0 to 7
        ["data.source=nowhere"],
        ["data.train=100000000"],
        ["data.validation=0"],
        ["model.factory=nothing"],
        ["model.factory=nets_of_dry_run:absent", "model.arguments={}"],
        ["model.factory=nets_of_dry_run:another_shape", "model.arguments={}"],
        ["model.arguments.width=0"],
        ["model.arguments.size=4"],
    ],
)
def test_a_dry_run_rejects_what_the_sweep_rejects(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_dry_run.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    message = _message(dry_run, *changes, store=tmp_path / "dry.db", workers=1)
    assert not list(tmp_path.glob("dry.db*"))
    swept = _message(run_sweep, *changes, store=tmp_path / "runs.db", workers=1, progress=False)
    assert message.replace("depth 2", "depth 3") == swept.replace("depth 2", "depth 3")  # the sweep begins with 3


@pytest.mark.parametrize("store", ["absent/runs.db", "text.db"])
def test_a_dry_run_rejects_a_store_that_the_sweep_rejects(store: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, it is a text")
    messages = [_message(call, store=tmp_path / store, workers=1) for call in (dry_run, run_sweep)]
    assert messages[0] == messages[1]


def test_a_dry_run_rejects_a_store_to_which_another_sweep_writes(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store(path, mode="write"):
        messages = [_message(call, store=path, workers=1) for call in (dry_run, run_sweep)]
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"another process is writing to {path}; wait until it ends, or use another --store")
    dry_run(Experiment.from_toml(TOML), store=path, workers=1)  # the lock is free again, and stays free
    run_sweep(Experiment.from_toml(TOML, changes=["grid.depths=2"]), store=path, workers=1, progress=False)


def test_an_error_of_a_training_step_is_reported_with_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_dry_run.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    for extra in ([], ["short_run.draws=0", "short_run.seeds=0"]):
        message = _message(
            dry_run,
            "model={factory = 'nets_of_dry_run:in_training'}",
            *extra,
            store=tmp_path / "dry.db",
            workers=1,
        )
        assert "RuntimeError: no training today" in message
        assert "depth 2" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write read-only files")
def test_a_read_only_folder_is_rejected(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "is read-only" in _message(dry_run, store=tmp_path / "runs.db")


def test_other_data_than_those_of_the_store_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "runs.db"
    run_sweep(Experiment.from_toml(TOML, changes=["grid.seeds=1"]), store=store, workers=1, progress=False)
    before = store.read_bytes()
    monkeypatch.setattr("ammup.data.dataset.Data.digest", "another")
    message = _message(dry_run, store=store, workers=1)
    assert "do not match the digest" in message
    assert store.read_bytes() == before
    assert message == _message(run_sweep, store=store, workers=1)


def test_the_sweep_rejects_late_steps_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> None:
        raise AssertionError("the law was computed first")

    monkeypatch.setattr("ammup.experiments.measuring.finite_depth_lrs", measured)
    assert "steps=[350] of a short run" in _message(
        run_sweep, "short_run.steps=350", store=tmp_path / "runs.db", workers=1, progress=False
    )


def test_only_missing_work_costs(tmp_path: Path) -> None:
    store, experiment = tmp_path / "runs.db", Experiment.from_toml(TOML)
    first = dry_run(experiment, store=store, workers=1)
    assert first.table["cells"].tolist() == [4, 4]
    assert first.short_run_seconds > 0
    assert first.seconds > first.short_run_seconds
    assert 0 < first.core_share <= 1
    run_sweep(experiment, store=store, workers=1, progress=False)
    nothing = dry_run(experiment, store=store, workers=1)
    assert (len(nothing.table), nothing.seconds, nothing.flops) == (0, 0, 0)
    grown = dry_run(Experiment.from_toml(TOML, changes=["grid.seeds=3"]), store=store, workers=1)
    assert grown.table["cells"].tolist() == [2, 2]
    assert grown.short_run_seconds == 0  # the short runs do not depend on the grid's seeds
