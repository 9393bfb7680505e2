"""Which runs trained and which failed."""

import math
from dataclasses import replace

import pytest
from tuning_runs import run_at

from ammup.tuning.evidence import Evidence
from ammup.tuning.progress import DIVERGED, FAILED, STOPPED, TuningRun


def _failed(*runs: TuningRun, depth: int = 2, others: tuple[int, ...] = ()) -> dict[float, bool]:
    evidence = Evidence(runs=runs, probe_steps=20)
    return {round(10**test.place, 6): test.failed for test in evidence.tests(depth, others=others)}


def test_a_rate_fails_above_the_best_if_the_loss_fell_less_than_half_as_far() -> None:
    runs = [run_at(lr, loss) for lr, loss in ((0.01, 1.9), (0.1, 1.0), (0.2, 1.49), (0.4, 1.51))]
    assert _failed(*runs) == {0.01: False, 0.1: False, 0.2: False, 0.4: True}


def test_a_loss_that_jumped_before_its_first_report_does_not_count_as_a_fall() -> None:
    jumped = run_at(1.0, 2.0)
    jumped = replace(jumped, curve=((1, 50.0), *jumped.curve[1:]))
    assert _failed(run_at(0.1, 1.0), jumped) == {0.1: False, 1.0: True}


@pytest.mark.parametrize("outcome", [DIVERGED, STOPPED])
def test_a_run_that_was_ended_fails(outcome: str) -> None:
    assert _failed(run_at(0.1, 1.0), run_at(1.0, 1.0, outcome=outcome)) == {0.1: False, 1.0: True}


def test_a_crash_is_no_test() -> None:
    assert _failed(run_at(0.1, 1.0), run_at(1.0, 1.0, outcome=FAILED)) == {0.1: False}


def test_where_nothing_trained_yet_only_divergence_is_a_failure() -> None:
    runs = [run_at(0.1, 1.0), run_at(0.05, 1.9, depth=8), run_at(0.2, math.nan, depth=8, outcome=DIVERGED)]
    assert _failed(*runs, depth=8, others=(2,)) == {0.2: True}
    evidence = Evidence(runs=tuple(runs), probe_steps=20)
    assert not evidence.trained(8, others=(2,))
    # as soon as one run trains, the others can be judged
    runs.append(run_at(0.02, 1.5, depth=8))
    assert _failed(*runs, depth=8, others=(2,)) == {0.02: False, 0.05: True, 0.2: True}


def test_tests_are_grouped_by_seed() -> None:
    evidence = Evidence(runs=(run_at(0.1, 1.0, seed=3),), probe_steps=20)
    assert [test.group for test in evidence.tests(2)] == [3]


def test_without_runs_nothing_is_known() -> None:
    evidence = Evidence(runs=(), probe_steps=20)
    assert evidence.tests(2) == []
    assert math.isnan(evidence.untrained)
    assert not evidence.trained(2)
