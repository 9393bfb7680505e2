"""What transfer rules lose, against figures worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ammup.errors import InputError
from ammup.stats.held_out import MOST_SPLITS, splits
from ammup.stats.peak import optimum_of
from ammup.stats.regret import COLUMNS, MEAN_COLUMNS, SWEPT, transfer_regret

LRS = [10.0**k for k in np.arange(-3, 1.01, 0.25)]
PEAKS = {2: 0.1, 4: 0.1 / 8, 8: 0.1 / 64}


def _runs(peaks: dict[int, float], *, seeds: int = 1, noise: float = 0.0, diverge_above: float = 5.0) -> pd.DataFrame:
    """Accuracy 0.6 - 0.1 (log10 lr/peak)², loss 1 + (log10 lr/peak)²; noise moves a seed's peak."""
    rng = np.random.default_rng(0)
    rows = []
    for depth, peak in peaks.items():
        for seed in range(seeds):
            top = np.log10(peak) + noise * rng.standard_normal()
            for lr in LRS:
                x, lost = (np.log10(lr) - top) ** 2, lr > diverge_above
                rows.append((depth, lr, seed, np.nan if lost else 0.6 - 0.1 * x, np.nan if lost else 1 + x, lost))
    return pd.DataFrame(rows, columns=["depth", "lr", "seed", "val_accuracy", "val_loss", "diverged"])


def _lost(runs: pd.DataFrame, depth: int, lr: float) -> tuple[float, float]:
    """By hand: best of the grid minus the straight line between the two grid points around lr, for one seed."""
    here = runs[(runs["depth"] == depth) & ~runs["diverged"]].sort_values("lr")
    u, y, z = np.log10(here["lr"]).to_numpy(), here["val_accuracy"].to_numpy(), here["val_loss"].to_numpy()
    k = int(np.clip(np.searchsorted(u, np.log10(lr)) - 1, 0, len(u) - 2))
    t = (np.log10(lr) - u[k]) / (u[k + 1] - u[k])
    return (y.max() - (y[k] * (1 - t) + y[k + 1] * t)) / y.max(), z[k] * (1 - t) + z[k + 1] * t - z.min()


def test_the_true_law_loses_what_the_optimum_itself_does() -> None:
    runs = _runs(PEAKS)
    table = transfer_regret(runs, {"true": {d: 7 * p for d, p in PEAKS.items()}}, base=2).by_depth
    assert tuple(table.columns) == COLUMNS
    assert list(table["rule"]) == ["true", "true", SWEPT, SWEPT]
    assert table["log10_error"].abs().max() < 1e-9
    true, swept = (table[table["rule"] == rule] for rule in ("true", SWEPT))
    np.testing.assert_allclose(true["accuracy_lost"], swept["accuracy_lost"], atol=1e-9)
    assert table[["accuracy_low", "accuracy_high", "loss_low", "loss_high"]].isna().all().all()  # of one seed


@pytest.mark.parametrize("exponent", [0.0, -0.5, -1.0, -1.5, -2.0])
def test_a_wrong_exponent_loses_what_the_parabola_says(exponent: float) -> None:
    runs = _runs(PEAKS)
    rules = {"rule": {d: 3.0 * d**exponent for d in PEAKS}}
    table = transfer_regret(runs, rules, base=2).by_depth.set_index(["rule", "depth"])
    for depth in (4, 8):
        row = table.loc[("rule", depth)]
        predicted = 0.1 * (depth / 2) ** exponent
        assert row["predicted"] == pytest.approx(predicted)
        assert row["swept"] == pytest.approx(PEAKS[depth])
        assert row["log10_error"] == pytest.approx(np.log10(predicted / PEAKS[depth]), abs=1e-9)
        accuracy, loss = _lost(runs, depth, predicted)
        assert row["accuracy_lost"] == pytest.approx(accuracy, abs=1e-9)
        assert row["loss_added"] == pytest.approx(loss, abs=1e-9)


def test_a_learning_rate_that_diverges_counts_as_the_worst() -> None:
    runs = _runs(PEAKS, diverge_above=0.05)
    fine = _runs(PEAKS)
    runs = pd.concat([fine[fine["depth"] == 2], runs[runs["depth"] != 2]])
    table = transfer_regret(runs, {"constant": {2: 1.0, 4: 1.0}}, base=2).by_depth.set_index(["rule", "depth"])
    kept = runs[(runs["depth"] == 4) & ~runs["diverged"]]
    best, worst = kept["val_accuracy"].max(), kept["val_accuracy"].min()
    assert table.loc[("constant", 4), "accuracy_lost"] == pytest.approx((best - worst) / best)
    added = kept["val_loss"].max() - kept["val_loss"].min()
    assert table.loc[("constant", 4), "loss_added"] == pytest.approx(added)
    assert 8 not in table.loc["constant"].index  # a depth that the rule does not know


