"""The gate on models: outcomes, number of weight draws, and invalid arguments."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from depth_curves import PAPER, check_of, law_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.gate.allowed import MOST_SEEDS
from ammup.gate.curve import Curve
from ammup.gate.depth_check import check_depth_exponent, description
from ammup.gate.slope_drift import slope_drift
from ammup.measurement.specification import MeasurementSpec
from ammup.stats.equivalence import Region
from ammup.stats.power_law import PowerLaw

NET = partial(ammup.mlp, width=64, in_features=64, out_features=64, readout="he")
BATCH = {"inputs": torch.ones(1, 64), "part": "label"}


@pytest.mark.parametrize(
    ("region", "scatter", "outcome"),
    [
        (Region.around(-1.5, 0.1), 0.1, "holds"),
        (Region.around(-1.2, 0.1), 0.1, "does not hold"),
        (Region.around(-1.5, 0.05), 0.9, "inconclusive"),  # noise never passes
        (Region.around(-1.35, 0.155), 0.1, "inconclusive"),
    ],
)
def test_the_outcome_depends_on_the_entire_interval(region: Region, scatter: float, outcome: str) -> None:
    check = check_of(law_of(PAPER, scatter=scatter), region)
    assert check.outcome == outcome
    assert ("increase the seeds" in check.report()) is (outcome == "inconclusive")


def test_the_drift_is_the_slope_of_the_deeper_half_minus_that_of_the_shallower_half() -> None:
    bent = {4: 1.0, 8: 0.5, 16: 0.25, 32: 0.25 * 2**-2.0}
    change, (low, high) = slope_drift(Curve.from_law(law_of(bent)))
    assert change == pytest.approx(-1.0)
    assert low < -1 < high
    se = law_of(bent).curve["se_log10"].to_numpy() / math.log10(2)
    assert (high - low) / 2 == pytest.approx(2.0227 * np.sqrt(np.sum(se**2)), rel=1e-3)  # t of 39 degrees of freedom
    region = Region.around(-1.3, 0.5)
    assert check_of(law_of(bent), region, drift=1.5).outcome == "holds"
    assert check_of(law_of(bent), region, drift=0.5).outcome == "does not hold"


@pytest.mark.parametrize(("beyond", "outcome"), [(0.0004, "holds"), (0.002, "does not hold")])
def test_the_outcome_is_that_of_the_printed_numbers(beyond: float, outcome: str) -> None:
    """An interval that is printed inside the printed region never "does not hold", and another one never holds."""
    exact = law_of(PAPER, scatter=1e-9)
    high = exact.power_law.slope_ci[1]
    check = check_of(exact, Region(low=high + beyond, high=high + 0.5))
    assert check.outcome == outcome
    printed = re.search(r"slope \S+ \[(\S+), (\S+)\], allowed \[(\S+), (\S+)\]", check.report())
    assert printed is not None
    a, b, c, d = map(float, printed.groups())
    assert (c <= a and b <= d) is (outcome == "holds")


ANY_LAW = law_of(PAPER)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(0, 0.01), st.floats(-0.05, 0.05), st.floats(1e-4, 0.05))
def test_no_interval_that_is_printed_inside_the_region_does_not_hold(
    centre: float, half: float, shift: float, margin: float
) -> None:
    variance = (half / 2) ** 2
    line = PowerLaw(slope=centre, intercept=0.0, covariance=((0.0, 0.0), (0.0, variance)), df=60.0, r2=1.0, level=0.95)
    check = check_of(replace(ANY_LAW, power_law=line), Region.around(centre + shift, margin))
    printed = re.search(r"slope \S+ \[(\S+), (\S+)\], allowed \[(\S+), (\S+)\]", check.report())
    assert printed is not None
    a, b, c, d = map(float, printed.groups())
    assert (c <= a and b <= d) is (check.outcome == "holds")
    assert (b < c or a > d) is (check.outcome == "does not hold")


def test_a_failed_limit_on_the_drift_is_named_first() -> None:
    """The interval of the slope is inside its region, so the first line must not say that the exponent fails."""
    bent = {4: 1.0, 8: 0.5, 16: 0.25, 32: 0.25 * 2**-2.0}
    check = check_of(law_of(bent), Region.around(-1.3, 0.5), drift=0.5)
    first, second, *_ = check.report().splitlines()
    assert first.startswith("the limit on the change of the slope with depth does not hold: ")
    assert second.startswith("the depth exponent holds: slope -1.3")


def test_the_drift_of_two_depths_is_nan() -> None:
    drift, interval = slope_drift(Curve.from_law(law_of({4: 1.0, 8: 0.5})))
    assert np.isnan([drift, *interval]).all()


def test_draws_are_added_to_the_first_eight_until_there_are_enough() -> None:
    check = check_depth_exponent(NET, [2, 4, 8], **BATCH, expected=-1.2, margin=0.15)
    assert 8 < check.draws <= MOST_SEEDS
    assert check.draws >= min(check.needed, MOST_SEEDS)
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
    with pytest.raises(InputError, match=r"pass expected=.*or baseline="):
        ammup.assert_depth_exponent(NET, [2, 4], **options)


def test_each_seed_root_has_its_own_draws() -> None:
    options = {**BATCH, "expected": -1.0, "margin": 1.0, "seeds": 2}
    zero, three = (check_depth_exponent(NET, [2, 4], seed_root=root, **options) for root in (0, 3))
    assert set(zero.law.table["seed"]) == {0, 1}
    assert set(three.law.table["seed"]) == {3_000_000, 3_000_001}
    assert not set(zero.law.table["S_bar"]) & set(three.law.table["S_bar"])


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
        ({"seed_root": -1}, "seed_root=-1.*at least 0"),
        ({"max_depth_drift": 0.1}, "max_depth_drift.*four depths.*2 were given"),
    ],
)
def test_invalid_arguments_are_rejected_before_the_measurement(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_depth_exponent(NET, [2, 4], **BATCH, **{"expected": -1.0, "margin": 0.1, **options})


def test_the_description_of_a_check_names_the_loss_that_is_measured() -> None:
    x = torch.ones(2, 64)
    assert description(NET, MeasurementSpec(inputs=x)).endswith("on inputs of shape (2, 64), mse, part total")
    classes = MeasurementSpec(inputs=x, targets=torch.tensor([0, 1]), loss="cross_entropy")
    assert ", cross_entropy, part total" in description(NET, classes)
    assert "functional:mse_loss, part total" in description(NET, MeasurementSpec(inputs=x, loss=F.mse_loss))
