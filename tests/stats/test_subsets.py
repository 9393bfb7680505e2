"""Many subsets of seeds together, against the runs of one subset at a time."""

import numpy as np
import pandas as pd
import pytest

from ammup.errors import InputError
from ammup.stats.optimum import curves_of, fit_sweep, refitted
from ammup.stats.peak import SeedCurves
from ammup.stats.seed_edges import SeedEdges
from ammup.stats.subsets import mean_accuracies, trained, tuned_lrs

# Shares of the cells that diverged and that are missing, and the number of different accuracies: with few of them,
# several learning rates have the same mean.
SHARES = [(0.0, 0.0, 1000), (0.0, 0.0, 7), (0.2, 0.0, 1000), (0.2, 0.3, 1000), (0.05, 0.3, 7)]


def _runs(seed: int, diverged: float, missing: float, levels: int, *, points: int) -> pd.DataFrame:
    """Noisy parabolas of two depths and five seeds on an uneven grid; large learning rates diverge."""
    rng, rows = np.random.default_rng(seed), []
    lrs = 10 ** (-2 + np.arange(points) / 4 + 0.02 * np.arange(points) ** 1.5)
    for depth in (2, 9):
        for run_seed in (0, 1, 5, 7, 11):
            for place in np.flatnonzero(rng.random(points) >= missing):
                lost = bool(rng.random() < diverged * place / points)
                top = -np.log10(depth) + 0.2 * rng.standard_normal()
                accuracy = 0.6 - 0.2 * (np.log10(lrs[place]) - top) ** 2
                rows.append((depth, lrs[place], run_seed, np.round(accuracy * levels) / levels, lost))
    runs = pd.DataFrame(rows, columns=["depth", "lr", "seed", "val_accuracy", "diverged"])
    runs["val_accuracy"] = runs["val_accuracy"].where(~runs["diverged"])
    return runs


def _subsets(seeds: np.ndarray) -> np.ndarray:
    """All subsets of the seeds except the empty one, as masks."""
    return np.array([[bool(number >> i & 1) for i in range(seeds.size)] for number in range(1, 2**seeds.size)])


@pytest.mark.parametrize("points", [1, 4, 13])
@pytest.mark.parametrize("shares", SHARES)
def test_optima_and_means_are_those_of_the_runs_of_each_subset(shares: tuple[float, float, int], points: int) -> None:
    runs = _runs(1, *shares, points=points)
    for _, group in runs.groupby("depth"):
        curves = SeedCurves.from_runs(group)
        subsets = _subsets(curves.seeds)
        usable = trained(curves, subsets)
        parts = [group[group["seed"].isin(curves.seeds[member])] for member in subsets]
        clean = [part.groupby("lr")["diverged"].any() for part in parts]
        assert usable.tolist() == [bool((~one).any()) for one in clean]
        parts = [part for part, known in zip(parts, usable, strict=True) if known]
        members = subsets[usable]
        optima = [curves.without(curves.seeds[~member]).optimum(0.1) for member in members]
        for kind in ("smoothed", "argmax"):
            expected = [optimum.lr_star(kind)[0] for optimum in optima]
            np.testing.assert_allclose(tuned_lrs(curves, members, kind), expected, rtol=1e-12)
        means = mean_accuracies(curves, members)
        for row, part in zip(means, parts, strict=True):
            np.testing.assert_allclose(row, _mean_by_hand(part, curves.lrs), rtol=1e-12)


def _mean_by_hand(part: pd.DataFrame, lrs: np.ndarray) -> list[float]:
    """The mean at each learning rate; diverged replicas and missing learning rates have the lowest clean one."""
    groups = dict(iter(part.groupby("lr")))
    lowest = min(group["val_accuracy"].mean() for group in groups.values() if not group["diverged"].any())
    return [groups[lr]["val_accuracy"].fillna(lowest).mean() if lr in groups else lowest for lr in lrs]


