"""Appendix A: properties of means on values with a known result, and sums of steps against finite differences."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ammup.claims.claim import Claim, claim_named, examine
from ammup.claims.draws import step_of
from ammup.claims.statements import means
from ammup.claims.statements.means import CLAIMS, merge_violation
from ammup.claims.statements.settings import MLP
from ammup.stats.means import arithmetic_mean, geometric_mean, harmonic_mean
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS

S = np.array([1.0, 2.0, 4.0, 9.0])
EXACT = [claim for claim in CLAIMS if claim.exact]
FALSE = {"means.a3-bound", "means.a5-limit", "means.a6-contrast"}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_merge_replaces_the_values_on_both_sides_by_their_averages() -> None:
    assert merge_violation(arithmetic_mean, S, 2) == pytest.approx(0)
    merged = (1.5**2 * 6.5**2) ** 0.25
    assert merge_violation(geometric_mean, S, 2) == pytest.approx(merged / 72**0.25 - 1)
    assert merge_violation(harmonic_mean, S, 1) == pytest.approx(
        (4 / (1 + 3 / 5)) / (4 / (1 + 1 / 2 + 1 / 4 + 1 / 9)) - 1
    )


def test_equal_values_exceed_the_bound_by_their_number() -> None:
    """For equal S and weights of sum L, L²/Σ(w/S) is L S."""
    assert means._bound_excess(np.full(7, 3.0), _rng()) == pytest.approx(6)


def test_the_distance_is_negative_inside_the_range_and_zero_at_its_ends() -> None:
    assert means._out_of_range(S, _rng()) == pytest.approx(max(1 / 4 - 1, 4 / 9 - 1))
    assert means._out_of_range(np.full(3, 2.0), _rng()) == 0


def test_the_geometric_mean_is_1_with_an_unbounded_arithmetic_mean() -> None:
    assert means._unbounded_mean(S, _rng()) == pytest.approx(0, abs=1e-12)


def test_the_harmonic_slope_is_its_derivative_and_tends_to_the_number_of_layers() -> None:
    assert means._harmonic_slope(S, _rng()) < 1e-12
    assert means._harmonic_slope_at_zero(S, _rng()) == pytest.approx(0, abs=1e-9)


def test_splitting_a_layer_preserves_the_sum_of_its_block() -> None:
    before, after = means._blocks(S, _rng())
    np.testing.assert_allclose(before, after)
    assert before.sum() == pytest.approx(S.sum())
    assert means._split(geometric_mean)(S, _rng()) == pytest.approx(0, abs=1e-12)
    assert means._homogeneous(S, _rng()) == 0


@pytest.mark.parametrize("claim", EXACT, ids=lambda claim: claim.id)
def test_an_exact_claim_is_settled_by_200_examples(claim: Claim) -> None:
    finding = examine(claim)
    assert finding.verdict == (DOES_NOT_HOLD if claim.id in FALSE else HOLDS)
    assert finding.estimate.n == 200


def test_examples_are_those_of_the_first_seed() -> None:
    rows = claim_named(CLAIMS, "means.a1-geometric").rows
    np.testing.assert_array_equal(rows(range(5, 7)), rows(range(5, 9)))
    assert not np.array_equal(rows(range(5, 7)), rows(range(6, 7)))


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_growth_is_the_slope_on_log_l(name: str, rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, f"means.a2-{name}")
    ratios = np.array([3.0, 3.0 * 4**0.5])
    S_sums = np.array([2.0, 7.0])
    columns = [ratios[0] * S_sums[0], S_sums[0], ratios[1] * S_sums[1], S_sums[1]]
    assert claim.statistic(rows_of(*(np.array(columns) ** -0.5))) == pytest.approx(0.5)


def test_steps_of_all_layers_are_added_before_and_after_squaring(differences: Callable) -> None:
    setting = MLP.of_width(6)
    (row,) = means._sum_over_layers(setting)(range(2, 3))
    for place, depth in enumerate((4, 16)):
        one = replace(setting, depths=(depth,))
        net = one.factory(depth, seed=2).double()
        outputs = net(one.batch[0].double())
        (y,) = step_of(one, 2).labels(outputs.detach().float(), 2)
        (outputs * y.double() / outputs.numel()).sum().backward()
        gradient = {name: p.grad for name, p in net.named_parameters()}
        moved = differences(one, 2, gradient, tuple(f"layers.{i}" for i in range(depth)))
        expected = [float(torch.stack(moved).sum(0).square().mean()), sum(float(z.square().mean()) for z in moved)]
        np.testing.assert_allclose(row[2 * place : 2 * place + 2], expected, rtol=1e-3)
