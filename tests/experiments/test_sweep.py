"""Sweeps: executors, resuming, larger grids, provenance, and errors."""

import json
import subprocess
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ammup
from ammup.errors import InputError
from ammup.experiments import sweep as sweeps
from ammup.experiments.block import Block, Outcome
from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps", "strategy"]


def _values(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[VALUES]


def test_a_sweep_gives_the_runs_of_train_replicas(small: Experiment, swept: pd.DataFrame) -> None:
    data = ammup.load_data("synthetic", image_size=8, train=512, validation=128)
    lrs = small.grid.learning_rates
    for depth in (2, 3):
        expected = ammup.train_replicas(
            lambda depth, seed: ammup.cnn(depth, width=4, seed=seed),
            depth,
            lrs=lrs,
            seeds=[0, 1],
            data=data,
            batch_size=64,
            strategy="loop",
        )
        actual = swept[swept["depth"] == depth]
        for name in ("lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps"):
            np.testing.assert_array_equal(actual[name], [getattr(run, name) for run in expected], err_msg=name)
    assert swept["diverged"].tolist() == [False, False, False, True] * 4


@pytest.mark.slow
def test_results_are_bit_identical_with_one_and_two_processes(
    small: Experiment, swept: pd.DataFrame, tmp_path: Path
) -> None:
    two = run_sweep(small, store=tmp_path / "two.db", workers=2)
    pd.testing.assert_frame_equal(_values(swept), _values(two), check_exact=True)
    assert set(two["threads"]) == {1}


def test_a_sweep_runs_on_any_executor(small: Experiment, swept: pd.DataFrame, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        other = run_sweep(small, store=tmp_path / "other.db", executor=executor)
    pd.testing.assert_frame_equal(_values(swept), _values(other), check_exact=True)


class _SimultaneousExecutor(Executor):
    """An executor that completes all futures simultaneously, each from its own thread."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.results = jobs, []

    def submit(self, fn, /, *args):
        future: Future = Future()
        self.results.append((future, fn(*args)))
        if len(self.results) == self.jobs:
            barrier = threading.Barrier(self.jobs)
            for one, result in self.results:
                threading.Thread(target=lambda one=one, result=result: (barrier.wait(), one.set_result(result))).start()
        return future


def test_simultaneous_results_of_64_workers_are_all_stored(small: Experiment, tmp_path: Path) -> None:
    large = replace(small, grid=replace(small.grid, lrs=tuple(0.01 * 1.2**i for i in range(16))))
    large = replace(large, data=replace(large.data, train=128, validation=64))
    expected = run_sweep(large, store=tmp_path / "one.db", workers=1)
    simultaneous = run_sweep(large, store=tmp_path / "simultaneous.db", executor=_SimultaneousExecutor(64))
    assert len(simultaneous) == 64
    pd.testing.assert_frame_equal(_values(simultaneous), _values(expected), check_exact=True)


def test_strategies_agree(small: Experiment, swept: pd.DataFrame, tmp_path: Path) -> None:
    other = run_sweep(replace(small, strategy="stacked"), store=tmp_path / "other.db", workers=1)
    assert set(other["strategy"]) == {"stacked"}
    np.testing.assert_allclose(swept["val_loss"], other["val_loss"], rtol=1e-3)
    assert swept["diverged"].tolist() == other["diverged"].tolist()


def test_only_missing_cells_are_run(small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, int, float]] = []
    original = sweeps.run_block

    def recording(block: Block) -> Outcome:
        ran.extend((block.depth, block.seed, lr) for lr in block.lrs)
        return original(block)

    monkeypatch.setattr(sweeps, "run_block", recording)
    store = tmp_path / "runs.db"
    first = run_sweep(small, store=store, workers=1)
    assert len(ran) == 16
    run_sweep(small, store=store, workers=1)
    assert len(ran) == 16
    grown = Experiment.from_toml(small.to_toml(), changes=["grid.seeds=3", "grid.depths=[2, 3, 4]"])
    runs = run_sweep(grown, store=store, workers=1)
    assert len(runs) == 36
    assert len(ran) == 36
    same = runs[runs["key"].isin(first["key"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, first)
    assert len(run_sweep(small, store=store, workers=1)) == 16  # the cells of this grid, not all stored cells


def test_the_strategy_is_timed_once_and_stored(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[int] = []
    original = sweeps.time_strategies
    monkeypatch.setattr(sweeps, "time_strategies", lambda *a: trials.append(1) or original(*a))
    store = tmp_path / "runs.db"
    auto = replace(small, strategy="auto")
    runs = run_sweep(auto, store=store, workers=1)
    grown = Experiment.from_toml(auto.to_toml(), changes=["grid.seeds=3"])
    run_sweep(grown, store=store, workers=1)
    assert trials == [1]
    with Store(store, mode="read") as opened:
        stored = opened.experiment(auto.key)
    assert stored is not None
    assert stored.strategy in ("loop", "stacked")
    assert set(runs["strategy"]) == {stored.strategy}
    assert stored.choice is not None
    assert stored.choice["loop"] > 0


def test_every_row_has_its_provenance(small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets.py").write_text("x = 1")
    for command in (["init", "-q"], ["add", "nets.py"], ["commit", "-q", "-m", "x"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    monkeypatch.chdir(tmp_path)
    one_cell = ["grid.depths=[2]", "grid.lrs=[0.03]"]
    clean = run_sweep(
        Experiment.from_toml(small.to_toml(), changes=[*one_cell, "grid.seeds=1"]), store="runs.db", workers=1
    ).iloc[0]
    (tmp_path / "nets.py").write_text("x = 2")
    grown = Experiment.from_toml(small.to_toml(), changes=[*one_cell, "grid.seeds=[2]"])
    dirty = run_sweep(grown, store="runs.db", workers=1).iloc[0]
    assert clean["commit"] == dirty["commit"] == commit
    assert (clean["dirty"], dirty["dirty"]) == (False, True)
    assert json.loads(clean["versions"])["torch"] == json.loads(clean["worker_versions"])["torch"]
    assert clean["device"]
    assert clean["threads"] >= 1
    assert (clean["dtype"], clean["strategy"]) == ("float32", "loop")
    assert clean["seconds"] > 0
    assert clean["command"]


def test_different_data_with_the_same_name_are_rejected(small: Experiment, tmp_path: Path) -> None:
    def write(folder: Path, seed: int) -> Experiment:
        rng = np.random.default_rng(seed)
        folder.mkdir()
        for split, n in (("train", 64), ("val", 32)):
            images, labels = rng.integers(0, 256, (n, 8, 8, 3), np.uint8), rng.integers(0, 3, n)
            arrays = {f"{split}_images": images, f"{split}_labels": labels}
            parts = dict(np.load(folder / "data.npz")) if split == "val" else {}
            np.savez(folder / "data.npz", **arrays, **parts)
        changes = [f"data={{source='{folder / 'data.npz'}'}}", f"grid.seeds=[{seed}]"]
        return Experiment.from_toml(small.to_toml(), changes=changes)

    store = tmp_path / "runs.db"
    first, second = write(tmp_path / "a", 0), write(tmp_path / "b", 1)
    assert first.key == second.key
    run_sweep(first, store=store, workers=1)
    with pytest.raises(InputError, match="do not match the digest"):
        run_sweep(second, store=store, workers=1)
    with Store(store, mode="read") as opened:
        assert len(opened.keys(first.key)) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.factory=vgg", "unknown family 'vgg'"),
        ("model.factory=no_such.module:net", "cannot be imported"),
        ("model.arguments.wdith=3", "factory failed at depth 3: .*wdith"),
        ("data.source=/nowhere", "unknown data source"),
        ("data.validation=0", "no validation images"),
        ("data.train=100000", "train=100000"),
    ],
)
def test_an_experiment_that_cannot_be_run_is_reported(
    small: Experiment, tmp_path: Path, change: str, message: str
) -> None:
    experiment = Experiment.from_toml(small.to_toml(), changes=[change])
    with pytest.raises(InputError, match=message):
        run_sweep(experiment, store=tmp_path / "runs.db", workers=1)


def test_a_factory_of_the_user_runs_in_the_workers(
    small: Experiment, swept: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets.py").write_text(
        "import ammup\n\ndef net(depth, seed, channels):\n    return ammup.cnn(depth, width=channels, seed=seed)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = "model={factory='my_nets:net', arguments={channels=4}}"
    mine = Experiment.from_toml(small.to_toml(), changes=[model])
    ours = run_sweep(mine, store="b.db", workers=2)
    np.testing.assert_array_equal(ours["val_loss"], swept["val_loss"])


@pytest.mark.slow
def test_the_sweep_stops_if_workers_crash_repeatedly(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text("import os\n\ndef net(depth, seed):\n    os.kill(os.getpid(), 9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    deadly = Experiment.from_toml(small.to_toml(), changes=["model={factory='deadly:net'}"])
    with pytest.raises(InputError, match=r"workers crashed repeatedly.*--workers"):
        run_sweep(deadly, store="runs.db", workers=2)
    with Store(Path("runs.db"), mode="write"):  # the lock has been released
        pass


def test_finished_cells_are_stored_if_a_later_training_step_raises(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brittle.py").write_text(
        "import ammup\n\n"
        "class Brittle(ammup.models.nets.CNN):\n"
        "    def forward(self, x):\n"
        "        z = super().forward(x)\n"
        "        assert not z.isnan().any(), 'no NaN, please'\n"
        "        return z\n\n"
        "def net(depth, seed):\n"
        "    model = ammup.cnn(depth, width=4, seed=seed)\n"
        "    model.__class__ = Brittle\n"
        "    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    brittle = Experiment.from_toml(small.to_toml(), changes=["model={factory='brittle:net'}"])
    with pytest.raises(InputError, match=r"training failed at depth 3, seed 1, learning rates 1e\+30: .*no NaN"):
        run_sweep(brittle, store="runs.db", workers=1)
    with Store(Path("runs.db"), mode="read") as opened:
        assert len(opened.keys(brittle.key)) == 7  # the largest learning rate of seed 0 diverged without NaN


def test_toml_lists_are_converted_to_tuples_for_the_factory(small: Experiment, tmp_path: Path) -> None:
    for kernel in ("[3, 1]", "[[0, 0], [0, 1]]", "3"):
        experiment = Experiment.from_toml(
            small.to_toml(), changes=[f"model.arguments.kernel={kernel}", "grid={depths=[2], lrs=[0.1]}"]
        )
        assert len(run_sweep(experiment, store=tmp_path / "runs.db", workers=1)) == 1


def test_deeper_nets_are_first(small: Experiment) -> None:
    depths = [cell.depth for cell in replace(small).cells()]
    assert depths == sorted(depths, reverse=True)
