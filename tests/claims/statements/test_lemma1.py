"""Lemma 1: statistics on rows with a known result, and rows against finite differences and sampled weights."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ammup.claims.claim import claim_named
from ammup.claims.draws import random_direction, step_of
from ammup.claims.statements import lemma1
from ammup.claims.statements.lemma1 import CLAIMS
from ammup.claims.statements.settings import LINE, MLP

NARROW = replace(LINE.with_arguments(width=4, in_channels=4, out_channels=4).at(3), inputs=("noise", 1, 4, 5))
SCATTER = np.array([[0.25], [0.5], [1.0], [2.25]])  # of mean 1


def _statistic(name: str, *means: float) -> float:
    """The statistic of a claim on scattered rows with these column means."""
    return claim_named(CLAIMS, name).statistic(SCATTER * np.array(means))


@pytest.mark.parametrize("growth", [-0.03, 0.0, 0.1])
def test_invariance_is_the_growth_per_layer(growth: float) -> None:
    assert _statistic("lemma-1.invariance-dense", 2.0, 2.0 * np.exp(5 * growth)) == pytest.approx(growth)
    assert _statistic("lemma-1.two-directions", 2.0, 2.0 * np.exp(4 * growth)) == pytest.approx(growth)


@pytest.mark.parametrize("name", ["lemma-1.zero-padding", "lemma-1.zero-padding-2d"])
def test_the_loss_from_zero_padding_falls_as_one_over_the_size(name: str) -> None:
    assert _statistic(name, 2.0, 2.0 * (1 - 0.4), 3.0, 3.0 * (1 - 0.1)) == pytest.approx(-1)


def test_tangent_moments_agree_with_finite_differences(differences: Callable) -> None:
    rows = lemma1._first_layer(NARROW)(range(2))
    for seed, row in enumerate(rows):
        direction = random_direction(step_of(NARROW, seed), ["layers.0.weight"], seed)
        tangents = differences(NARROW, seed, direction, ("layers.0", "layers.2"))
        np.testing.assert_allclose(row, [float(t.square().mean()) for t in tangents], rtol=1e-3)


def test_moments_of_two_directions_agree_with_finite_differences(differences: Callable) -> None:
    (row,) = lemma1._two_directions(NARROW)(range(1))
    step = step_of(NARROW, 0)
    one = random_direction(step, ["layers.0.weight"], 0)
    other = random_direction(step, ["layers.0.weight", "layers.1.weight"], 0, "other")
    other["layers.0.weight"] = other["layers.0.weight"] + one["layers.0.weight"]
    tangents = (differences(NARROW, 0, direction, ("layers.1", "layers.2")) for direction in (one, other))
    expected = [float((a * b).mean()) for a, b in zip(*tangents, strict=True)]
    np.testing.assert_allclose(row, expected, rtol=1e-3)


def test_the_conditional_second_moment_is_the_mean_over_the_second_layer() -> None:
    width = 8
    (row,) = lemma1._gated_over_plain(width, range(3, 4))
    setting = replace(MLP.of_width(width), depths=(1,))
    step = step_of(setting, 3)
    (t,) = step.unit_tangents(random_direction(step, ["layers.0.weight"], 3))
    (z,) = step.pre_activations(step.weights, None)
    second = (2 / width) ** 0.5 * torch.randn(40_000, width, width, generator=torch.Generator().manual_seed(0))
    ratios = (second @ (t * (z > 0))[0]).square().mean(1) / t.square().mean()
    error = 4 * float(ratios.std()) / len(ratios) ** 0.5
    assert abs(float(ratios.mean()) - 1) > 2 * error  # otherwise the sign of the deviation is unknown
    assert float(ratios.mean()) in (
        pytest.approx(1 + row[0] ** 0.5, abs=error),
        pytest.approx(1 - row[0] ** 0.5, abs=error),
    )
