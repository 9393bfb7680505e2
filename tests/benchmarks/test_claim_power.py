"""Planted faults: the real code runs with them, cheap ones are detected with other seed roots, and no fault is not."""

import numpy as np
import pytest
from power_parts.edits import Edit, planted
from power_parts.measuring import measured, real_roots, synthetic_roots
from power_parts.registry import FAULTS
from power_parts.table import lower_bound, power_table
from scipy import stats
from torch import nn

import ammup
from ammup.claims import baselines
from ammup.claims.claim import claim_named
from ammup.claims.statements import CLAIMS
from ammup.measurement.moments import UpdateMoments
from ammup.models import families

CHEAP = {
    "S not squared": "law.field-2d-zero",
    "variance 10 % too large in one layer": "law.field-2d-zero",
    "variance 10 % too large in every layer": "lemma-1.invariance-1d-1",
    "overlap of layers counted as a maximum": "overlap.sum-identity",
}


def test_there_are_at_least_forty_faults() -> None:
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("name", FAULTS)
def test_the_text_of_a_fault_occurs_once_in_the_code_and_its_claim_exists(name: str) -> None:
    fault = FAULTS[name]
    claim_named(CLAIMS, fault.claim)
    for edit in fault.edits:
        assert edit.compiled() != edit.function.__code__


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_text_that_does_not_occur_once_is_rejected(old: str) -> None:
    with pytest.raises(AssertionError, match=f"contains '{old}'"):
        Edit(where="ammup.models.nets:MLP.forward", old=old, new="").compiled()


def test_a_fault_is_effective_wherever_the_function_is_imported_and_is_removed_afterwards() -> None:
    def padding() -> str:
        return families.conv(2, 2, dims=1, kernel=3, padding="circular").padding_mode

    before = ammup.mlp(2, width=3, in_features=2)
    with planted([*FAULTS["circular padding silently zero"].edits, *FAULTS["activation swapped"].edits]):
        assert padding() == "zeros"
        assert isinstance(ammup.mlp(2, width=3, in_features=2).activation, nn.GELU)
    assert padding() == "circular"
    assert isinstance(before.activation, nn.ReLU)


def test_a_property_and_a_method_that_calls_super_can_be_changed() -> None:
    moments = UpdateMoments(units=("a", "b"), S=np.array([1.0, 3.0]), S_bar_se=0.0, gradient_squares={})
    with planted(FAULTS["sum over the units in place of the mean"].edits):
        assert moments.S_bar == 4
    assert moments.S_bar == 2
    edit = Edit(where="ammup.models.nets:MLP.__init__", old="activation_module(activation)", new="nn.Tanh()")
    with planted([edit]):
        assert isinstance(ammup.mlp(2, width=3, in_features=2).activation, nn.Tanh)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_fault_is_detected_with_every_root(name: str) -> None:
    fault = FAULTS[name]
    assert fault.claim == CHEAP[name]
    result = measured(fault, baselines.read()[fault.claim], roots=200, seed=0)
    assert "error" not in result
    assert all(result["caught"])
    assert result["baseline"]
    assert result.get("alarms", 0) == result.get("roots", 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", sorted(set(CHEAP.values())))
def test_nothing_is_detected_without_a_fault(name: str) -> None:
    claim, record = claim_named(CLAIMS, name), baselines.read()[name]
    with planted([]):
        real = real_roots(claim, record)
    assert not any(real.caught)
    assert not real.error
    # Another processor may round differently, which is far below the error of the estimate.
    assert real.values[0] == pytest.approx(record.estimate, abs=0.01 * record.se)
    if not claim.exact:
        assert synthetic_roots(claim, record, real.rows, 200, seed=0)["alarms"] == 0


def test_the_rate_of_synthetic_roots_is_that_of_a_normal_estimate_at_the_edge_of_the_region() -> None:
    """With a true value at the edge, the interval is outside of the region with probability alpha, and never inside."""
    claim, record = claim_named(CLAIMS, "law.field-2d-zero"), baselines.read()["law.field-2d-zero"]
    spread, law = 0.05, claim.statistic(np.ones((1, 1)))
    rows = np.exp(spread * np.random.default_rng(0).standard_normal((400, 1)))
    at_law = np.exp(2 * law) * rows / rows.mean()  # log η* of these rows is that of the law

    def rate(distance: float) -> float:
        result = synthetic_roots(claim, record, [at_law * np.exp(-2 * distance)], 400, seed=1)
        return result["alarms"] / result["roots"]

    half_width = stats.t.ppf(1 - 6e-5, 4 * claim.n - 1) * spread / 2 / np.sqrt(4 * claim.n)
    edge = claim.stated.high - half_width  # here the interval of the second look ends at the edge with probability 1/2
    assert rate(0) == 0
    assert rate(edge) == pytest.approx(0.5, abs=0.1)
    assert rate(edge + half_width) > 0.99


def test_a_fault_below_the_goal_is_listed_with_its_remark() -> None:
    seen = {"caught": [True, True], "baseline": True, "cpu": 1.0, "claim": "a", "roots": 1000, "alarms": 1000}
    unseen = {**seen, "alarms": 940}
    names = ["S not squared", "dilation ignored"]
    detected, _, others = power_table(dict(zip(names, (seen, unseen), strict=True))).partition("Faults that")
    assert "1 of 2 faults" in detected
    assert "| S not squared |" in detected
    assert "| dilation ignored |" in others
    assert FAULTS["dilation ignored"].remark in others
    assert FAULTS["dilation ignored"].remark
    assert "94.0%" in others


def test_the_lower_bound_of_a_rate_is_that_of_the_binomial_distribution() -> None:
    bound = lower_bound(97, 100)
    assert stats.binom.sf(96, 100, bound) == pytest.approx(0.05)
    assert lower_bound(0, 100) == 0
