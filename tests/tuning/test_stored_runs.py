"""Runs in the SQLite file."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from stores import EXPERIMENT

from ammup.errors import InputError
from ammup.experiments.store import Store
from ammup.tuning.progress import TuningRun
from ammup.tuning.stored_runs import StoredRuns

RUN = TuningRun(
    depth=2, lr=0.1, seed=0, budget=20, until=10, purpose="probe", outcome="finished", message="", steps=10,
    curve=((1, 2.5), (10, 1.25)), score=0.5, seconds=1.5,
)  # fmt: skip


def _opened(path: Path, *, identity: str = "a", budget: int = 20) -> StoredRuns:
    return StoredRuns(path, name="train", identity=identity, budget=budget)


def test_runs_come_back_in_order_with_every_value(tmp_path: Path) -> None:
    runs = (
        RUN,
        replace(RUN, outcome="diverged", curve=((1, 2.5), (2, math.inf)), score=None, message="loss inf"),
        replace(RUN, outcome="failed", curve=(), steps=0),
        RUN,  # made twice
    )
    with _opened(tmp_path / "runs.db") as stored:
        for run in runs:
            stored.put(run)
        assert stored.runs() == runs
    with _opened(tmp_path / "runs.db") as stored:
        assert stored.runs() == runs


def test_a_nan_in_a_curve_comes_back(tmp_path: Path) -> None:
    with _opened(tmp_path / "runs.db") as stored:
        stored.put(replace(RUN, curve=((1, 2.5), (2, math.nan))))
        ((_, (_, loss)),) = (run.curve for run in stored.runs())
    assert math.isnan(loss)


def test_other_trainers_and_other_lengths_are_kept_apart(tmp_path: Path) -> None:
    with _opened(tmp_path / "runs.db") as stored:
        stored.put(RUN)
    with _opened(tmp_path / "runs.db", identity="b") as stored:
        assert stored.runs() == ()
    with _opened(tmp_path / "runs.db", budget=30) as stored:
        assert stored.runs() == ()


def test_one_file_holds_sweeps_and_tunings(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write") as store:
        store.put_experiment(EXPERIMENT)
    with _opened(tmp_path / "runs.db") as stored:
        stored.put(RUN)
    with Store(tmp_path / "runs.db", mode="read") as store:
        assert store.experiments() == (EXPERIMENT,)
        (command,) = store.connection.execute("SELECT command FROM invocations").fetchall()
    assert command


def test_two_commands_cannot_write_at_the_same_time(tmp_path: Path) -> None:
    with _opened(tmp_path / "runs.db"), pytest.raises(InputError, match="another process is writing"):
        _opened(tmp_path / "runs.db")


def test_a_damaged_curve_is_rejected(tmp_path: Path) -> None:
    with _opened(tmp_path / "runs.db") as stored:
        stored.put(RUN)
        stored.store.connection.execute("UPDATE tuning_runs SET curve = '[[1]]'")
        with pytest.raises(InputError, match=r"is damaged: a training curve is invalid"):
            stored.runs()