def test_one_seed_that_diverges_is_enough() -> None:
    runs = _runs(PEAKS, seeds=3)
    place = (runs["depth"] == 4) & (runs["seed"] == 1) & (runs["lr"] > 0.05)
    runs.loc[place, ["val_accuracy", "val_loss"]] = np.nan
    runs.loc[place, "diverged"] = True
    table = transfer_regret(runs, {"constant": {2: 1.0, 4: 1.0}}, base=2).by_depth.set_index(["rule", "depth"])
    kept = runs[(runs["depth"] == 4) & (runs["lr"] < 0.05)]["val_accuracy"]
    assert table.loc[("constant", 4), "accuracy_lost"] == pytest.approx((kept.max() - kept.min()) / kept.max())


def test_beyond_the_grid_counts_as_its_end() -> None:
    runs = _runs(PEAKS)
    table = transfer_regret(runs, {"wild": {2: 1.0, 4: 1e-9}}, base=2).by_depth.set_index(["rule", "depth"])
    accuracy, _ = _lost(runs, 4, LRS[0])
    assert table.loc[("wild", 4), "accuracy_lost"] == pytest.approx(accuracy)


def test_intervals_are_the_jackknife_over_seeds() -> None:
    runs = _runs(PEAKS, seeds=5, noise=0.2)
    rules = {"L^-1": {d: 1 / d for d in PEAKS}}
    table = transfer_regret(runs, rules, base=2, level=0.9).by_depth
    for name, ends in (("accuracy_lost", "accuracy"), ("loss_added", "loss")):
        parts = np.array([transfer_regret(runs[runs["seed"] != s], rules, base=2).by_depth[name] for s in range(5)])
        pseudo = 5 * table[name].to_numpy() - 4 * parts
        half = stats.t.ppf(0.95, 4) * pseudo.std(axis=0, ddof=1) / np.sqrt(5)
        np.testing.assert_allclose(table[f"{ends}_high"] - table[name], half)
        np.testing.assert_allclose(table[name] - table[f"{ends}_low"], half)
        assert (half > 0).all()


def test_argmax_carries_the_best_grid_point() -> None:
    runs = _runs({2: 0.12, 4: 0.02})
    table = transfer_regret(runs, {"constant": {2: 1.0, 4: 1.0}}, base=2, kind="argmax").by_depth
    assert table.loc[0, "predicted"] == pytest.approx(0.1)
    assert table.loc[0, "swept"] == pytest.approx(optimum_of(runs[runs["depth"] == 4]).argmax)


def test_means_over_depths_have_intervals_of_their_own() -> None:
    runs, rules = _runs(PEAKS, seeds=4, noise=0.2), {"constant": dict.fromkeys(PEAKS, 1.0)}
    regret = transfer_regret(runs, rules, base=2)
    assert tuple(regret.mean.columns) == MEAN_COLUMNS
    mean, constant = regret.mean.set_index("rule").loc["constant"], regret.by_depth.query("rule == 'constant'")
    assert mean["depths"] == 2
    assert mean["abs_log10_error"] == pytest.approx(constant["log10_error"].abs().mean())
    assert mean["accuracy_lost"] == pytest.approx(constant["accuracy_lost"].mean())
    assert mean["worst"] == pytest.approx(constant["accuracy_lost"].max())
    parts = []
    for seed in range(4):
        part = transfer_regret(runs[runs["seed"] != seed], rules, base=2).by_depth.query("rule == 'constant'")
        parts.append(part["accuracy_lost"].mean())
    half = stats.t.ppf(0.975, 3) * np.std(4 * mean["accuracy_lost"] - 3 * np.array(parts), ddof=1) / 2
    assert mean["accuracy_high"] - mean["accuracy_lost"] == pytest.approx(half)


def test_rows_for_json_have_no_nan() -> None:
    row = transfer_regret(_runs(PEAKS), {"constant": dict.fromkeys(PEAKS, 1.0)}, base=2).to_rows()[0]
    assert (row["rule"], row["depth"], row["accuracy_low"]) == ("constant", 4, None)


# Out of sample


def test_a_perfect_rule_loses_nothing_out_of_sample() -> None:
    runs = _runs(PEAKS, seeds=4)
    mean = transfer_regret(runs, {"true": PEAKS, "constant": dict.fromkeys(PEAKS, 1.0)}, base=2).mean.set_index("rule")
    for rule in ("true", SWEPT):
        assert mean.loc[rule, ["held_out", "held_out_worst", "fit_error"]].abs().max() < 1e-9
    assert mean.loc["constant", "fit_error"] == pytest.approx(np.std(np.log10([1, 8, 64])))
    assert mean.loc["constant", "deepest"] == mean.loc["constant", "held_out_worst"] > 0.1


