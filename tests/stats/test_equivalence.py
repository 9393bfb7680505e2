"""Equivalence tests against simulation, closed forms of Student's t, and the textbook's standard errors."""

import math

import numpy as np
import pytest
from scipy import stats

from ammup import InputError
from ammup.stats.equivalence import INSIDE, OUTSIDE, UNDECIDED, Estimate, Region, controlled, jackknife

UNIT = Region(low=-1.0, high=1.0)


def _exactly(value: float) -> Estimate:
    return Estimate(value=value, se=0.0, df=1, n=1)


def _of_mean(values: np.ndarray) -> Estimate:
    """The textbook's mean ± s/√n."""
    n = len(values)
    return Estimate(value=float(values.mean()), se=float(values.std(ddof=1)) / n**0.5, df=n - 1, n=n)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan), (math.inf, 0.0)])
def test_an_empty_region_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match="is empty; give low <= high"):
        Region(low=low, high=high)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(InputError, match="is empty"):
        Region.around(0.5, -0.1)


def test_a_region_around_a_reference_has_it_as_centre_and_the_margin_as_margin() -> None:
    region = Region.around(-1.5, 0.25)
    assert (region.low, region.high) == (-1.75, -1.25)
    assert (region.centre, region.margin) == (-1.5, 0.25)


@pytest.mark.parametrize(
    ("low", "high", "centre"), [(2.0, math.inf, 2.0), (-math.inf, 3.0, 3.0), (-math.inf, math.inf, 0.0)]
)
def test_a_one_sided_region_is_centred_at_its_finite_end_and_has_an_infinite_margin(
    low: float, high: float, centre: float
) -> None:
    region = Region(low=low, high=high)
    assert region.centre == centre
    assert region.margin == math.inf


@pytest.mark.parametrize("alpha", [0.25, 0.05, 6e-5])
def test_the_interval_has_the_quantiles_of_student_s_t_in_closed_form(alpha: float) -> None:
    tail = {1: math.tan(math.pi * (0.5 - alpha)), 2: (1 - 2 * alpha) / math.sqrt(2 * alpha * (1 - alpha))}
    for df, quantile in tail.items():
        low, high = Estimate(value=3.0, se=0.5, df=df, n=df + 1).interval(alpha)
        assert low == pytest.approx(3 - 0.5 * quantile, rel=1e-8)
        assert high == pytest.approx(3 + 0.5 * quantile, rel=1e-8)


def test_without_sampling_error_the_interval_is_the_value_and_the_region_s_ends_belong_to_it() -> None:
    assert _exactly(0.3).interval(1e-9) == (0.3, 0.3)
    assert [_exactly(v).against(UNIT, 0.05) for v in (-1.0, 0.0, 1.0)] == [INSIDE] * 3
    assert [_exactly(v).against(UNIT, 0.05) for v in (np.nextafter(-1.0, -2.0), 1.0000001)] == [OUTSIDE] * 2


@pytest.mark.parametrize(
    ("value", "se", "where"),
    [
        (0.0, 0.1, INSIDE),
        (0.9, 0.1, UNDECIDED),
        (1.1, 0.1, UNDECIDED),
        (-1.1, 0.1, UNDECIDED),
        (1.5, 0.1, OUTSIDE),
        (-1.5, 0.1, OUTSIDE),
        (0.0, 1.0, UNDECIDED),
    ],
)
def test_an_estimate_is_inside_only_with_its_whole_interval(value: float, se: float, where: str) -> None:
    estimate = Estimate(value=value, se=se, df=1000, n=1001)  # ± 0.165 at alpha = 0.05 and se = 0.1
    assert estimate.against(UNIT, 0.05) == where


def test_noise_makes_a_claim_undecided_and_never_true() -> None:
    noisy = [Estimate(value=v, se=0.7, df=1000, n=1001) for v in np.linspace(-5, 5, 201).tolist()]
    assert INSIDE not in {estimate.against(UNIT, 0.05) for estimate in noisy}


@pytest.mark.parametrize(("value", "where"), [(1.0, INSIDE), (0.0, UNDECIDED), (-1.0, OUTSIDE)])
def test_a_one_sided_region_has_one_end_to_leave(value: float, where: str) -> None:
    estimate = Estimate(value=value, se=0.1, df=50, n=51)
    assert estimate.against(Region(low=0.0, high=math.inf), 0.01) == where
    mirrored = Estimate(value=-value, se=0.1, df=50, n=51)
    assert mirrored.against(Region(low=-math.inf, high=0.0), 0.01) == where


