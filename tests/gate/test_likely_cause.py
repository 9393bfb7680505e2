"""The likely cause of a failed check: named for the pattern of a known fault, and not named otherwise."""

import re
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
from cause_parts.nets import FAMILIES
from cause_parts.plant import FAULTS
from depth_curves import check_of, law_of
from scipy.stats import multivariate_normal

import ammup
from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.depth_baseline import DepthBaseline
from ammup.gate.fault_features import Features
from ammup.gate.fault_patterns import PATTERNS
from ammup.gate.likely_cause import NAMED_FROM, TEXTS, UNKNOWN, cause_probabilities
from ammup.gate.net_facts import NetFacts
from ammup.stats.equivalence import Region

DEPTHS = (2, 4, 8)
REGION = Region.around(-1.5, 0.3)
PROFILES = {depth: np.arange(1, depth + 1) ** 2.0 for depth in DEPTHS}
LR_STAR = {depth: depth**-1.5 for depth in DEPTHS}
CORRECT = check_of(law_of(LR_STAR, S=PROFILES), REGION)


def _judged(
    shift: Callable[[int], float],
    change: Callable[[np.ndarray], np.ndarray],
    *,
    units: Callable[[int], int] = lambda depth: depth,
    copied: bool = False,
    residual: bool | None = None,
) -> DepthCheck:
    """The check of a law whose log η* changed by ``shift(depth)`` and whose log S_l by ``change(0, 1, …)``."""
    S = {depth: np.arange(1, units(depth) + 1) ** 2.0 * np.exp(change(np.arange(units(depth)))) for depth in DEPTHS}
    lr_star = {depth: lr * np.exp(shift(depth)) for depth, lr in LR_STAR.items()}
    law = law_of(lr_star, S=S, units={depth: units(depth) for depth in DEPTHS})
    check = DepthCheck(
        law=law, region=REGION, allowed_drift=None, needed=0, facts=NetFacts(copied=copied, residual=residual)
    )
    return DepthBaseline.from_check(CORRECT, "a net").against(check, "a net")


def _flat(unit: np.ndarray) -> np.ndarray:
    return 0.0 * unit


