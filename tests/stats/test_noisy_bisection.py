"""The posterior against the closed form of one test, a naive sum over thresholds, and simulated thresholds."""

import numpy as np
import pytest
from scipy import stats

from ammup.stats.noisy_bisection import Test as Probe
from ammup.stats.noisy_bisection import Threshold

BETWEEN, WITHIN = 0.2, 0.05


def _prior(sd: float = 0.4) -> Threshold:
    return Threshold.normal(-1.0, sd, between=BETWEEN, within=WITHIN)


def test_without_tests_it_is_the_prior() -> None:
    prior = _prior()
    assert prior.mean == pytest.approx(-1.0)
    assert prior.sd == pytest.approx(0.4, rel=1e-3)
    assert prior.interval(0.95) == pytest.approx((-1 - 1.96 * 0.4, -1 + 1.96 * 0.4), abs=2e-3)


@pytest.mark.parametrize("failed", [True, False])
def test_one_test_has_the_closed_form_of_a_skew_normal_distribution(failed: bool) -> None:
    # normal prior times Φ: the mean moves by sd² φ(z) / (s Φ(z)) with s² = sd² + noise² (O'Hagan and Leonard 1976)
    place, sd = -0.7, 0.4
    noise = np.hypot(BETWEEN, WITHIN)
    s = np.hypot(sd, noise)
    sign = 1 if failed else -1
    z = sign * (place + 1.0) / s
    mean = -1.0 - sign * sd**2 / s * stats.norm.pdf(z) / stats.norm.cdf(z)
    assert _prior().after([Probe(place=place, failed=failed, group=0)]).mean == pytest.approx(mean, abs=2e-3)


def test_tests_of_one_group_share_a_threshold() -> None:
    # the oracle sums over the wanted threshold and that of the group, both on grids of its own
    places = [(-1.1, False), (-0.9, True), (-0.8, True)]
    found = _prior().after([Probe(place=place, failed=failed, group="a") for place, failed in places])
    wanted, own = np.linspace(-3, 1, 401), np.linspace(-3, 1, 1603)
    likelihood = np.prod([stats.norm.cdf((p - own) / WITHIN * (1 if f else -1)) for p, f in places], axis=0)
    weights = stats.norm.pdf(wanted, -1.0, 0.4) * (stats.norm.pdf(own, wanted[:, None], BETWEEN) @ likelihood)
    mean = float(weights @ wanted / weights.sum())
    assert found.mean == pytest.approx(mean, abs=3e-3)
    assert found.sd == pytest.approx(float(np.sqrt(weights @ (wanted - mean) ** 2 / weights.sum())), abs=3e-3)


def test_many_tests_of_a_group_leave_the_scatter_between_groups_and_several_groups_do_not() -> None:
    def bisected(groups: int) -> Threshold:
        threshold = _prior(1.0)
        for number in range(24):
            at = threshold.median
            threshold = threshold.after([Probe(place=at, failed=at > -0.5, group=number % groups)])
        return threshold

    assert bisected(1).sd == pytest.approx(BETWEEN, rel=0.1)
    assert bisected(12).sd < 0.6 * BETWEEN


@pytest.mark.parametrize("tests", [1, 4])
def test_intervals_contain_simulated_thresholds(tests: int) -> None:
    rng, inside, count = np.random.default_rng(0), 0, 150
    for _ in range(count):
        wanted, threshold = rng.normal(-1.0, 0.4), _prior()
        own = wanted + BETWEEN * rng.normal(size=2)
        for number in range(tests):
            at = threshold.median
            failed = bool(at > own[number % 2] + WITHIN * rng.normal())
            threshold = threshold.after([Probe(place=at, failed=failed, group=number % 2)])
        low, high = threshold.interval(0.9)
        inside += low <= wanted <= high
    assert stats.binomtest(inside, count, 0.9).pvalue > 1e-3


def test_the_expected_gain_is_the_mean_over_simulated_outcomes() -> None:
    prior = _prior()
    rng, at = np.random.default_rng(1), prior.median
    after = {failed: prior.after([Probe(place=at, failed=failed, group=0)]).sd for failed in (True, False)}
    own = rng.normal(-1.0, np.sqrt(0.4**2 + BETWEEN**2 + WITHIN**2), size=100_000)
    expected = np.where(at > own, after[True], after[False]).mean()
    assert prior.sd_after_one(0) == pytest.approx(expected, rel=1e-2)
    assert prior.sd_after_one(0) < prior.sd


def test_places_are_equally_spaced_quantiles() -> None:
    assert _prior().places(3) == pytest.approx([-1 + 0.4 * stats.norm.ppf(q) for q in (0.25, 0.5, 0.75)], abs=3e-3)
