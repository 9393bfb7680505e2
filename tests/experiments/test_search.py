"""Adaptive searches give the same runs as the full grid, and store which cells they left out."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
import torch

from ammup.errors import InputError
from ammup.experiments import search as searches
from ammup.experiments.analysis import law_of, read_sweep, regret_of
from ammup.experiments.block import Block, Outcome
from ammup.experiments.experiment import Experiment
from ammup.experiments.merge import merge
from ammup.experiments.record import SweepRecord
from ammup.experiments.search import run_search
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

TOML = """
name = "searched"
search = "adaptive"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 256, validation = 64}
grid = {depths = [1, 2], lrs = {low = 1e-3, high = 1e3, points = 13}, seeds = 2}
training = {batch_size = 16}
"""
VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps", "strategy"]


@pytest.fixture(scope="module")
def adaptive() -> Experiment:
    return Experiment.from_toml(TOML)


@pytest.fixture(scope="module")
def full(adaptive: Experiment, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    complete = Experiment.from_toml(adaptive.to_toml(), changes=["search=full"])
    return run_sweep(complete, store=tmp_path_factory.mktemp("full") / "runs.db", workers=1)[VALUES]


@pytest.fixture(scope="module")
def store(adaptive: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adaptive") / "runs.db"
    run_sweep(adaptive, store=path, workers=1)
    return path


def test_trained_cells_are_bit_identical_to_those_of_the_full_grid(
    adaptive: Experiment, full: pd.DataFrame, store: Path
) -> None:
    with Store(store, mode="read") as opened:
        runs, left_out = opened.table(adaptive.key)[VALUES], opened.left_out(adaptive.key)
    expected = full[full["key"].isin(runs["key"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(runs, expected, check_exact=True)
    assert sorted([*runs["key"], *left_out["key"]]) == sorted(full["key"])
    assert runs["steps"].sum() + left_out["steps"].sum() < 0.8 * full["steps"].sum()
    assert (left_out["steps"] < 16).all()


def test_an_interrupted_sweep_continues_with_the_missing_searches(
    adaptive: Experiment, full: pd.DataFrame, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[tuple[int, int]] = []

    def stopping(job: Block) -> Outcome:
        if len(jobs) == 3:
            raise KeyboardInterrupt
        jobs.append((job.depth, job.seed))
        return run_search(job)

    monkeypatch.setattr("ammup.experiments.sweep.run_search", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(adaptive, store=tmp_path / "runs.db", workers=1)
    monkeypatch.undo()
    again = run_sweep(adaptive, store=tmp_path / "runs.db", workers=1)
    with Store(store, mode="read") as opened, Store(tmp_path / "runs.db", mode="read") as other:
        pd.testing.assert_frame_equal(again[VALUES], opened.table(adaptive.key)[VALUES], check_exact=True)
        pd.testing.assert_frame_equal(other.left_out(adaptive.key), opened.left_out(adaptive.key))
    monkeypatch.setattr("ammup.experiments.sweep.worker_pool", None)  # raises if any job is started
    run_sweep(adaptive, store=tmp_path / "runs.db", workers=1)
    monkeypatch.undo()
    complete = Experiment.from_toml(adaptive.to_toml(), changes=["search=full"])
    pd.testing.assert_frame_equal(run_sweep(complete, store=tmp_path / "runs.db", workers=1)[VALUES], full)
    with Store(tmp_path / "runs.db", mode="read") as other:
        assert other.left_out(adaptive.key).empty  # all cells have a run now


@pytest.mark.slow
def test_results_do_not_depend_on_the_strategy_or_the_number_of_workers(
    adaptive: Experiment, store: Path, tmp_path: Path
) -> None:
    two = run_sweep(adaptive, store=tmp_path / "two.db", workers=2)
    with Store(store, mode="read") as opened:
        pd.testing.assert_frame_equal(two[VALUES], opened.table(adaptive.key)[VALUES], check_exact=True)
    # With float64, rounding affects no decision, so both strategies must select the same cells.
    changes = ['strategy="stacked"', 'training.dtype="float64"', "grid.seeds=1"]
    runs = {}
    for strategy in ("loop", "stacked"):
        experiment = Experiment.from_toml(adaptive.to_toml(), changes=[*changes, f"strategy={strategy}"])
        runs[strategy] = run_sweep(experiment, store=tmp_path / f"{strategy}.db", workers=1)
    columns = [name for name in VALUES if name != "strategy"]
    pd.testing.assert_frame_equal(runs["loop"][columns], runs["stacked"][columns], rtol=1e-8)


def test_cells_left_out_are_not_missing_in_fits_records_and_merged_stores(
    adaptive: Experiment, store: Path, tmp_path: Path
) -> None:
    record = read_sweep(store)
    assert (record.missing, record.searched) == (0, True)
    assert not any("missing" in flag for optimum in law_of(record).optima.values() for flag in optimum.flags)
    record.write(tmp_path / "record.json")
    back = SweepRecord.read(tmp_path / "record.json")
    assert (back.missing, len(back.left_out)) == (0, len(record.left_out))
    for depth, optimum in law_of(record).optima.items():
        again = law_of(back).optima[depth]
        assert again.flags == optimum.flags
        assert (again.argmax, again.smoothed) == pytest.approx((optimum.argmax, optimum.smoothed), rel=1e-4)
    with pytest.raises(InputError, match=r"'searched' is an adaptive search.*full grid.*--set search=full"):
        regret_of(record)
    with Store(store, mode="read") as theirs, Store(tmp_path / "merged.db", mode="write") as ours:
        merge(ours, theirs)
        pd.testing.assert_frame_equal(ours.left_out(adaptive.key), theirs.left_out(adaptive.key))


def test_a_store_of_an_earlier_version_has_no_cells_left_out(adaptive: Experiment, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "earlier.db"
    shutil.copy(store, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE left_out; PRAGMA user_version = 1;")  # the version number of those stores
        connection.commit()
    record = read_sweep(path)
    assert (record.searched, record.missing > 0) == (False, True)
    with Store(path, mode="read") as theirs, Store(tmp_path / "merged.db", mode="write") as ours:
        assert merge(ours, theirs)[0] == len(record.runs)
    run_sweep(adaptive, store=path, workers=1)
    assert read_sweep(path).missing == 0


def test_a_larger_grid_is_searched_again(adaptive: Experiment, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    small = Experiment.from_toml(adaptive.to_toml(), changes=["grid.seeds=1", "grid.depths=[2]", "grid.lrs=[0.01,0.1]"])
    run_sweep(small, store=path, workers=1)
    grown = Experiment.from_toml(small.to_toml(), changes=["grid.lrs=[0.01,0.03,0.1,0.3,1.0]"])
    run_sweep(grown, store=path, workers=1)
    assert read_sweep(path).missing == 0


def test_recent_loss_is_the_mean_of_the_last_sixteenth() -> None:
    losses = torch.arange(32.0)
    assert searches._recent_loss(losses, 32, 64) == pytest.approx(29.5)  # a sixteenth of 64 steps: the last four
    assert searches._recent_loss(losses, 33, 64) == float("inf")  # the replica diverged at step 32


def test_a_search_starts_in_the_middle_if_lr_star_cannot_be_measured(
    adaptive: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a readout of zeros, the first step does not change the hidden layers, so that η* is undefined."""
    (tmp_path / "zero_readout.py").write_text(
        "import ammup\nfrom torch import nn\n\n"
        "def net(depth, seed, width):\n"
        "    net = ammup.cnn(depth, width=width, seed=seed)\n"
        "    for weight in net.readout.parameters():\n"
        "        nn.init.zeros_(weight)\n"
        "    return net\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = adaptive.to_toml().replace('factory = "cnn"', 'factory = "zero_readout:net"')
    outcome = run_search(Block(specification=text, depth=2, seed=0, lrs=(0.01, 0.1, 1.0), strategy="loop"))
    assert {run.lr for run in outcome.runs} | {one.lr for one in outcome.left_out} == {0.01, 0.1, 1.0}
    assert outcome.runs