@pytest.mark.parametrize("edge", [-1, 1])
@pytest.mark.parametrize("margin", [0.4, 0.8, 3.0])
def test_at_the_margin_s_edge_inside_and_outside_are_each_wrong_in_at_most_alpha_of_all_samples(
    margin: float, edge: int
) -> None:
    alpha, repetitions = 0.05, 2000
    samples = np.random.default_rng(0).normal(edge * margin, 1.0, (repetitions, 8))
    found = [_of_mean(sample).against(Region.around(0, margin), alpha) for sample in samples]
    scatter = (alpha * (1 - alpha) / repetitions) ** 0.5
    for wrong in (INSIDE, OUTSIDE):
        assert found.count(wrong) / repetitions < alpha + 3 * scatter
    assert found.count(OUTSIDE) / repetitions > alpha - 3 * scatter  # one bound only: the rate is alpha itself
    if margin == 3.0:  # likewise, where the other bound is never met
        assert found.count(INSIDE) / repetitions > alpha - 3 * scatter


@pytest.mark.parametrize("truth", [None, 0.15, 0.35])
@pytest.mark.parametrize("region", [Region.around(0.1, 0.3), Region(low=-0.2, high=math.inf)])
def test_power_is_the_share_of_repeated_estimates_inside(region: Region, truth: float | None) -> None:
    alpha, se, df, repetitions = 0.02, 0.1, 12, 1000
    power = Estimate(value=99.0, se=se, df=df, n=df + 1).power(region, alpha, truth)
    at = region.centre if truth is None else truth
    values = np.random.default_rng(1).normal(at, se, repetitions)
    inside = [Estimate(value=float(v), se=se, df=df, n=df + 1).against(region, alpha) == INSIDE for v in values]
    assert np.mean(inside) == pytest.approx(power, abs=4 * (power * (1 - power) / repetitions) ** 0.5 + 1e-3)


def test_power_in_closed_form_where_t_is_cauchy() -> None:
    alpha, se = 0.1, 0.05
    t = math.tan(math.pi * 0.4)
    ends = [stats.norm.cdf(1 / se - t), stats.norm.cdf(-1 / se + t)]
    assert Estimate(value=0, se=se, df=1, n=2).power(UNIT, alpha) == pytest.approx(ends[0] - ends[1])


def test_power_is_nothing_where_the_interval_is_wider_than_the_region_and_falls_towards_the_edge() -> None:
    assert Estimate(value=0, se=1.0, df=5, n=6).power(UNIT, 0.05) == 0
    sharp = Estimate(value=0, se=0.2, df=30, n=31)
    powers = [sharp.power(UNIT, 0.05, truth) for truth in (0.0, 0.4, 0.8, 1.0)]
    assert powers == sorted(powers, reverse=True)
    assert powers[0] > 0.99
    assert powers[-1] == pytest.approx(0.05, abs=0.01)  # of the edge, where the normal stands in for t


def test_without_sampling_error_the_power_is_one_inside() -> None:
    assert _exactly(0.5).power(UNIT, 1e-9, 0.5) == 1


def test_without_sampling_error_the_power_is_nothing_outside() -> None:
    assert _exactly(5.0).power(UNIT, 1e-9, 5.0) == 0


def test_the_jackknife_of_a_mean_is_the_textbook_s_standard_error() -> None:
    values = np.random.default_rng(2).lognormal(size=17)
    estimate, textbook = jackknife(values, np.mean), _of_mean(values)
    assert estimate.value == pytest.approx(textbook.value)
    assert estimate.se == pytest.approx(textbook.se)
    assert (estimate.n, estimate.df) == (17, 16)


def _log_ratio(rows: np.ndarray) -> float:
    one, other = np.log(rows.mean(axis=0))
    return float(other - one)


