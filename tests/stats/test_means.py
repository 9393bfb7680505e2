"""The axioms (A1) to (A7) of the paper's appendix A as properties of our means."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ammup.stats.means import arithmetic_mean, geometric_mean, harmonic_mean, power_mean, weighted_harmonic_bound

PROPERTY = settings(derandomize=True, deadline=None, max_examples=50)
ROUNDING = 1e-11
OTHER_MEANS = {
    "geometric": geometric_mean,
    "harmonic": harmonic_mean,
    "quadratic": lambda S: power_mean(S, 2.0),
    "order 1/2": lambda S: power_mean(S, 0.5),
    "order -3": lambda S: power_mean(S, -3.0),
}
MEANS = {"arithmetic": arithmetic_mean, **OTHER_MEANS}
every_mean = pytest.mark.parametrize("mean", MEANS.values(), ids=list(MEANS))

energies = st.floats(1e-3, 1e3)
layers = st.lists(energies, min_size=2, max_size=30).map(np.array)
uneven = layers.filter(lambda S: S.max() > 1.01 * S.min())


def weights_for(S: np.ndarray) -> st.SearchStrategy[np.ndarray]:
    """Nonnegative weights of sum L."""
    shares = st.lists(st.floats(0, 1), min_size=len(S), max_size=len(S)).filter(lambda w: sum(w) > 0.1)
    return shares.map(lambda w: np.array(w) / sum(w) * len(S))


def groups_for(S: np.ndarray) -> st.SearchStrategy[np.ndarray]:
    """A partition, as the group of each layer."""
    return st.lists(st.integers(0, 4), min_size=len(S), max_size=len(S)).map(np.array)


with_weights = layers.flatmap(lambda S: st.tuples(st.just(S), weights_for(S)))
with_groups = layers.flatmap(lambda S: st.tuples(st.just(S), groups_for(S)))
blocks = st.lists(st.lists(energies, min_size=1, max_size=5), min_size=2, max_size=8)


def _merged(S: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Every layer's energy replaced by the average of its group."""
    merged = S.copy()
    for group in np.unique(groups):
        merged[groups == group] = S[groups == group].mean()
    return merged


def _secant(S: np.ndarray, i: int, factor: float) -> float:
    """Slope of the harmonic mean between S_i/√factor and √factor S_i."""
    low, high = S.copy(), S.copy()
    low[i], high[i] = S[i] / factor**0.5, S[i] * factor**0.5
    return (harmonic_mean(high) - harmonic_mean(low)) / float(high[i] - low[i])


# (A1)


