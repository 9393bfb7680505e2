"""The features of a law on profiles with a known change, and their covariance by Monte Carlo."""

from collections.abc import Callable

import numpy as np
import pytest
from depth_curves import PAPER, check_of, law_of

from ammup.gate.depth_baseline import DepthBaseline
from ammup.gate.fault_features import Expectation, Features
from ammup.gate.net_facts import NetFacts
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region

REGION = Region.around(-1.5, 0.1)
PROFILES = {depth: depth**3.0 * np.arange(1, depth + 1) ** 2 for depth in PAPER}
CORRECT = law_of(PAPER, S=PROFILES)


def _expectation(law: DepthLaw = CORRECT) -> Expectation:
    return DepthBaseline.from_check(check_of(law, REGION), "a net").expectation()


def _parts(features: Features) -> tuple[np.ndarray, np.ndarray, float]:
    n = len(features.depths)
    return features.values[:n], features.values[n:-1], features.values[-1]


def test_a_correct_law_has_no_shift_no_tilt_and_the_smallest_step() -> None:
    features = Features.from_law(CORRECT, _expectation(), NetFacts())
    shift, tilt, step = _parts(features)
    assert shift == pytest.approx(0, abs=1e-12)
    assert tilt == pytest.approx(0, abs=2e-3)  # a baseline has four digits of S_l
    assert step == pytest.approx(np.log(0.1), abs=0.02)
    assert (features.still, features.copied, features.count) == (False, False, "same")


def test_shift_and_tilt_are_those_of_an_exponential_profile() -> None:
    grown = {depth: s * np.exp(0.3 * np.arange(depth)) for depth, s in PROFILES.items()}
    law = law_of({depth: lr / depth for depth, lr in PAPER.items()}, S=grown)
    shift, tilt, step = _parts(Features.from_law(law, _expectation(), NetFacts()))
    assert shift == pytest.approx(-np.log(list(PAPER)))
    assert tilt == pytest.approx(0.3 * (np.array(list(PAPER)) - 1), abs=2e-3)
    assert step == pytest.approx(np.log(0.1), abs=0.02)


def test_the_step_is_the_jump_of_the_profile() -> None:
    jumped = {depth: s * np.where(np.arange(depth) >= depth // 2, np.e**2, 1) for depth, s in PROFILES.items()}
    _, tilt, step = _parts(Features.from_law(law_of(PAPER, S=jumped), _expectation(), NetFacts()))
    assert step == pytest.approx(np.log(0.1 + 2), abs=1e-3)
    assert np.all(tilt > 2)


@pytest.mark.parametrize(
    ("units", "count"),
    [
        (lambda depth: depth - 1, "one fewer"),
        (lambda depth: depth + 1, "one more"),
        (lambda depth: 2 * depth, "twice"),
        (lambda depth: depth + 2, "other"),
    ],
)
def test_the_change_of_the_number_of_units_is_a_fact_and_leaves_the_profile_out(
    units: Callable[[int], int], count: str
) -> None:
    law = law_of(PAPER, units={depth: units(depth) for depth in PAPER})
    features = Features.from_law(law, _expectation(), NetFacts())
    _, tilt, step = _parts(features)
    assert features.count == count
    assert np.isnan([*tilt, step]).all()
    assert list(features.n_units) == list(PAPER)


def test_still_units_and_copied_layers_are_facts_unless_the_correct_model_has_them() -> None:
    frozen = law_of(PAPER, S={depth: np.where(np.arange(depth) < 2, 0, s) for depth, s in PROFILES.items()})
    features = Features.from_law(frozen, _expectation(), NetFacts(copied=True))
    assert features.still
    assert features.copied
    alike = DepthBaseline.from_check(check_of(frozen, REGION), "a net").model_copy(update={"copied": True})
    features = Features.from_law(frozen, alike.expectation(), NetFacts(copied=True))
    assert not features.still
    assert not features.copied


def test_a_baseline_without_profiles_gives_the_shift_only() -> None:
    old = DepthBaseline.from_check(check_of(CORRECT, REGION), "a net").model_copy(update={"S": None})
    features = Features.from_law(
        law_of({d: 2 * lr for d, lr in PAPER.items()}, S=PROFILES), old.expectation(), NetFacts()
    )
    assert _parts(features)[0] == pytest.approx(np.log(2))
    assert features.count is None


def test_the_expected_slope_fits_with_any_prefactor() -> None:
    for prefactor in (1e-3, 1.0, 1e3):
        law = law_of({depth: prefactor * lr for depth, lr in PAPER.items()}, S=PROFILES)
        features = Features.from_law(law, Expectation.from_slope(REGION, law), NetFacts())
        n = len(PAPER)
        shift, covariance = features.values[:n], features.covariance[:n, :n]
        level = np.full(n, shift.mean())
        assert shift == pytest.approx(level)
        # One standard error of 5 in the level; nothing else is left to explain.
        assert level @ np.linalg.solve(covariance, level) == pytest.approx((level[0] / 5) ** 2, rel=0.05)


def test_the_variance_of_the_shift_is_that_of_both_laws() -> None:
    rng = np.random.default_rng(0)
    draws, sigma = 40, 0.5

    def drawn() -> DepthLaw:
        law = law_of(PAPER, draws=draws, S=PROFILES)
        noise = rng.lognormal(0, sigma, len(law.table))
        table = law.table.assign(S_bar=law.table["S_bar"].to_numpy() * noise)
        return DepthLaw(table=table, units=law.units, S=law.S, power_law=law.power_law)

    pairs = [Features.from_law(drawn(), _expectation(drawn()), NetFacts()) for _ in range(60)]
    shifts = np.array([features.values[0] for features in pairs])
    stated = np.mean([features.covariance[0, 0] for features in pairs])
    assert stated == pytest.approx(shifts.var(), rel=0.6)  # 60 pairs: the sample variance has an error of 18 %
