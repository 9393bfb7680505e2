"""Progress and the loss of a run after a number of steps."""

import math

import numpy as np
import pytest
import torch

from ammup.errors import InputError
from ammup.tuning.progress import DIVERGED, FAILED, FINISHED, STOPPED, Progress, TuningRun, thinned


def run_of(losses: list[float], *, outcome: str = FINISHED, until: int | None = None, lr: float = 0.1) -> TuningRun:
    """A run that reported these losses at steps 1, 2, …"""
    return TuningRun(
        depth=2, lr=lr, seed=0, budget=20, until=until or len(losses), purpose="probe", outcome=outcome, message="",
        steps=len(losses), curve=tuple(enumerate(losses, start=1)), score=None, seconds=1.0,
    )  # fmt: skip


def test_tensors_and_arrays_become_numbers() -> None:
    loss = torch.tensor(0.5, requires_grad=True)  # as the loss of a step, which users yield without item()
    progress = Progress(np.int64(3), loss, np.float32(0.25))
    assert (progress.step, progress.loss, progress.score) == (3, 0.5, 0.25)
    assert [type(value) for value in (progress.step, progress.loss, progress.score)] == [int, float, float]


@pytest.mark.parametrize("step", [-1, 0.5, "x", None, math.inf])
def test_a_step_is_a_number_of_steps(step: object) -> None:
    with pytest.raises(InputError, match=r"Progress\(step="):
        Progress(step, 1.0)


def test_the_loss_is_the_mean_of_the_last_quarter() -> None:
    run = run_of([float(n) for n in range(1, 21)])
    assert run.loss_at(20) == np.mean([16, 17, 18, 19, 20])
    assert run.loss_at(8) == np.mean([7, 8])


def test_a_run_that_ended_within_the_steps_has_an_infinite_loss() -> None:
    losses = [1.0, 0.9, 0.8, math.nan]
    assert run_of(losses, outcome=DIVERGED).loss_at(10) == math.inf
    assert run_of([1.0, 2.0, 3.0], outcome=STOPPED).loss_at(3) == math.inf
    # it diverged later, so it says that the rate trains until then
    assert run_of([1.0] * 15 + [math.nan], outcome=DIVERGED).loss_at(10) == 1.0


def test_a_crash_and_a_short_run_say_nothing() -> None:
    assert math.isnan(run_of([1.0, 0.5], outcome=FAILED).loss_at(2))
    assert math.isnan(run_of([1.0, 0.5]).loss_at(4))


def test_the_last_report_may_be_a_little_early() -> None:
    assert run_of([1.0] * 19).loss_at(20) == 1.0


def test_long_curves_are_thinned_to_means_that_keep_the_first_point() -> None:
    curve = thinned([(step, float(step)) for step in range(1, 1001)])
    assert len(curve) <= 200
    assert curve[0] == (1, 1.0)
    assert curve[-1][0] == 1000
    assert curve[1] == (7, np.mean(range(2, 8)))
