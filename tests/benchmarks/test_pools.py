"""Pools of draws compared with the library: the same weights give the same S̄, the same rows the same interval."""

import numpy as np
import pytest
import torch
from pool_parts.bootstraps import bca, bootstrap_t
from pool_parts.budget import Population, intervals
from pool_parts.cells import CELLS
from pool_parts.coverage_table import methods_table
from pool_parts.drawing import draw_moments, drawn_weights, template
from pool_parts.resampling import CLOSED, Case, moments_of
from pool_parts.store import read, rounded, write
from scipy import stats

import ammup
from ammup.claims import baselines
from ammup.claims.claim import ALPHA, claim_named
from ammup.claims.statements import CLAIMS
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import measure_draws
from ammup.models.factory import build_model
from ammup.stats.equivalence import controlled, jackknife

A = np.array([-0.5, 0.1, 0.4])


def _statistic(rows: np.ndarray) -> float:
    return float(A @ np.log(rows.mean(axis=0)))


def _rows(repeats: int, n: int) -> np.ndarray:
    return np.exp(np.random.default_rng(0).standard_normal((repeats, n, 3)) * [0.3, 0.5, 0.7])


@pytest.mark.parametrize("name", ["dense-32", "pooled-16", "residual-2d-batch-norm-16"])
def test_the_same_weights_have_the_same_s_bar(name: str) -> None:
    setting = CELLS[name].setting
    depth = setting.depths[0]
    pooled = draw_moments(setting, depth, 3, 2)
    weights = drawn_weights(setting, depth, 3, 2)
    inputs, targets = setting.batch
    spec = MeasurementSpec(inputs=inputs, targets=targets, loss=setting.loss, part=setting.part, label_draws=4)
    for i, moments in enumerate(pooled):
        model = build_model(setting.factory, depth, 0, torch.device("cpu"))
        model.load_state_dict({key: w[i] for key, w in weights.items()}, strict=False)
        (alone,) = measure_draws([model], spec, streams=[("pool", depth, 3, i)])
        assert alone.S_bar == pytest.approx(moments.S_bar, rel=1e-4)


def test_the_weights_have_the_variances_of_the_library() -> None:
    setting = CELLS["residual-dense-last-64"].setting
    depth = setting.depths[0]
    drawn = drawn_weights(setting, depth, 0, 40)
    _, deviations = template(setting, depth)
    assert set(deviations) == {key for key in drawn if key.endswith("weight")}
    model = ammup.resnet(depth, **dict(setting.arguments), seed=1)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            assert float(drawn[name].std()) == pytest.approx(float(weight.detach().std()), rel=0.06)


def test_the_interval_of_many_resamples_is_that_of_the_library() -> None:
    rows = _rows(5, 40)
    low, high = CLOSED["ammup"](moments_of(rows, A), 0.001)
    for i, one in enumerate(rows):
        # The limit of the skewness uses pseudo-values here, and linear contributions there.
        np.testing.assert_allclose((low[i], high[i]), jackknife(one, _statistic).interval(0.001), atol=3e-3)


def test_the_bootstraps_of_many_resamples_are_those_of_one_resample_in_a_loop() -> None:
    rows, alphas = _rows(2, 12), (0.025, 0.005)
    studentized = bootstrap_t(rows, A, alphas, seed=4, samples=200)
    corrected = bca(rows, A, alphas, seed=4, samples=200)
    places = np.random.default_rng(4).integers(12, size=(200, 12))
    for i, one in enumerate(rows):
        ours = jackknife(one, _statistic)
        drawn = [jackknife(one[place], _statistic) for place in places]
        t = [(_statistic(one[place]) - _statistic(one)) / d.se for place, d in zip(places, drawn, strict=True)]
        for level, alpha in enumerate(alphas):
            ends = _statistic(one) - np.quantile(t, [1 - alpha, alpha]) * ours.se
            np.testing.assert_allclose(np.array(studentized[level])[:, i], ends, rtol=1e-9)
            alone = stats.bootstrap(
                (np.arange(12),),
                lambda indices, one=one: _statistic(one[indices]),
                vectorized=False,
                confidence_level=1 - 2 * alpha,
                n_resamples=200,
                random_state=np.random.default_rng(4),
            ).confidence_interval
            np.testing.assert_allclose(np.array(corrected[level])[:, i], (alone.low, alone.high), rtol=1e-9)


def test_controlled_resamples_are_those_of_the_library() -> None:
    pool = np.exp(np.random.default_rng(1).standard_normal((30, 1)))
    control = pool * np.exp(0.2 * np.random.default_rng(2).standard_normal((30, 1)))
    case = Case(name="", pools=(pool,), controls=(control,), weights=np.ones(1))
    (rows,) = case.resamples(20, 1, np.random.default_rng(5))
    places = np.random.default_rng(5).integers(30, size=(1, 20))[0]
    expected = controlled(pool[places, 0], (control / control.mean())[places, 0], 1.0)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-10)


def test_a_synthetic_root_has_the_interval_of_the_claim() -> None:
    claim = claim_named(CLAIMS, "theorem-3.exponent-m2-all")
    rows = _rows(2, 48)
    low, high = intervals(claim, rows, (3,))
    for i, one in enumerate(rows):
        expected = jackknife(one, claim.statistic).interval(ALPHA)
        np.testing.assert_allclose((low[i], high[i]), expected, rtol=0.03, atol=1e-3)


def test_the_population_of_a_record_has_its_standard_error() -> None:
    claim = claim_named(CLAIMS, "theorem-3.exponent-m2-all")
    record = baselines.read()[claim.id]
    population = Population.from_record(claim, record)
    rows = population.draw(400, record.n, np.random.default_rng(0))
    values = [claim.statistic(one) for one in rows]
    assert np.std(values) == pytest.approx(record.se, rel=0.15)
    assert np.mean(values) == pytest.approx(record.estimate, abs=4 * record.se / 20)


def test_a_pool_is_read_as_it_was_written_except_for_its_rounding(tmp_path) -> None:
    values = np.random.default_rng(0).lognormal(size=(50, 2))
    write(tmp_path / "x.npz", {"S_bar": values}, (2, 8))
    pool = read(tmp_path / "x.npz")
    np.testing.assert_allclose(pool["S_bar"], values, rtol=2**-13)
    np.testing.assert_array_equal(pool["S_bar"], rounded(values))
    assert pool["depths"].tolist() == [2, 8]


def test_the_table_states_the_rate_over_the_nominal_one() -> None:
    one = {name: [[2500 * 1.4, 2500 * 0.6, 1.1]] * 4 for name in CLOSED}
    table = methods_table({"case": {"64": {"resamples": 100_000, "methods": one}}})
    assert "| ammup | 0.95 | 1.40 | 1.40 | 1.40 | 0.60 | 1.100 |" in table
