"""The edge of a sweep: closed forms, the slopes of the stored sweeps, flags, and the coverage of its interval."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ammup.errors import InputError
from ammup.experiments.analysis import law_of
from ammup.experiments.record import SweepRecord
from ammup.stats.edge import (
    AT_END,
    AT_START,
    DIVERGED,
    GRADUAL,
    NO_CLIFF,
    NO_RISE,
    SEVERAL,
    _falls,
    edge_errors,
    edge_of,
)
from ammup.stats.optimum import fit_sweep
from ammup.stats.peak import INCOMPLETE, optimum_of

SWEEPS = Path(__file__).parents[2] / "baselines" / "sweeps"
U = np.linspace(-3, 1, 41)
SPACING = U[1] - U[0]
# Slopes of the edges of one seed, measured independently of this library, with chance 10 %.
STORED = {
    "cnn-relu": (-1.24, -1.44),
    "cnn-zero": (-2.01, -1.28),
    "cnn-gelu": (-1.63, -1.80),
    "resnet": (-0.10, -0.07),
    "resnet-last": (-0.21, -0.94),
    "resnet-batchnorm": (-1.62,),
}


def _runs(edges: list[float], *, depth: int = 4, u: np.ndarray = U, width: float = 0.02) -> pd.DataFrame:
    """One seed for each edge (log10 η): accuracy 40 % with a maximum one decade below, a logistic fall to 10 %."""
    rows = []
    for seed, edge in enumerate(edges):
        fall = 1 / (1 + np.exp(np.clip((u - edge) / width, -50, 50)))
        accuracy = 0.1 + (0.3 - 0.001 * (u - edge + 1) ** 2) * fall
        rows.append(pd.DataFrame({"depth": depth, "lr": 10**u, "seed": seed, "val_accuracy": accuracy}))
    return pd.concat(rows, ignore_index=True).assign(diverged=False)


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name, slopes in STORED.items() for seed in range(len(slopes))]
)
def test_stored_sweeps_have_the_slopes_that_were_measured_before(name: str, seed: int) -> None:
    runs = SweepRecord.read(SWEEPS / f"{name}-cifar10-small.json").runs
    law = fit_sweep(runs[runs["seed"] == seed], kind="edge", keep_flagged=True, chance=0.1)
    assert law.power_law is not None  # one seed has no standard errors, so the fit is not weighted
    assert law.power_law.slope == pytest.approx(STORED[name][seed], abs=0.006)


def test_the_edge_is_interpolated_between_grid_points() -> None:
    """A fall that is linear in log η crosses half of the rise at a place that is known exactly."""
    accuracy = np.interp(U, [-1, 0.03, 0.47], [0.5, 0.5, 0.1])
    runs = pd.DataFrame({"lr": 10**U, "seed": 0, "val_accuracy": accuracy, "diverged": False})
    assert np.log10(optimum_of(runs, chance=0.1).edge) == pytest.approx(0.25)
    assert np.log10(optimum_of(runs, chance=0.3).edge) == pytest.approx(0.14)
    assert np.log10(optimum_of(runs).edge) == pytest.approx(0.25)  # chance is the lowest accuracy


def test_a_diverged_replica_has_the_accuracy_of_chance() -> None:
    runs = _runs([0.04, 0.04])
    lost = runs["lr"] > 10**0.05
    nan = runs.assign(diverged=lost, val_accuracy=runs["val_accuracy"].where(~lost))
    step = runs.assign(val_accuracy=runs["val_accuracy"].where(~lost, 0.1))
    assert optimum_of(nan, chance=0.1).edge == optimum_of(step, chance=0.1).edge
    assert np.log10(optimum_of(nan, chance=0.1).edge) == pytest.approx(0.05, abs=SPACING / 2)


def test_the_edge_of_a_depth_is_the_geometric_mean_over_its_seeds() -> None:
    found = fit_sweep(_runs([-0.45, -0.05]), kind="edge", chance=0.1)
    assert np.log10(found.lr_star(4)[0]) == pytest.approx(-0.25, abs=0.01)
    assert found.flags(4) == ()
    assert found.to_dict()["chance"] == 0.1


@pytest.mark.parametrize(
    ("knots", "accuracies", "gradual"),
    [
        ([-1, 0.2], [0.5, 0.1], False),  # 90 to 10 % of the rise is 0.8 of the 1.2 decades
        ([-1, 0.3], [0.5, 0.1], True),  # 0.8 of 1.3 decades
        ([-1, -0.5, 0.4, 0.5, 0.6], [0.5, 0.1, 0.1, 0.2, 0.1], False),  # a late recovery is not part of the fall
        ([-1, -0.4, 0.95], [0.5, 0.2, 0.15], True),  # it never falls to 10 %
    ],
)
def test_a_fall_over_more_than_a_decade_is_gradual(knots: list, accuracies: list, gradual: bool) -> None:
    runs = pd.DataFrame({"lr": 10**U, "seed": 0, "val_accuracy": np.interp(U, knots, accuracies), "diverged": False})
    assert (GRADUAL in optimum_of(runs, chance=0.1).edge_flags) == gradual


def _flags(runs: pd.DataFrame) -> tuple[str, ...]:
    return optimum_of(runs, chance=0.1).edge_flags


def _with(runs: pd.DataFrame, place: int, **values: object) -> pd.DataFrame:
    """The runs with other values at one learning rate."""
    at = np.isclose(runs["lr"], 10 ** U[place])
    return runs.assign(**{name: runs[name].where(~at, value) for name, value in values.items()})


def test_what_cannot_be_trusted_is_flagged() -> None:
    runs = _runs([0.0, 0.02])
    assert _flags(runs) == ()
    assert _flags(_runs([0.0, 3.0])) == (NO_CLIFF,)
    assert _flags(_runs([0.0, 0.95])) == (AT_END,)
    assert AT_START in _flags(runs[runs["lr"] >= 0.1 * 1.5])
    assert NO_RISE in _flags(runs.assign(val_accuracy=0.1 + 0.05 * (runs["val_accuracy"] - 0.1)))
    assert INCOMPLETE in _flags(runs.drop(index=5))
    assert SEVERAL in _flags(_with(runs, 35, val_accuracy=0.35))
    assert _flags(_with(runs, 32, val_accuracy=0.35)) == ()  # within a factor of two it is noise
    assert DIVERGED in _flags(_with(runs, 15, val_accuracy=np.nan, diverged=True))
    assert _flags(_with(runs, 28, val_accuracy=np.nan, diverged=True)) == ()


def test_flags_of_the_best_learning_rate_do_not_exclude_an_edge() -> None:
    """A maximum next to a divergence is no reason to distrust the edge between them."""
    runs = pd.concat([_runs([0.05, 0.05], depth=4, width=1e-3), _runs([-0.45, -0.45], depth=8, width=1e-3)])
    runs["val_accuracy"] = np.where(runs["val_accuracy"] > 0.11, runs["val_accuracy"] + 0.1 * np.log10(runs["lr"]), 0.1)
    lost = runs["val_accuracy"] == 0.1
    runs = runs.assign(diverged=lost, val_accuracy=runs["val_accuracy"].where(~lost))
    best, edge = fit_sweep(runs, kind="smoothed", chance=0.1), fit_sweep(runs, kind="edge", chance=0.1)
    assert all(best.flags(depth) for depth in (4, 8))
    assert edge.used == (4, 8)


def test_a_gap_that_a_search_left_adds_to_the_error() -> None:
    runs = _runs([0.03, 0.03, 0.03])
    far = (runs["lr"] > 10**0.05) & (runs["lr"] < 10**0.55)
    part, left = runs[~far], runs.loc[far, ["lr", "seed"]]
    found = optimum_of(part, left_out=left, chance=0.1)
    assert found.edge_flags == ()
    assert found.edge_se == pytest.approx(6 * SPACING / np.sqrt(12) * np.sqrt(1 + 1 / 3), rel=1e-6)


def test_one_seed_has_no_standard_error() -> None:
    law = fit_sweep(pd.concat([_runs([0.0], depth=4), _runs([-0.5], depth=8)]), kind="edge", chance=0.1)
    assert np.isnan(law.lr_star(4)[1])
    assert law.to_dict()["optima"][0]["edge_se"] is None


def test_chance_must_be_a_number() -> None:
    with pytest.raises(InputError, match="chance=nan: expected the accuracy of a random guess"):
        fit_sweep(_runs([0.0]), kind="edge", chance=np.nan)


def test_chance_follows_from_the_data_set() -> None:
    record = SweepRecord.read(SWEEPS / "resnet-cifar10-small.json")
    assert law_of(record, kind="edge").chance == 0.1
    assert law_of(record, kind="edge", chance=0.05).chance == 0.05


@pytest.mark.parametrize(("seeds", "step", "scatter"), [(2, 1, 0.16), (8, 1, 0.16), (4, 4, 0.02), (8, 4, 0.16)])
def test_intervals_cover_the_edge_as_often_as_they_state(seeds: int, step: int, scatter: float) -> None:
    """300 depths in sweeps of five; ± 1.96 standard errors must cover in at least 92 %.

    Were the coverage 95 %, fewer would come up with probability 1 %. At 80 %, which a normal interval from the scatter
    of two seeds has, 92 % would come up with probability below 1e-7.
    """
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(60):
        truth, u, edges = rng.uniform(-0.5, 0.2, 5), U[int(rng.integers(step)) :: step], []
        for edge in truth:
            runs = _runs((edge + scatter * rng.standard_normal(seeds)).tolist(), u=u)
            accuracy = runs["val_accuracy"].to_numpy().reshape(seeds, -1) + 0.01 * rng.standard_normal((seeds, u.size))
            edges.append(edge_of(u, accuracy, np.zeros(accuracy.shape, dtype=bool), chance=0.1))
        covered += (np.abs(np.log10([edge.lr for edge in edges]) - truth) < 1.96 * edge_errors(edges)).tolist()
    assert stats.binom.cdf(0.92 * 300, 300, 0.95) < 0.02
    assert np.mean(covered) >= 0.92


def _naive_edge(u: np.ndarray, values: np.ndarray, chance: float) -> tuple[float, float, float]:
    """(First crossing, last crossing, width of the fall) of one curve, by a loop over its trained points."""
    points = [(x, y) for x, y in zip(u, values, strict=True) if np.isfinite(y)]
    best = max(range(len(points)), key=lambda i: points[i][1], default=0)
    rise = points[best][1] - chance if points else 0.0

    def crossings(start: int, level: float) -> list[tuple[int, float]]:
        found = []
        for i in range(start, len(points) - 1):
            (x0, y0), (x1, y1) = points[i], points[i + 1]
            if y0 >= level > y1:
                found.append((i, x0 + (x1 - x0) * (y0 - level) / (y0 - y1)))
        return found

    halves = crossings(best, chance + 0.5 * rise)
    if not halves:
        return np.nan, np.nan, np.nan
    begins = crossings(best, chance + 0.9 * rise)
    ends = crossings(halves[-1][0], chance + 0.1 * rise)
    return halves[0][1], halves[-1][1], (ends[0][1] if ends else points[-1][0]) - begins[-1][1]


def test_the_falls_of_all_seeds_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    values = np.round(rng.uniform(0.1, 0.5, (300, 12)) * (np.arange(12) < rng.integers(0, 13, (300, 1))), 1)
    values[rng.uniform(size=values.shape) < 0.2] = np.nan
    values[0] = np.nan
    u = np.sort(rng.uniform(-3, 1, 12))
    falls = _falls(u, values, 0.1)
    loop = np.array([_naive_edge(u, row, 0.1) for row in values])
    np.testing.assert_allclose(np.stack([falls.first, falls.last, falls.width], axis=1), loop, rtol=1e-12)
    assert 50 < np.isfinite(loop[:, 0]).sum() < 300
