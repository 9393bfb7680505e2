"""A sweep as JSON."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ammup.errors import InputError
from ammup.experiments.analysis import MEASURED, MEASURED_LATE, read_sweep, read_sweeps, regret_of, rule_curves
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord


@pytest.fixture
def record(small: Experiment) -> SweepRecord:
    """Runs that no training made: accuracies are a parabola of log lr, and one learning rate diverged."""
    cells = sorted(small.cells(), key=lambda cell: (cell.depth, cell.seed, cell.lr))
    runs = pd.DataFrame([{"depth": c.depth, "seed": c.seed, "lr": c.lr} for c in cells])
    runs["diverged"] = runs["lr"] > 100
    runs["val_accuracy"] = np.where(runs["diverged"], np.nan, 0.5 - 0.1 * np.log10(runs["lr"]).pow(2) / 3)
    runs["val_loss"] = np.where(runs["diverged"], np.nan, 1 / 3)
    measurements = pd.DataFrame(
        [
            {"depth": depth, "lr": 0.01, "seed": seed, "step": step, "S_bar": float(depth**2 * (1 + seed + step))}
            for depth in (2, 3)
            for seed in (0, 1)
            for step in (0, 5, 10)
        ]
    )
    return SweepRecord(
        experiment=small,
        runs=runs,
        measurements=measurements,
        laws={"finite-depth": {2: 0.5, 3: 0.25}, "pathsum": {2: 1.0}},
        data_digest="abc",
        provenance={"device": "a <machine>"},
    )


def test_what_is_written_is_read(record: SweepRecord, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    record.write(path)
    again = read_sweep(path)
    assert again.experiment == record.experiment
    pd.testing.assert_frame_equal(again.runs, record.runs[list(again.runs.columns)], rtol=1e-5)
    pd.testing.assert_frame_equal(again.measurements, record.measurements)
    assert (again.laws, again.data_digest, again.provenance) == (record.laws, "abc", record.provenance)
    assert again.missing == 0
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert [one.experiment.name for one in read_sweeps(path)] == ["small"]
    assert read_sweep(path, "small").missing == 0
    with pytest.raises(InputError, match="holds 'small' and not 'large'"):
        read_sweep(path, "large")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("[]", "no record of a sweep"),
        ('{"format": "ammup sweep 2"}', "no record of a sweep"),
        ('{"format": "ammup sweep 1"}', "damaged record .* KeyError: 'runs'"),
    ],
)
def test_a_file_that_is_no_record_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_sweep(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_sweep(tmp_path / "missing.json")


@pytest.mark.parametrize("damage", ["runs", "measurements", "laws", "provenance", "column", "lengths", "word"])
def test_a_damaged_record_is_told(record: SweepRecord, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.json"
    record.write(path)
    content = json.loads(path.read_text())
    if damage == "column":
        del content["runs"]["lr"]
    elif damage == "lengths":
        content["runs"]["lr"].pop()
    elif damage == "word":
        content["runs"]["val_accuracy"][0] = "high"
    else:
        content[damage] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged record"):
        read_sweep(path)


def test_rules_are_those_known_at_every_depth(record: SweepRecord) -> None:
    curves = rule_curves(record)
    assert "pathsum" not in curves  # it is not known at depth 3
    assert curves["finite-depth"] == {2: 0.5, 3: 0.25}
    assert curves["am-mup"] == pytest.approx({2: 2**-1.5, 3: 3**-1.5})
    # S̄ is averaged: over seeds (1 + 2)/2 at initialization, over the seeds of the second half, 11 and 12, later.
    assert curves[MEASURED] == pytest.approx({2: 1.5**-0.5 / 2, 3: 1.5**-0.5 / 3})
    assert curves[MEASURED_LATE] == pytest.approx({2: (11 * 12) ** -0.25 / 2, 3: (11 * 12) ** -0.25 / 3})


def test_a_short_run_that_diverged_leaves_no_late_rule(record: SweepRecord, tmp_path: Path) -> None:
    table = record.measurements
    table.loc[(table["depth"] == 3) & (table["seed"] == 1) & (table["step"] == 10), "S_bar"] = np.inf
    record.write(tmp_path / "x.json")
    for one in (record, read_sweep(tmp_path / "x.json")):
        assert MEASURED in rule_curves(one)
        assert MEASURED_LATE not in rule_curves(one)


def test_the_base_is_the_smallest_depth_where_none_is_given(record: SweepRecord) -> None:
    assert set(regret_of(record).by_depth["depth"]) == {3}
    assert set(regret_of(record, base=3).by_depth["depth"]) == {2}
