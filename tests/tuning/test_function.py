"""Training by a function in a process of its own."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tuning_trainings import closing, faulty, train_mlp, with_state

from ammup.errors import InputError
from ammup.tuning.attempt import Limits, make_run
from ammup.tuning.function import FunctionTrainer, close_child
from ammup.tuning.progress import Progress, RunRequest, TuningRun


@pytest.fixture(autouse=True)
def _no_process_remains() -> Iterator[None]:
    yield
    close_child()


def _made(trainer: FunctionTrainer, lr: float = 0.1, *, until: int = 10, state: Path | None = None) -> TuningRun:
    request = RunRequest(depth=2, lr=lr, seed=0, budget=20, until=until, purpose="probe", state=state)
    return make_run(trainer, request, Limits(time_limit=2.0, probe_steps=10))


def test_the_reports_are_those_of_the_function_called_here() -> None:
    run = _made(FunctionTrainer(function=train_mlp, threads=1))
    here = [progress.loss for progress in train_mlp(2, 0.1, 0, 20)][:10]
    assert [loss for _, loss in run.curve] == here
    assert (run.outcome, run.steps) == ("finished", 10)


def test_one_process_makes_runs_with_every_fault() -> None:
    trainer = FunctionTrainer(function=faulty, threads=1)
    outcomes = [_made(trainer, lr) for lr in (1, 2, 3, 4, 5, 6, 7, 8)]
    assert [(run.outcome, run.steps) for run in outcomes] == [
        ("diverged", 5),
        ("failed", 4),
        ("failed", 4),
        ("timed out", 4),
        ("silent", 0),
        ("failed", 0),
        ("stopped", 5),
        ("finished", 10),
    ]
    messages = [run.message for run in outcomes]
    assert messages[1].startswith("ValueError: broken pipe (tuning_trainings.py, line ")
    assert messages[2] == "the process ended with exit code 7"
    assert messages[5] == "train yielded a float; yield ammup.Progress(step, loss)"
    assert messages[6] == "the last 4 losses are above the first, 2"


def test_an_interrupted_run_resumes_from_its_state(tmp_path: Path) -> None:
    trainer = FunctionTrainer(function=with_state, threads=1)
    assert _made(trainer, state=tmp_path / "run").outcome == "failed"
    again = _made(trainer, state=tmp_path / "run")
    assert (again.outcome, again.curve[0][0], again.steps) == ("finished", 6, 10)


@pytest.mark.parametrize("until", [3, 1000])
def test_the_function_is_closed(tmp_path: Path, until: int) -> None:
    # with 1000, the rising loss stops it from the outside
    _made(FunctionTrainer(function=closing, threads=1), until=until, state=tmp_path)
    assert (tmp_path / "closed").read_text() == "yes"


def test_a_function_that_cannot_be_pickled_is_called_here() -> None:
    def train(depth: int, lr: float, seed: int, budget: int) -> Iterator[Progress]:
        for step in range(1, budget + 1):
            yield Progress(step, 1 / step)
        raise AssertionError("not reached")

    trainer = FunctionTrainer(function=train)
    assert not trainer.is_isolated
    assert _made(trainer).outcome == "finished"


def test_arguments_of_a_partial_distinguish_trainers() -> None:
    narrow, wide = (FunctionTrainer(function=partial(train_mlp, width=width)) for width in (8, 16))
    assert narrow.name == wide.name == "tuning_trainings:train_mlp"
    assert narrow.identity != wide.identity


def test_wrong_functions() -> None:
    with pytest.raises(InputError, match=r"has no argument depth; it is called as train\(depth="):
        FunctionTrainer(function=lambda lr: iter(()))
