"""Claims of the lemmas on rows whose answer is known, and their rows against differences and adjoints."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ammup.claims.claim import claim_named
from ammup.claims.draws import pulled_back, random_direction, step_of
from ammup.claims.statements import lemmas
from ammup.claims.statements.lemmas import CLAIMS, COMPARED, RECURSIONS
from ammup.claims.statements.theorem1 import LINE, MLP
from ammup.claims.statements.theorem3 import DENSE

NARROW = replace(LINE.having(width=4, in_channels=4, out_channels=4).at(3), inputs=("noise", 1, 4, 5))
SCATTER = np.array([[0.25], [0.5], [1.0], [2.25]])  # of mean 1


def _statistic(name: str, *means: float) -> float:
    """Of rows that scatter about these column means."""
    return claim_named(CLAIMS, name).statistic(SCATTER * np.array(means))


@pytest.mark.parametrize("growth", [-0.03, 0.0, 0.1])
def test_invariance_is_the_growth_per_layer(growth: float) -> None:
    assert _statistic("lemma-1.invariance-dense", 2.0, 2.0 * np.exp(5 * growth)) == pytest.approx(growth)
    assert _statistic("lemma-1.two-directions", 2.0, 2.0 * np.exp(4 * growth)) == pytest.approx(growth)


@pytest.mark.parametrize("name", ["lemma-1.zero-padding", "lemma-1.zero-padding-2d"])
def test_what_zero_padding_loses_falls_as_one_over_the_size(name: str) -> None:
    assert _statistic(name, 2.0, 2.0 * (1 - 0.4), 3.0, 3.0 * (1 - 0.1)) == pytest.approx(-1)


def test_parts_are_compared_by_their_means() -> None:
    assert _statistic("lemma-2.sum", 2.0, 2.5) == pytest.approx(np.log(1.25))
    assert _statistic("lemma-2.unit-wise", 2.0, 2.5) == pytest.approx(np.log(1.25))
    for name in ("he", "mean-field"):
        found = _statistic(f"lemma-2.output-part-{name}", 3 / 64, 3, 5 / 256, 5)
        assert found == pytest.approx(-1)


def test_the_recursion_of_residual_nets_has_the_figure_1() -> None:
    growths = [(1 + c / (2 * n_blocks)) ** n_blocks for c, n_blocks in RECURSIONS]
    means = [value for growth in growths for value in (0.7, 0.7 * growth)]
    assert _statistic("lemma-3.recursion", *means) == pytest.approx(1)
    assert _statistic("lemma-3.upper-bound", *means) == pytest.approx(np.log(1.5**4) / 2)
    assert _statistic("lemma-3.lower-bound", *means) == pytest.approx(16 * np.log1p(1 / 64) / 0.25)


def test_a_residual_net_is_compared_with_a_plain_one_at_two_depths() -> None:
    assert _statistic("lemma-3.comparison", 2.0, 3.0, 5.0, 15.0) == pytest.approx(np.log((3 / 15) / (2 / 5)))
    residual, plain = (setting.law() ** -2 for setting in COMPARED)
    assert lemmas._comparison_law() == pytest.approx(np.log(residual[1] / plain[1] / (residual[0] / plain[0])))
    assert _statistic("lemma-4.magnitude", 2.0, 3.0, 5.0, 15.0) == pytest.approx(np.log((3 / 15) / (2 / 5)))


def test_moments_of_tangents_are_those_of_differences(differences: Callable) -> None:
    rows = lemmas._first_layer(NARROW)(range(2))
    for seed, row in enumerate(rows):
        direction = random_direction(step_of(NARROW, seed), ["layers.0.weight"], seed)
        tangents = differences(NARROW, seed, direction, ("layers.0", "layers.2"))
        np.testing.assert_allclose(row, [float(t.square().mean()) for t in tangents], rtol=1e-3)


def test_two_directions_are_multiplied_and_share_a_part(differences: Callable) -> None:
    (row,) = lemmas._two_directions(NARROW)(range(1))
    step = step_of(NARROW, 0)
    one = random_direction(step, ["layers.0.weight"], 0)
    other = random_direction(step, ["layers.0.weight", "layers.1.weight"], 0, "other")
    other["layers.0.weight"] = other["layers.0.weight"] + one["layers.0.weight"]
    tangents = (differences(NARROW, 0, direction, ("layers.1", "layers.2")) for direction in (one, other))
    expected = [float((a * b).mean()) for a, b in zip(*tangents, strict=True)]
    np.testing.assert_allclose(row, expected, rtol=1e-3)


def test_the_conditional_second_moment_is_the_mean_over_the_second_layer() -> None:
    width = 8
    (row,) = lemmas._gated_over_plain(width, range(3, 4))
    setting = replace(MLP.of_width(width), depths=(1,))
    step = step_of(setting, 3)
    (t,) = step.unit_tangents(random_direction(step, ["layers.0.weight"], 3))
    (z,) = step.pre_activations(step.weights, None)
    second = (2 / width) ** 0.5 * torch.randn(40_000, width, width, generator=torch.Generator().manual_seed(0))
    ratios = (second @ (t * (z > 0))[0]).square().mean(1) / t.square().mean()
    error = 4 * float(ratios.std()) / len(ratios) ** 0.5
    assert abs(float(ratios.mean()) - 1) > 2 * error  # or the sign could not be told
    assert float(ratios.mean()) in (
        pytest.approx(1 + row[0] ** 0.5, abs=error),
        pytest.approx(1 - row[0] ** 0.5, abs=error),
    )


def test_the_tangent_kernel_is_the_jacobian_times_its_transpose() -> None:
    sizes = {"width": 6, "in_channels": 6, "out_channels": 6}
    setting = replace(DENSE.having(branch=1, **sizes).at(3), inputs=("ones", 6))
    step = step_of(setting, 0)
    u, v = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0))
    for unit in (0, 2):
        ours = lemmas._kernel_vector(step, unit, v)
        squares = sum(float(g.double().square().sum()) for g in pulled_back(step, unit, v).values())
        assert float((v * ours).sum()) == pytest.approx(squares, rel=1e-4)
        other = lemmas._kernel_vector(step, unit, u)
        assert float((u * ours).sum()) == pytest.approx(float((v * other).sum()), rel=1e-3, abs=1e-4)