def test_the_jackknife_of_a_log_ratio_agrees_with_the_delta_method_and_a_bootstrap() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(250, 1))
    rows = np.exp(0.5 * (common + 0.4 * rng.normal(size=(250, 2))))  # correlated columns: one draw gives both
    estimate = jackknife(rows, _log_ratio)
    share = rows / rows.mean(axis=0)
    delta = np.std(share[:, 1] - share[:, 0], ddof=1) / 250**0.5
    resampled = [_log_ratio(rows[rng.integers(250, size=250)]) for _ in range(2000)]
    assert estimate.value == _log_ratio(rows)
    assert estimate.se == pytest.approx(delta, rel=0.02)
    assert estimate.se == pytest.approx(np.std(resampled), rel=0.06)
    apart = np.sqrt(np.sum(np.var(share, axis=0, ddof=1)) / 250)
    assert estimate.se < 0.6 * apart  # the columns' correlation is made use of


@pytest.mark.parametrize(
    "rows", [np.ones(1), np.ones((0, 3)), np.array([1.0, math.nan, 2.0]), np.array([[1.0, 2.0], [math.inf, 1.0]])]
)
def test_rows_that_are_too_few_or_not_finite_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected at least two rows of finite"):
        jackknife(rows, np.mean)


@pytest.mark.parametrize("fails_at", [4, 5])
def test_a_statistic_that_is_not_finite_is_refused_with_all_rows_and_without_one(fails_at: int) -> None:
    with pytest.raises(InputError, match="is not finite; check the measured values"):
        jackknife(np.arange(5.0), lambda rows: math.nan if len(rows) == fails_at else float(rows.mean()))


def test_a_control_variate_s_slope_is_that_of_the_other_draws() -> None:
    rng = np.random.default_rng(4)
    control = rng.exponential(size=9)
    values = control**2 + rng.normal(size=9)
    adjusted = []
    for i in range(9):
        x, y = np.delete(control, i), np.delete(values, i)
        slope = np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2)
        adjusted.append(values[i] - slope * (control[i] - 1.0))
    np.testing.assert_allclose(controlled(values, control, 1.0), adjusted, rtol=1e-10)


def test_a_control_variate_leaves_the_expectation_where_it_is() -> None:
    """Here one slope for all draws, fitted to them, is off by many standard errors."""
    rng = np.random.default_rng(5)
    n, repetitions, truth = 6, 4000, 5 / 3
    ours, plain = [], []
    for _ in range(repetitions):
        control = rng.uniform(0, 2, n)  # mean 1
        values = control**2 + 1 / 3
        ours.append(controlled(values, control, 1.0).mean())
        slope = np.polyfit(control, values, 1)[0]
        plain.append((values - slope * (control - 1)).mean())
    for found, unbiased in ((ours, True), (plain, False)):
        scores = abs(np.mean(found) - truth) / (np.std(found) / repetitions**0.5)
        assert scores < 4 if unbiased else scores > 8


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
def test_a_control_variate_leaves_one_minus_r_squared_of_the_variance(correlation: float) -> None:
    x, noise = np.random.default_rng(6).normal(size=(2, 4000))
    values = correlation * x + (1 - correlation**2) ** 0.5 * noise
    adjusted = controlled(values, x, 0.0)
    assert np.var(adjusted) / np.var(values) == pytest.approx(1 - correlation**2, rel=0.05)


def test_an_uncontrolled_draw_s_value_stays_where_its_control_is_as_expected() -> None:
    control = np.array([1.0, 2.0, 4.0, 0.5, 3.0])
    values = np.array([5.0, 1.0, 2.0, 2.5, 0.0])
    adjusted = controlled(values, control, 4.0)
    assert adjusted[2] == values[2]
    assert not np.any(np.delete(adjusted == values, 2))


@pytest.mark.parametrize(("n", "shape"), [(3, (3,)), (5, (4,)), (5, (5, 1))])
def test_too_few_draws_or_controls_of_another_shape_are_refused(n: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected at least 4 values and as many"):
        controlled(np.arange(float(n)), np.ones(shape), 1.0)


@pytest.mark.parametrize(("n", "constant"), [(7, 0.1), (10, 1 / 3), (11, 0.7)])
def test_a_control_that_is_the_same_in_every_draw_changes_nothing_much(n: int, constant: float) -> None:
    values = np.random.default_rng(7).normal(size=n)
    assert np.all(abs(controlled(values, np.full(n, constant), 1.0)) < 100)