def test_a_subset_without_a_trained_learning_rate_is_reported() -> None:
    runs = pd.DataFrame({"lr": [0.1, 0.1], "seed": [0, 1], "val_accuracy": [0.5, np.nan], "diverged": [False, True]})
    curves = SeedCurves.from_runs(runs)
    subsets = _subsets(curves.seeds)
    assert trained(curves, subsets).tolist() == [True, False, False]
    assert tuned_lrs(curves, subsets[:1], "smoothed").tolist() == pytest.approx([0.1])
    with pytest.raises(InputError, match="every learning rate of a depth diverged"):
        tuned_lrs(curves, subsets, "smoothed")


@pytest.mark.parametrize("chance", [None, 0.1])
@pytest.mark.parametrize("shares", SHARES)
def test_edges_are_those_of_the_runs_with_the_seeds(shares: tuple[float, float, int], chance: float | None) -> None:
    runs = _runs(2, *shares, points=13)
    edges = SeedEdges.from_curves(curves_of(runs), chance=chance)
    for seeds in [(0,), (0, 1), (1, 5, 11), (0, 1, 5, 7, 11)]:
        law = fit_sweep(runs[runs["seed"].isin(seeds)], kind="edge", keep_flagged=True, chance=chance)
        assert edges(seeds) == {depth: law.lr_star(depth)[0] for depth in law.optima}


def test_a_seed_without_a_fall_has_the_largest_learning_rate_of_the_chosen_seeds() -> None:
    runs = pd.DataFrame({"depth": 2, "lr": [0.1, 1.0, 0.1, 1.0, 10.0], "seed": [0, 0, 1, 1, 1], "diverged": False})
    runs["val_accuracy"] = [0.5, 0.6, 0.5, 0.6, 0.7]
    edges = SeedEdges.from_curves(curves_of(runs), chance=0.1)
    assert edges((0,))[2] == pytest.approx(1.0)
    assert edges((0, 1))[2] == pytest.approx(10.0)


def test_edges_of_no_runs_and_of_diverged_runs_are_reported() -> None:
    runs = pd.DataFrame({"depth": 2, "lr": [0.1, 0.1], "seed": [0, 1], "diverged": [False, True]})
    runs["val_accuracy"] = [0.5, np.nan]
    edges = SeedEdges.from_curves(curves_of(runs), chance=0.1)
    with pytest.raises(InputError, match="there are no runs to fit"):
        edges((3,))
    with pytest.raises(InputError, match="every learning rate of a depth diverged"):
        edges((1,))


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_curves_do_not_depend_on_the_order_of_the_runs(missing: float) -> None:
    """Sorted runs of a complete grid are not sorted again."""
    runs = _runs(3, 0.2, missing, 1000, points=6)
    shuffled = runs.sample(frac=1, random_state=0)
    for one, other in zip(curves_of(runs).values(), curves_of(shuffled).values(), strict=True):
        assert (one.complete, one.searched) == (other.complete, other.searched) == (missing == 0, False)
        for name in ("seeds", "lrs", "accuracy", "diverged"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def test_a_repeated_run_is_reported_in_any_order() -> None:
    runs = _runs(3, 0.0, 0.0, 1000, points=6)
    for repeated in (pd.concat([runs, runs[:1]]), runs.loc[runs.index.repeat(np.where(runs.index == 7, 2, 1))]):
        with pytest.raises(InputError, match="1 runs repeat the depth, learning rate and seed of another run"):
            curves_of(repeated)


def test_the_law_of_another_optimum_is_that_of_a_new_fit() -> None:
    runs, segments = _runs(4, 0.05, 0.0, 1000, points=13), ()
    for kind in ("smoothed", "argmax", "edge"):
        law = refitted(fit_sweep(runs, chance=0.1), kind=kind, keep_flagged=True, segments=segments)
        expected = fit_sweep(runs, chance=0.1, kind=kind, keep_flagged=True, segments=segments)
        assert law.to_dict() == expected.to_dict()
