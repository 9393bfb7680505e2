"""The learning rate of the target, and the probes that can lower it."""

import math
from dataclasses import replace

import pytest
from tuning_runs import run_at

from ammup.tuning.answer import Estimate
from ammup.tuning.evidence import Evidence
from ammup.tuning.options import TuneOptions
from ammup.tuning.plan import Plan, base_edge
from ammup.tuning.prediction import Prediction
from ammup.tuning.progress import TuningRun
from ammup.tuning.target import LARGEST_SHARE, probes, target_edge, target_rate

PREDICTION = Prediction(log_ratio=-0.5, sd=0.3, rule="L^-1", reason="")
PLAN = Plan(
    depths=(2,), target=8, steps=20, probe_steps=10, lr=0.1, probes=3, options=TuneOptions(check=False, precision=1.01)
)
BASE = Estimate(lr=0.1, interval=(0.1, 0.1), source="given")
AT_BASE = (run_at(0.1, 1.0), run_at(0.2, 1.0))


def _evidence(*runs: TuningRun) -> Evidence:
    return Evidence(runs=runs, probe_steps=10)


def _probe(lr: float, loss: float, *, seed: int = 0) -> TuningRun:
    outcome = "diverged" if math.isnan(loss) else "finished"
    return replace(run_at(lr, loss, depth=8, outcome=outcome, seed=seed), until=10)


def _probed(edge: float, plan: Plan = PLAN) -> Evidence:
    """The evidence after all probes of a target with this edge."""
    evidence = _evidence(*AT_BASE)
    while requests := probes(plan, evidence, PREDICTION):
        made = [_probe(one.lr, 1.0 if one.lr < edge else math.nan, seed=one.seed) for one in requests]
        evidence = _evidence(*evidence.runs, *made)
    return evidence


def test_probes_are_placed_at_the_median_of_the_targets_edge_and_end() -> None:
    (first,) = probes(PLAN, _evidence(*AT_BASE), PREDICTION)
    edge = base_edge(PLAN, _evidence(*AT_BASE), 2).mean
    assert math.log10(first.lr) == pytest.approx(edge - 0.5, abs=0.01)
    assert (first.depth, first.until, first.seed) == (8, 10, 0)
    (second,) = probes(PLAN, _evidence(*AT_BASE, _probe(first.lr, math.nan)), PREDICTION)
    assert second.lr < first.lr
    assert second.seed == 1
    assert probes(PLAN, _evidence(*AT_BASE, _probe(first.lr, 1.0)), PREDICTION)[0].lr > first.lr
    assert probes(PLAN, _evidence(*AT_BASE, *(_probe(lr, 1.0) for lr in (0.1, 0.2, 0.3))), PREDICTION) == []
    assert probes(replace(PLAN, probes=0), _evidence(*AT_BASE), PREDICTION) == []


def test_a_probe_that_did_not_start_moves_the_next_one_down_and_the_edge_not_at_all() -> None:
    (first,) = probes(PLAN, _evidence(*AT_BASE), PREDICTION)
    flat = _evidence(*AT_BASE, _probe(first.lr, 2.0))
    assert probes(PLAN, flat, PREDICTION)[0].lr < first.lr
    assert target_edge(PLAN, flat, PREDICTION).ratio.mean == pytest.approx(-0.5, abs=1e-6)


def test_an_edge_that_is_known_well_enough_needs_no_more_probes() -> None:
    plan = replace(PLAN, options=TuneOptions(precision=100.0))
    assert probes(plan, _evidence(*AT_BASE, _probe(0.05, 1.0)), PREDICTION) == []


def test_probes_end_when_it_is_clear_that_the_answer_is_below_the_edge() -> None:
    plan = replace(PLAN, probes=50)
    evidence = _probed(10.0, plan)
    edge = target_edge(plan, evidence, PREDICTION)
    assert edge.probes < 20  # the precision of 1.01 is never reached
    assert edge.limit - (math.log10(0.1) - 0.5) >= 1.95 * edge.sd


def test_probes_above_the_predicted_rate_do_not_change_it() -> None:
    edge = target_edge(PLAN, _probed(3.0), PREDICTION)
    assert edge.probes > 0
    answer = target_rate(BASE, edge, PREDICTION, 1.96)
    assert answer.lr == pytest.approx(0.1 * 10**-0.5, rel=0.01)
    assert answer.interval[0] == pytest.approx(0.1 * 10 ** (-0.5 - 1.96 * 0.3), rel=0.01)
    assert answer.source == "0.1 × 0.316 (L^-1), at most 0.5 of the edge"


def test_probes_that_fail_lower_the_answer_to_a_share_of_the_edge() -> None:
    evidence = _probed(0.02, replace(PLAN, probes=8))
    edge = target_edge(PLAN, evidence, PREDICTION)
    answer = target_rate(BASE, edge, PREDICTION, 1.96)
    assert answer.lr == pytest.approx(LARGEST_SHARE * 10**edge.mean, rel=0.01)
    assert answer.lr < 0.1 * 10**-0.5
    assert answer.interval[0] < answer.lr < answer.interval[1]
    assert "of the edge, because 0.1 × 0.316 (L^-1) is more" in answer.source


def test_without_probes_the_answer_and_its_interval_are_the_prediction() -> None:
    edge = target_edge(PLAN, _evidence(*AT_BASE), PREDICTION)
    assert (edge.probes, edge.limit) == (0, math.inf)
    answer = target_rate(BASE, edge, PREDICTION, 1.96)
    assert answer.interval == pytest.approx([0.1 * 10 ** (-0.5 + sign * 1.96 * 0.3) for sign in (-1, 1)], rel=0.01)