@every_mean
@PROPERTY
@given(S=layers, seed=st.integers(0, 99))
def test_a1_every_mean_is_permutation_invariant(mean, S: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(S)
    assert mean(shuffled) == pytest.approx(mean(S), rel=ROUNDING)


@every_mean
@PROPERTY
@given(S=layers, scale=energies)
def test_a1_every_mean_is_positively_homogeneous(mean, S: np.ndarray, scale: float) -> None:
    assert mean(scale * S) == pytest.approx(scale * mean(S), rel=ROUNDING)


@PROPERTY
@given(drawn=with_groups)
def test_a1_the_arithmetic_mean_is_merge_consistent(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    S, groups = drawn
    assert arithmetic_mean(_merged(S, groups)) == pytest.approx(arithmetic_mean(S), rel=ROUNDING)
    sizes, averages = zip(*((np.sum(groups == g), S[groups == g].mean()) for g in np.unique(groups)), strict=True)
    assert np.dot(sizes, averages) / sum(sizes) == pytest.approx(arithmetic_mean(S), rel=ROUNDING)


@pytest.mark.parametrize("mean", OTHER_MEANS.values(), ids=list(OTHER_MEANS))
@PROPERTY
@given(S=uneven)
def test_a1_no_other_mean_is_merge_consistent(mean, S: np.ndarray) -> None:
    """One group of all layers changes it, whatever the layers, unless they are equal."""
    merged = _merged(S, np.zeros(len(S), int))
    assert mean(merged) == pytest.approx(arithmetic_mean(S), rel=ROUNDING)  # of equal values: any mean is that value
    assert mean(merged) != pytest.approx(mean(S), rel=1e-8)


@PROPERTY
@given(S=layers)
def test_power_means_of_order_1_minus_1_and_near_0_are_the_named_ones(S: np.ndarray) -> None:
    assert power_mean(S, 1.0) == pytest.approx(arithmetic_mean(S), rel=ROUNDING)
    assert power_mean(S, -1.0) == pytest.approx(harmonic_mean(S), rel=ROUNDING)
    assert power_mean(S, 1e-6) == pytest.approx(geometric_mean(S), rel=1e-4)


@PROPERTY
@given(S=uneven)
def test_the_means_are_ordered_strictly_where_layers_differ(S: np.ndarray) -> None:
    means = [power_mean(S, -3.0), harmonic_mean(S), geometric_mean(S), arithmetic_mean(S), power_mean(S, 2.0)]
    assert means == sorted(set(means))


# (A3)


@every_mean
@PROPERTY
@given(S=layers)
def test_a3_every_mean_lies_between_the_least_and_the_largest(mean, S: np.ndarray) -> None:
    assert S.min() * (1 - ROUNDING) <= mean(S) <= S.max() * (1 + ROUNDING)


@PROPERTY
@given(S=layers)
def test_a3_the_bound_at_weights_1_is_l_times_the_harmonic_mean(S: np.ndarray) -> None:
    bound = weighted_harmonic_bound(S, np.ones(len(S)))
    assert bound == pytest.approx(len(S) * harmonic_mean(S), rel=ROUNDING)


@PROPERTY
@given(energy=energies, n=st.integers(2, 30))
def test_a3_the_printed_inequality_fails_by_a_factor_l_at_equal_layers(energy: float, n: int) -> None:
    S = np.full(n, energy)
    assert weighted_harmonic_bound(S, np.ones(n)) == pytest.approx(n * arithmetic_mean(S), rel=ROUNDING)
    assert not arithmetic_mean(S) >= weighted_harmonic_bound(S, np.ones(n))


@PROPERTY
@given(drawn=with_weights)
def test_a3_cauchy_schwarz_gives_the_square_of_the_summed_roots_of_the_weights(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    S, w = drawn
    n = len(S)
    bound = weighted_harmonic_bound(S, w) * np.sqrt(w).sum() ** 2 / n**3  # (Σ √w)²/(L Σ w/S)
    assert bound == pytest.approx(np.sqrt(w).sum() ** 2 / (n * np.sum(w / S)), rel=ROUNDING)
    assert arithmetic_mean(S) >= bound * (1 - ROUNDING)


@PROPERTY
@given(S=layers)
def test_a3_the_corrected_bound_is_met_at_weights_of_the_squared_energies(S: np.ndarray) -> None:
    w = S**2 / np.sum(S**2) * len(S)
    bound = weighted_harmonic_bound(S, w) * np.sqrt(w).sum() ** 2 / len(S) ** 3
    assert bound == pytest.approx(arithmetic_mean(S), rel=ROUNDING)


# (A4)


@PROPERTY
@given(exponent=st.floats(1, 12), n=st.integers(2, 30))
def test_a4_the_geometric_mean_stays_1_while_the_arithmetic_one_grows_like_1_over_epsilon(
    exponent: float, n: int
) -> None:
    small = 10**-exponent
    S = np.array([small, 1 / small, *[1.0] * (n - 2)])
    assert geometric_mean(S) == pytest.approx(1, rel=1e-10)
    assert arithmetic_mean(S) == pytest.approx((small + 1 / small + n - 2) / n, rel=ROUNDING)
    assert arithmetic_mean(S) >= 1 / (n * small)


# (A5)


@PROPERTY
@given(S=layers, data=st.data())
def test_a5_the_slope_of_the_harmonic_mean_is_h_squared_over_l_s_squared(S: np.ndarray, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(S) - 1))
    slope = harmonic_mean(S) ** 2 / (len(S) * S[i] ** 2)
    assert slope > 0
    assume(S[i] < 100 * S.min())  # a layer that hardly counts has a slope below the rounding of a difference
    assert _secant(S, i, 1.001) == pytest.approx(slope, rel=1e-4)


@PROPERTY
@given(S=layers, fall=st.floats(1e-9, 1))
def test_a5_the_slope_is_at_most_the_number_of_layers(S: np.ndarray, fall: float) -> None:
    S[0] *= fall
    assert harmonic_mean(S) ** 2 / (len(S) * S[0] ** 2) <= len(S) * (1 + ROUNDING)
    assert _secant(S, 0, 4.0) <= len(S) * (1 + 1e-6)


@PROPERTY
@given(S=layers)
def test_a5_the_slope_tends_to_the_number_of_layers_and_not_to_infinity(S: np.ndarray) -> None:
    slopes = []
    for fall in (1e-2, 1e-5, 1e-8):
        S[0] = fall * S[1:].min()
        slopes.append(_secant(S, 0, 1.001))
    assert slopes == sorted(slopes)
    assert slopes[-1] == pytest.approx(len(S), rel=1e-5)


# (A6)


@every_mean
@PROPERTY
@given(net=blocks, share=st.floats(0.01, 0.99), data=st.data())
def test_a6_every_mean_of_block_energies_survives_the_split_of_a_layer(
    mean, net: list[list[float]], share: float, data: st.DataObject
) -> None:
    """Of the arithmetic mean as is printed, but of the geometric and harmonic ones as well, which is not."""
    before = mean(np.array([sum(block) for block in net]))
    block = data.draw(st.sampled_from(net))
    layer = block.pop()
    block += [share * layer, (1 - share) * layer]
    assert mean(np.array([sum(block) for block in net])) == pytest.approx(before, rel=ROUNDING)


@PROPERTY
@given(S=layers, share=st.floats(0.01, 0.99))
def test_a6_the_arithmetic_mean_over_layers_does_change_under_that_split(S: np.ndarray, share: float) -> None:
    split = np.array([*S[1:], share * S[0], (1 - share) * S[0]])
    assert arithmetic_mean(split) == pytest.approx(len(S) / (len(S) + 1) * arithmetic_mean(S), rel=ROUNDING)


# (A7)


@every_mean
@PROPERTY
@given(budget=energies, energy=energies, n=st.integers(2, 30))
def test_a7_where_all_layers_are_equal_a_mean_meets_the_budget_exactly_if_each_layer_does(
    mean, budget: float, energy: float, n: int
) -> None:
    assert mean(np.full(n, budget)) == pytest.approx(budget, rel=ROUNDING)
    assume(abs(energy / budget - 1) > 1e-6)
    assert mean(np.full(n, energy)) != pytest.approx(budget, rel=1e-7)