@pytest.mark.parametrize(
    ("check", "cause"),
    [
        (partial(_judged, lambda d: -0.6 * d, lambda i: 0.6 * i), "grows exponentially.* factor of about 3.32 per"),
        (partial(_judged, lambda d: 0.6 * d, lambda i: -0.6 * i), "shrinks exponentially.* factor of about 0.301 per"),
        (partial(_judged, lambda d: -2.3, _flat), "same factor at every depth and in every unit"),
        (partial(_judged, lambda d: -1.0 * np.log(d), _flat), "power of the depth, equally in every unit"),
        (partial(_judged, lambda d: -3.0, lambda i: 4.0 * (i >= len(i) // 2)), "jumps at single units"),
        (partial(_judged, lambda d: 1.0, lambda i: np.where(i < 1, -np.inf, 0)), "S_l = 0.*frozen"),
        (partial(_judged, lambda d: -0.5 * d, lambda i: 0.5 * i, copied=True), "equal weights"),
        (partial(_judged, lambda d: -1.5 * np.log(1 + 1 / d), _flat, units=lambda d: d + 1), "one unit more"),
        (partial(_judged, lambda d: -1.5 * np.log(1 - 0.9 / d), _flat, units=lambda d: d - 1), "one unit fewer"),
        (partial(_judged, lambda d: -1.0, _flat, units=lambda d: 2 * d), "twice as many units"),
        (partial(_judged, lambda d: -1.0 * d, _flat, units=lambda d: 2 * d + 1), "number of depth units changed"),
    ],
)
def test_the_pattern_of_a_fault_is_named_with_its_probability(check: Callable[[], DepthCheck], cause: str) -> None:
    result = check()
    assert re.search(cause, result.cause)
    assert re.search(r"\(probability (\d\d|over 99) %\)$", result.cause)
    assert f"likely cause: {result.cause}" in result.report()


def test_a_change_without_a_pattern_is_not_named() -> None:
    check = _judged(lambda d: 2.0 if d == 4 else -2.0, lambda i: -2.0 * np.sin(i))
    assert check.cause == ""
    assert next(iter(check.causes)) == UNKNOWN
    assert "likely cause: not named, because no known fault has a probability of 80 % or more" in check.report()


def test_a_check_that_holds_has_no_causes() -> None:
    check = _judged(lambda d: 0.0, _flat)
    assert (check.outcome, check.cause, check.causes) == ("holds", "", {})


def test_a_constant_factor_with_the_allowed_slope_is_not_called_a_wrong_count() -> None:
    check = _judged(lambda d: 0.7, _flat)
    assert check.region.low < check.law.power_law.slope < check.region.high
    assert "same factor" in check.cause
    assert check.causes["one unit fewer"] < 0.05


def test_the_probabilities_are_the_normalized_products_of_prior_and_likelihood() -> None:
    law = law_of({d: 0.5 * lr for d, lr in LR_STAR.items()}, S=PROFILES)
    features = Features.from_law(law, DepthBaseline.from_check(CORRECT, "a net").expectation(), NetFacts())
    probabilities = cause_probabilities(features)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
    assert set(probabilities) == {*PATTERNS, UNKNOWN} == {*TEXTS, UNKNOWN}

    def evidence(name: str) -> float:
        pattern = PATTERNS[name]
        densities = [
            multivariate_normal.pdf(features.values, c.mean, c.covariance + features.covariance)
            for c in pattern.components(features)
        ]
        return float(np.mean(densities)) * pattern.fact_probability(features)

    odds = evidence("constant factor") / evidence("power of the depth")
    assert probabilities["constant factor"] / probabilities["power of the depth"] == pytest.approx(odds, rel=1e-6)


def test_noise_lowers_the_probability_until_no_cause_is_named() -> None:
    def probability(draws: int) -> float:
        lr_star = {depth: lr * np.exp(-0.3 * depth) for depth, lr in LR_STAR.items()}
        S = {depth: s * np.exp(0.3 * np.arange(depth)) for depth, s in PROFILES.items()}
        law = law_of(lr_star, scatter=0.99, draws=draws, S=S)
        features = Features.from_law(law, DepthBaseline.from_check(CORRECT, "a net").expectation(), NetFacts())
        return cause_probabilities(features)["growing signal"]

    assert probability(1000) > NAMED_FROM > probability(4)


@pytest.mark.parametrize("draws", [1, 2])
def test_few_weight_draws_and_two_depths_do_not_fail(draws: int) -> None:
    law = law_of({2: 1.0, 4: 0.1}, draws=draws, S={2: np.ones(2), 4: np.ones(4)})
    check = DepthCheck(law=law, region=REGION, allowed_drift=None, needed=0, moved=("moved",))
    assert sum(with_likely_cause(check).causes.values()) == pytest.approx(1)


@lru_cache
def _checked(family: str, fault: str | None) -> DepthCheck:
    """A check of a net, relative to its own slope, or to that of the correct net if it has a fault."""
    correct = FAMILIES[family]
    options = {"inputs": torch.randn(correct.shape, generator=torch.Generator().manual_seed(0)), "margin": 0.3}
    if fault is None:
        return ammup.check_depth_exponent(correct.net, DEPTHS, **options, expected=None, seeds=8)
    planted = FAULTS[fault].planted(correct)
    return ammup.check_depth_exponent(
        lambda depth, seed: planted(depth, seed + 100),
        DEPTHS,
        **options,
        expected=_checked(family, None).law.power_law.slope,
        seeds=8,
    )


# All of these tests are statistical: 8 weight draws at depths 2, 4 and 8, other draws than the baseline's. The named
# cause must have a probability of at least 0.8; each has more than 0.9 in benchmarks/causes.py. The fast ones run with
# every test run.
QUICK_FAULTS = {
    ("mlp", "all weights 1.5 times too large"): "growing signal",
    ("mlp", "all weights 0.6 times too small"): "shrinking signal",
    ("torch MLP", "one layer shared by all"): "copied layers",
    ("mlp", "first half frozen"): "still units",
    ("mlp", "one layer too few"): "one unit fewer",
    ("mlp", "readout too small"): "constant factor",
}
SLOW_FAULTS = {
    ("torch MLP", "two layers at std 1"): "single layers",
    ("residual MLP", "two layers at std 1"): "single layers",
    ("residual MLP", "branches not divided"): "growing signal",
    ("residual MLP", "all weights 1.5 times too large"): "large branches",
    ("residual MLP", "one layer too many"): "one unit more",
    ("pre-activation ResNet", "skip lost"): "other structure",
}


@pytest.mark.parametrize(
    ("family", "fault", "cause"),
    [
        *((*pair, cause) for pair, cause in QUICK_FAULTS.items()),
        *(pytest.param(*pair, cause, marks=pytest.mark.statistical) for pair, cause in SLOW_FAULTS.items()),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_the_cause_of_a_planted_fault_is_named(family: str, fault: str, cause: str) -> None:
    check = _checked(family, fault)
    result = DepthBaseline.from_check(_checked(family, None), "a net").against(check, "a net")
    assert result.outcome != "holds"
    assert (next(iter(result.causes)), bool(result.cause)) == (cause, True)


def test_two_layers_at_standard_deviation_1_are_not_called_too_small() -> None:
    result = DepthBaseline.from_check(_checked("mlp", None), "a net").against(
        _checked("mlp", "two layers at std 1"), "a net"
    )
    assert result.causes["shrinking signal"] + result.causes["small branches"] < 0.01
    assert "too small" not in result.cause
