"""Which runs are made next."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from tuning_runs import run_at

import ammup
from ammup.tuning.evidence import Evidence
from ammup.tuning.options import TuneOptions
from ammup.tuning.plan import Plan, base_edge, check, edges, search, tuned
from ammup.tuning.prediction import predict
from ammup.tuning.settings import RunSetting


def _plan(**changes: object) -> Plan:
    plan = Plan(depths=(2,), target=8, steps=20, probe_steps=10, lr=0.1, probes=3, options=TuneOptions())
    return replace(plan, **changes)  # type: ignore[arg-type]


def _evidence(*runs: object) -> Evidence:
    return Evidence(runs=tuple(runs), probe_steps=10)  # type: ignore[arg-type]


def test_a_given_rate_is_checked_by_complete_runs_of_one_seed() -> None:
    requests = check(_plan(), _evidence())
    assert [(r.lr, r.until, r.seed) for r in requests] == [(0.1, 20, 0), (0.05, 20, 0), (0.2, 20, 0)]
    assert [r.lr for r in check(_plan(), _evidence(run_at(0.1, 1.0)))] == [0.05, 0.2]
    assert check(_plan(options=TuneOptions(check=False)), _evidence()) == []
    assert search(_plan(), _evidence()) == []


def test_the_search_goes_upwards_in_decades_until_a_rate_fails() -> None:
    plan, runs = _plan(lr=None, options=TuneOptions(lr_range=(1e-3, 10.0))), []
    losses = {0.001: 1.99, 0.01: 1.8, 0.1: 1.0, 1.0: 2.0, 10.0: math.nan}
    while requests := search(plan, _evidence(*runs)):
        (request,) = requests
        runs.append(run_at(request.lr, losses[request.lr]))
    assert [run.lr for run in runs] == [0.001, 0.01, 0.1, 1.0]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_edge_of_the_base_is_found_by_short_runs_of_several_seeds(workers: int) -> None:
    plan, edge = _plan(options=TuneOptions(workers=workers)), 0.7
    runs = [run_at(lr, 1.0) for lr in (0.05, 0.1, 0.2)]
    while requests := edges(plan, _evidence(*runs)):
        assert {request.until for request in requests} == {10}
        for request in requests:
            loss = 1.0 if request.lr < edge else 2.0
            runs.append(replace(run_at(request.lr, loss, seed=request.seed), purpose=request.purpose, until=10))
    found = base_edge(plan, _evidence(*runs), 2)
    assert abs(found.mean - math.log10(edge)) < 2 * found.sd
    assert 4 <= len(runs) - 3 <= 6 or found.sd <= 0.12
    assert len({run.seed for run in runs[3:]}) == 3


def test_complete_runs_without_a_tuned_rate_go_on_until_the_best_lies_inside() -> None:
    plan = _plan(lr=None)
    short = [run_at(0.1, 1.0), run_at(1.0, 2.0)]
    runs = [replace(run, until=10) for run in short]
    best = 0.02
    while requests := tuned(plan, _evidence(*runs)):
        for request in requests:
            assert request.until == 20
            runs.append(run_at(request.lr, 1 + abs(math.log10(request.lr / best))))
    complete = sorted(run.lr for run in runs if run.until == 20)
    nearest = min(complete, key=lambda lr: abs(math.log10(lr / best)))
    assert complete[0] < nearest < complete[-1]


def test_without_a_measurement_the_prediction_is_the_fixed_rule() -> None:
    found = predict(2, 20, edges={2: (0.0, 0.1)}, setting=RunSetting())
    assert (found.rule, found.log_ratio, found.sd) == ("L^-1", -1.0, 0.7)
    adaptive = predict(2, 20, edges={}, setting=RunSetting(optimizer="adam"))
    assert (adaptive.rule, adaptive.log_ratio, adaptive.sd) == ("L^-1", -1.0, 0.7)
    assert "nothing supports a rule for adam" in adaptive.reason


def test_edges_of_several_base_depths_are_extrapolated_unless_that_is_too_uncertain() -> None:
    exact = {depth: (-1.5 * math.log10(depth), 0.01) for depth in (2, 4, 8)}
    found = predict(8, 16, edges=exact, setting=RunSetting())
    assert found.rule == "edge-fit"
    assert found.log_ratio == pytest.approx(-1.5 * math.log10(2))
    assert found.sd == pytest.approx(0.1, abs=0.01)
    rough = {2: (0.0, 0.3), 3: (-0.2, 0.3)}
    assert predict(3, 30, edges=rough, setting=RunSetting()).rule == "L^-1"


def test_measured_laws_give_the_recommendation_of_transfer_table() -> None:
    images = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    factory = partial(ammup.mlp, width=32, in_features=12, readout="he")
    laws = [
        ammup.depth_exponent(factory, [2, 4, 8], inputs=images, loss="mse", seeds=4, measure=measure)
        for measure in ("updates", "sharpness")
    ]
    table = ammup.transfer_table(1.0, 2, 8, measured=laws[0], sharpness=laws[1])
    (advice,) = table.attrs["recommendations"]
    found = predict(2, 8, measured=laws, edges={2: (0.0, 0.1)}, setting=RunSetting())
    assert advice["rule"] is not None
    assert found.rule == advice["rule"]
    assert found.log_ratio == pytest.approx(math.log10(advice["lr"]))
    assert found.sd >= max(0.2, math.log10(advice["high"] / advice["low"]) / 4)
    # the reason contains why, and nothing is predicted from SGD's step for another optimizer
    assert advice["reason"] in found.reason
    assert predict(2, 8, measured=laws, edges={}, setting=RunSetting(optimizer="adamw")).rule == "L^-1"
