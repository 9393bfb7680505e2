"""Checks that measure as many weight draws as they need, against baselines, on draws with a known distribution."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from depth_curves import PAPER

import ammup
from ammup.gate import law_check
from ammup.gate.allowed import MOST_SEEDS, PILOT, Allowed, Draws
from ammup.gate.check_result import DepthCheck
from ammup.gate.depth_baseline import DepthBaseline
from ammup.gate.law_check import BaselineFile
from ammup.measurement.depth_law import DepthLaw
from ammup.measurement.specification import MeasurementSpec
from ammup.stats.power_law import fit_maximal_lr

SPEC = MeasurementSpec(inputs=torch.ones(1, 2), loss="mse")
SCATTER = 0.8  # coefficient of variation of S̄, as in the ConvNeXt of benchmarks/gate_repeats.py
FACTORY = ammup.mlp  # never called


@cache
def _draws(stream: int, depth: int) -> np.ndarray:
    """Log-normal numbers with mean 1, one for each seed."""
    s = np.sqrt(np.log1p(SCATTER**2))
    return np.random.default_rng((stream, depth)).lognormal(-0.5 * s**2, s, MOST_SEEDS)


def _lognormal_law(
    _factory: object, depths: Sequence[int], _spec: object, *, seeds: Sequence[int], level: float, progress: bool,
    stream: int, factors: dict[int, float], extra_units: int = 0,
) -> DepthLaw:  # fmt: skip
    """A law whose η* is that of the paper times a factor at each depth; a draw depends on the stream and its seed."""
    S_bar = {
        depth: (factors.get(depth, 1.0) * PAPER[depth]) ** -2 * _draws(stream, depth)[list(seeds)] for depth in depths
    }
    rows = [
        {"depth": depth, "seed": seed, "S_bar": value, "lr_star": value**-0.5}
        for depth, values in S_bar.items()
        for seed, value in zip(seeds, values, strict=True)
    ]
    return DepthLaw(
        table=pd.DataFrame(rows),
        units={depth: depth + extra_units for depth in depths},
        S={depth: np.ones(depth + extra_units) for depth in depths},
        power_law=fit_maximal_lr(S_bar, level=level),
    )


class _Gate:
    """Checks whose measurement is replaced by the law above."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, margin: float = 0.3) -> None:
        self.path, self.monkeypatch, self.margin = path, monkeypatch, margin

    def __call__(
        self,
        stream: int,
        factors: dict[int, float] | None = None,
        *,
        record: bool = False,
        draws: Draws | None = None,
        extra_units: int = 0,
    ) -> DepthCheck:
        law: Any = partial(_lognormal_law, stream=stream, factors=factors or {}, extra_units=extra_units)
        self.monkeypatch.setattr(law_check, "measure_depth_law", law)
        file = BaselineFile(path=self.path, about="a net", record=record)
        allowed = Allowed(expected=None, margin=self.margin)
        return file.check(FACTORY, list(PAPER), SPEC, allowed, draws=draws or Draws())


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Gate:
    monkeypatch.delenv("CI", raising=False)
    return _Gate(tmp_path / "depth.json", monkeypatch)


def test_a_repeated_check_measures_the_recorded_draws(gate: _Gate) -> None:
    recorded = gate(0)
    again = gate(0)
    assert recorded.recorded
    assert not again.recorded
    assert PILOT < recorded.draws < MOST_SEEDS
    assert (again.outcome, again.draws, again.note) == ("holds", recorded.draws, "")


def test_draws_are_added_at_comparison_as_well(gate: _Gate) -> None:
    gate(0, record=True, draws=Draws(seeds=12))
    assert 12 < gate(1).draws <= MOST_SEEDS
    assert gate(1, draws=Draws(seeds=10)).draws == 10


def test_repeated_draws_of_an_unchanged_model_hold_with_any_margin(gate: _Gate) -> None:
    gate(0, record=True, draws=Draws(seeds=12))
    gate.margin = 0.001
    repeated, other = gate(0), gate(1)
    assert (repeated.outcome, repeated.draws) == ("holds", 12)
    difference, interval = repeated.slope_change
    assert (difference, *interval) == pytest.approx((0, 0, 0), abs=1e-6)
    assert other.outcome == "inconclusive"


def test_a_recording_with_too_few_draws_for_other_ones_notes_it(gate: _Gate) -> None:
    few = gate(0, record=True, draws=Draws(seeds=12))
    assert few.needed > 12
    assert f"about {few.needed} draws would decide them" in few.report()
    assert gate(0, record=True).note == ""


def test_no_draws_are_added_if_the_number_of_units_changed(gate: _Gate) -> None:
    gate(0, record=True, draws=Draws(seeds=12))
    assert gate(1).draws > 12
    longer = gate(1, extra_units=1)
    assert (longer.outcome, longer.draws) == ("moved", 12)


def test_a_baseline_with_too_few_draws_is_to_be_recorded_again(gate: _Gate) -> None:
    gate.margin = 9.0
    gate(0, record=True, draws=Draws(seeds=3))
    gate.margin = 0.1
    check = gate(1, draws=Draws(seeds=4))
    assert check.outcome == "inconclusive"
    assert check.baseline_needed > 4
    assert f"record it again with about {check.baseline_needed} seeds" in check.report()


def test_a_check_is_recorded_again_only_on_request(gate: _Gate) -> None:
    slopes = [DepthBaseline.read(gate.path).slope for stream in (0, 1) if gate(stream)]
    assert slopes[0] == slopes[1]
    gate(1, record=True)
    assert DepthBaseline.read(gate.path).slope != slopes[0]


def test_unchanged_models_pass_and_changed_ones_fail_at_the_stated_rates(gate: _Gate) -> None:
    """2 recordings with 10 comparisons each; the draws are fixed, so that this test has one result.

    The outcome holds with probability 0.98 or more. In 20 comparisons, fewer than 18 occur with probability 0.007.
    The curve moves by chance with probability 0.0001, so that not one of 20 is expected to.
    """
    outcomes = []
    for recording in range(2):
        gate(1000 * recording, record=True)
        outcomes += [gate(1000 * recording + number).outcome for number in range(1, 11)]
    assert outcomes.count("holds") >= 18
    assert outcomes.count("moved") == 0
    assert outcomes.count("does not hold") == 0


@pytest.mark.parametrize(
    ("factors", "outcome"),
    [
        (dict.fromkeys(PAPER, 0.5), "moved"),  # all weights of one layer doubled
        ({8: 0.4}, "moved"),  # one depth only
        ({depth: (depth / 4) ** 0.9 for depth in PAPER}, "does not hold"),
    ],
)
def test_planted_changes_fail_in_every_one_of_four_checks(factors: dict[int, float], outcome: str, gate: _Gate) -> None:
    gate(0)
    checks = [gate(stream, factors) for stream in range(1, 5)]
    assert "holds" not in {check.outcome for check in checks}
    assert [check.outcome for check in checks].count(outcome) >= 3


def test_an_expected_slope_is_not_replaced_by_that_of_the_baseline(gate: _Gate) -> None:
    recorded = gate(0)
    law: Any = partial(_lognormal_law, stream=1, factors={})
    gate.monkeypatch.setattr(law_check, "measure_depth_law", law)
    allowed = Allowed(expected=-1.0, margin=0.1)
    file = BaselineFile(path=gate.path, about="a net")
    check = file.check(FACTORY, list(PAPER), SPEC, replace(allowed, level=0.9), draws=Draws(seeds=recorded.draws))
    assert (check.outcome, check.region.centre) == ("does not hold", -1.0)
