"""Reading sweeps from records and stores, and the predictions of the transfer rules."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ammup.errors import InputError
from ammup.experiments.analysis import (
    MEASURED,
    MEASURED_LATE,
    edge_rule,
    law_of,
    read_sweep,
    read_sweeps,
    regret_of,
    rule_curves,
    traced_runs,
)
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep
from ammup.stats.optimum import fit_sweep


def test_a_record_is_selected_by_name_or_by_the_start_of_its_key(record: SweepRecord, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    record.write(path)
    assert [one.experiment.name for one in read_sweeps(path)] == ["small"]
    for name in (None, "small", record.experiment.key[:6]):
        assert read_sweep(path, name).missing == 0
    with pytest.raises(InputError, match=r"'small'.*'large'"):
        read_sweep(path, "large")


@pytest.fixture
def store(small: Experiment, tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    grid = replace(small.grid, depths=(2,), seeds=1)
    run_sweep(replace(small, grid=grid), store=path, workers=1, progress=False)
    return path


def test_a_sweep_read_from_a_store_equals_its_exported_record(store: Path, tmp_path: Path) -> None:
    record = read_sweep(store)
    assert (record.experiment.name, record.missing, record.searched) == ("small", 0, False)
    assert record.runs["lr"].tolist() == [0.03, 0.3, 3.0, 1e30]
    assert record.runs["diverged"].tolist()[-1]
    assert record.provenance["strategy"] == "loop (4 runs)"
    assert record.provenance["device"].endswith("(4 runs)")
    record.write(tmp_path / "out.json")
    pd.testing.assert_frame_equal(read_sweep(tmp_path / "out.json").runs, record.runs, rtol=1e-5)
    traced = traced_runs(store, "small")
    assert traced["val_accuracy"].equals(record.runs["val_accuracy"])
    assert {"command", "host", "commit"} <= set(traced.columns)


def test_an_unknown_experiment_and_an_empty_store_are_reported(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'smal'.*small"):
        read_sweep(store, "smal")
    with Store(tmp_path / "empty.db", mode="write"):
        pass
    with pytest.raises(InputError, match="`ammup sweep`"):
        read_sweep(tmp_path / "empty.db")
    assert read_sweeps(tmp_path / "empty.db") == ()


def test_a_store_with_several_experiments_requires_a_name(store: Path) -> None:
    with Store(store, mode="write") as opened:
        (only,) = opened.experiments()
        opened.put_experiment(replace(only, key="f" * 32, name="other"))
    with pytest.raises(InputError, match=r"(small.*other|other.*small).*--experiment"):
        read_sweep(store)
    assert read_sweep(store, "small").missing == 0
    with pytest.raises(InputError, match="no runs of 'small'"):
        read_sweep(store, "f" * 8)  # its specification is that of the first experiment


def test_law_of_a_record_is_the_fit_of_its_runs(record: SweepRecord) -> None:
    expected = fit_sweep(record.runs, segments=record.experiment.segments, chance=0.1)  # ten classes of textures
    assert law_of(record).optima == expected.optima


def test_regret_of_an_adaptive_search_is_rejected(record: SweepRecord) -> None:
    left_out = pd.DataFrame({"depth": [2], "seed": [0], "lr": [0.3], "steps": [4]})
    with pytest.raises(InputError, match="--set search=full"):
        regret_of(replace(record, left_out=left_out))


def test_the_rule_of_the_edge_is_estimated_from_the_seeds_that_the_rate_is_tuned_on() -> None:
    record = SweepRecord.read(Path(__file__).parents[2] / "baselines" / "sweeps" / "cnn-relu-cifar10-small.json")
    edges = {}
    for seed in (0, 1):
        law = fit_sweep(record.runs[record.runs["seed"] == seed], kind="edge", keep_flagged=True, chance=0.1)
        edges[seed] = {depth: law.lr_star(depth)[0] for depth in law.optima}
        assert edge_rule(record)((seed,)) == edges[seed]
    assert edges[0][12] / edges[0][3] != pytest.approx(edges[1][12] / edges[1][3], rel=0.1)
    found, one = regret_of(record).by_depth, {}
    for seed in (0, 1):
        runs = record.runs[record.runs["seed"] == seed]
        tuned = fit_sweep(runs).optima[3].smoothed * edges[seed][12] / edges[seed][3]
        other = record.runs[(record.runs["seed"] == 1 - seed) & (record.runs["depth"] == 12)].sort_values("lr")
        accuracy = other["val_accuracy"].where(~other["diverged"].astype(bool))
        one[seed] = np.interp(np.log(tuned), np.log(other["lr"]), accuracy.fillna(accuracy.min()))
    row = found[(found["rule"] == "edge") & (found["depth"] == 12)].iloc[0]
    assert row["held_out_accuracy"] == pytest.approx(np.mean(list(one.values())))


def test_only_rules_that_are_defined_at_every_depth_are_returned(record: SweepRecord) -> None:
    curves = rule_curves(record)
    assert "pathsum" not in curves  # it is not defined at depth 3
    assert curves["finite-depth"] == {2: 0.5, 3: 0.25}
    assert curves["am-mup"] == pytest.approx({2: 2**-1.5, 3: 3**-1.5})
    # The mean of S̄ is (1 + 2)/2 at initialization; later it is the geometric mean of 11 and 12, the last step.
    assert curves[MEASURED] == pytest.approx({2: 1.5**-0.5 / 2, 3: 1.5**-0.5 / 3})
    assert curves[MEASURED_LATE] == pytest.approx({2: (11 * 12) ** -0.25 / 2, 3: (11 * 12) ** -0.25 / 3})


def test_measured_late_is_omitted_if_a_short_run_diverged(record: SweepRecord, tmp_path: Path) -> None:
    table = record.measurements
    table.loc[(table["depth"] == 3) & (table["seed"] == 1) & (table["step"] == 10), "S_bar"] = np.inf
    record.write(tmp_path / "x.json")
    for one in (record, read_sweep(tmp_path / "x.json")):
        assert MEASURED in rule_curves(one)
        assert MEASURED_LATE not in rule_curves(one)


def test_the_default_base_is_the_smallest_depth(record: SweepRecord) -> None:
    assert set(regret_of(record).by_depth["depth"]) == {3}
    assert set(regret_of(record, base=3).by_depth["depth"]) == {2}