def test_held_out_is_the_mean_over_all_divisions_of_the_seeds() -> None:
    runs = _runs(PEAKS, seeds=3, noise=0.2)
    got = transfer_regret(runs, {"L^-1": {d: 1 / d for d in PEAKS}}, base=2).by_depth.set_index(["rule", "depth"])
    at_rule, at_tuned, off = [], [], []
    for chosen in [[0], [1], [2], [0, 1], [0, 2], [1, 2]]:
        tune = {d: optimum_of(runs[runs["seed"].isin(chosen) & (runs["depth"] == d)]).smoothed for d in PEAKS}
        others = runs[~runs["seed"].isin(chosen) & (runs["depth"] == 8)].groupby("lr")["val_accuracy"].mean().dropna()
        # beyond the last learning rate that trains, the accuracy falls to the lowest one
        u, y = np.log(LRS), others.reindex(LRS).fillna(others.min())
        at_rule.append(np.interp(np.log(tune[2] / 4), u, y))
        at_tuned.append(np.interp(np.log(tune[8]), u, y))
        off.append([np.interp(np.log(tune[2] / 4 * factor), u, y) for factor in (0.5, 2)])
    row = got.loc[("L^-1", 8)]
    assert row["held_out_accuracy"] == pytest.approx(np.mean(at_rule))
    assert row["held_out"] == pytest.approx(1 - np.mean(at_rule) / np.mean(at_tuned))
    assert row["off_by_two"] == pytest.approx(1 - np.min(np.mean(off, axis=0)) / np.mean(at_tuned))


def test_a_rule_that_is_estimated_sees_only_the_seeds_that_are_chosen_on() -> None:
    runs, seen = _runs(PEAKS, seeds=3, noise=0.2), []

    def law(seeds: tuple[int, ...]) -> dict[int, float]:
        seen.append(seeds)
        return {d: optimum_of(runs[runs["seed"].isin(seeds) & (runs["depth"] == d)]).smoothed for d in PEAKS}

    table = transfer_regret(runs, {"tuned": law}, base=2).by_depth
    tuned, swept = (table[table["rule"] == rule]["held_out"].to_numpy() for rule in ("tuned", SWEPT))
    np.testing.assert_allclose(tuned, swept, atol=1e-12)
    assert {(0,), (1, 2), (0, 1, 2)} <= set(seen)


def test_a_noisy_optimum_has_regret_in_sample_and_none_out_of_sample() -> None:
    rng = np.random.default_rng(3)
    runs = _runs(dict.fromkeys(range(1, 31), 0.1), seeds=2)
    runs["val_accuracy"] += 0.05 * rng.standard_normal(len(runs))
    mean = transfer_regret(runs, {"true": dict.fromkeys(range(1, 31), 1.0)}, base=1).mean.set_index("rule")
    assert mean.loc["true", "accuracy_lost"] > 0.05
    assert abs(mean.loc["true", "held_out"]) < 0.03


def test_one_seed_has_nothing_out_of_sample() -> None:
    table = transfer_regret(_runs(PEAKS), {"true": PEAKS}, base=2)
    assert table.by_depth[["held_out_accuracy", "held_out", "off_by_two"]].isna().all().all()
    assert table.mean["held_out"].isna().all()


def test_many_seeds_are_divided_at_random_into_halves() -> None:
    found = splits(range(12))
    assert len(found) == MOST_SPLITS == len(set(found))
    assert all(sorted((*a, *b)) == list(range(12)) and len(a) == 6 for a, b in found)
    assert splits([7]) == []


@pytest.mark.parametrize("n", [21, 40, 1000])
def test_many_seeds_are_divided_at_random_in_halves(n: int) -> None:
    """2^n divisions can be neither listed nor counted in 64 bits; the work stays bounded."""
    found = splits(range(100, 100 + n))
    assert all(sorted(chosen + others) == list(range(100, 100 + n)) for chosen, others in found)
    assert {len(chosen) for chosen, _ in found} == {n // 2, n - n // 2}
    assert len(set(found)) == len(found) >= 4
    assert len(found) * n <= 4096
    assert found == splits(range(100, 100 + n))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"base": 3}, r"base=3 is not a depth of the runs; choose one of \[2, 4, 8\]"),
        ({"rules": {"x": {4: 1.0}}}, "rule 'x' has no η\\* at the base depth 2"),
        ({"rules": {"x": {2: float("nan")}}}, "rule 'x' has no η"),
        ({"kind": "best"}, "unknown optimum='best'"),
    ],
)
def test_what_cannot_be_told_is_refused(arguments: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        transfer_regret(_runs(PEAKS), **({"rules": {}, "base": 2} | arguments))
