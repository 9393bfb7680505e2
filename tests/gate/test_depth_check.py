"""The gate on models: outcomes, number of weight draws, and invalid arguments."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from depth_curves import PAPER, check_of, law_of

import ammup
from ammup import InputError
from ammup.gate.depth_check import check_depth_exponent
from ammup.gate.slope_drift import slope_drift
from ammup.stats.equivalence import Region

NET = partial(ammup.mlp, width=64, in_features=64, out_features=64, readout="he")
BATCH = {"inputs": torch.ones(1, 64), "part": "label"}


@pytest.mark.parametrize(
    ("region", "scatter", "outcome"),
    [
        (Region.around(-1.5, 0.1), 0.1, "holds"),
        (Region.around(-1.2, 0.1), 0.1, "does not hold"),
        (Region.around(-1.5, 0.05), 0.9, "inconclusive"),  # noise never passes
        (Region.around(-1.35, 0.16), 0.1, "inconclusive"),
    ],
)
def test_the_outcome_depends_on_the_entire_interval(region: Region, scatter: float, outcome: str) -> None:
    check = check_of(law_of(PAPER, scatter=scatter), region)
    assert check.outcome == outcome
    assert ("increase the seeds" in check.report()) is (outcome == "inconclusive")


def test_the_drift_is_the_slope_of_the_deeper_half_minus_that_of_the_shallower_half() -> None:
    bent = {4: 1.0, 8: 0.5, 16: 0.25, 32: 0.25 * 2**-2.0}
    change, (low, high) = slope_drift(law_of(bent))
    assert change == pytest.approx(-1.0)
    assert low < -1 < high
    se = law_of(bent).curve["se_log10"].to_numpy() / math.log10(2)
    assert (high - low) / 2 == pytest.approx(2.0227 * np.sqrt(np.sum(se**2)), rel=1e-3)  # t of 39 degrees of freedom
    region = Region.around(-1.3, 0.5)
    assert check_of(law_of(bent), region, drift=1.5).outcome == "holds"
    assert check_of(law_of(bent), region, drift=0.5).outcome == "does not hold"


def test_the_drift_of_two_depths_is_nan() -> None:
    drift, interval = slope_drift(law_of({4: 1.0, 8: 0.5}))
    assert np.isnan([drift, *interval]).all()


def test_draws_are_added_to_the_first_eight_until_there_are_enough() -> None:
    check = check_depth_exponent(NET, [2, 4, 8], **BATCH, expected=-1.2, margin=0.15)
    assert 8 < check.draws == min(check.needed, 64)
    direct = ammup.depth_exponent(NET, [2, 4, 8], **BATCH, seeds=check.draws)
    assert check.law.power_law.slope == pytest.approx(direct.power_law.slope, rel=1e-6)
    assert check.law.power_law.slope_ci == pytest.approx(direct.power_law.slope_ci, rel=1e-5)
    np.testing.assert_allclose(check.law.S[8], direct.S[8], rtol=1e-5)
    few = check_depth_exponent(NET, [2, 4], **BATCH, expected=-1.0, margin=30.0)
    assert few.draws == 8
    assert few.outcome == "holds"


def test_laws_with_a_common_seed_are_not_joined() -> None:
    law = law_of(PAPER)
    with pytest.raises(InputError, match="common seeds"):
        law.joined(law)


def test_a_failed_assertion_raises_the_exception_of_its_outcome() -> None:
    options = {**BATCH, "margin": 0.05, "seeds": 16}
    with pytest.raises(ammup.Inconclusive, match=r"(?s)inconclusive: slope.*seeds \(about \d+.*width.*margin"):
        ammup.assert_depth_exponent(NET, [2, 4], expected=-1.05, **options)
    with pytest.raises(AssertionError, match=r"does not hold: slope(?s:.*)lr_star") as failure:
        ammup.assert_depth_exponent(NET, [2, 4], expected=1.0, **options)
    assert not isinstance(failure.value, ammup.Inconclusive)
    options["margin"] = 1.0
    assert ammup.assert_depth_exponent(NET, [2, 4], expected=-1.0, **options).outcome == "holds"


def test_a_check_is_valid_json() -> None:
    check = check_of(law_of(PAPER), Region.around(-1.5, 0.1))
    answer = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert (answer["outcome"], answer["seeds"], answer["region"]) == ("holds", 40, pytest.approx([-1.6, -1.4]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expected": math.nan}, "expected=nan.*finite.*-1.5"),
        ({"margin": 0.0}, "margin=0.0.*positive"),
        ({"level": 1.0}, "level=1.0.*confidence level"),
        ({"seeds": 1}, "seeds=1.*at least 2"),
        ({"max_depth_drift": 0.1}, "max_depth_drift.*four depths.*2 were given"),
    ],
)
def test_invalid_arguments_are_rejected_before_the_measurement(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_depth_exponent(NET, [2, 4], **BATCH, **{"expected": -1.0, "margin": 0.1, **options})
