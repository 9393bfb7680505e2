"""Records of sweeps in JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ammup.errors import InputError
from ammup.experiments.record import SweepRecord


def test_a_record_that_is_written_and_read_is_equal(record: SweepRecord, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    record.write(path)
    again = SweepRecord.read(path)
    assert again.experiment == record.experiment
    pd.testing.assert_frame_equal(again.runs, record.runs[list(again.runs.columns)], rtol=1e-5)
    pd.testing.assert_frame_equal(again.measurements, record.measurements)
    assert (again.laws, again.data_digest, again.provenance) == (record.laws, "abc", record.provenance)
    assert again.missing == 0
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "not a record of a sweep"),
        ('{"format": "ammup sweep 2"}', "not a record of a sweep .*'ammup sweep 1'.*--export"),
        ('{"format": "ammup sweep 1"}', "damaged record .*experiment: is missing.*--export"),
    ],
)
def test_a_file_that_is_not_a_record_is_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        SweepRecord.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        SweepRecord.read(tmp_path / "missing.json")


def _replace(content: dict[str, Any], place: str, value: object) -> None:
    *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
    for parent in parents:
        content = content[parent]
    content[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("runs", 3, "runs: .*3 was given"),
        ("runs", {}, "runs.depth: is missing"),
        ("runs.lr", [0.1], "runs: columns must have the same length"),
        ("runs.val_accuracy.0", "high", "runs.val_accuracy.0: .*number.*'high' was given"),
        ("runs.val_accuracy.0", 1.5, "runs.val_accuracy.0: .*1.*1.5 was given"),
        ("runs.lr.0", None, "runs.lr.0: .*number.*None was given"),
        ("runs.lr.0", 10**400, "runs.lr.0: "),
        ("runs.depth.0", 0, "runs.depth.0: .*0 was given"),
        ("runs.depth.0", 2.5, "runs.depth.0: .*integer.*2.5 was given"),
        ("runs.depth.0", 10**30, "runs.depth.0: "),
        ("runs.diverged.0", 2, "runs.diverged.0: .*2 was given"),
        ("runs.diverged.0", True, "runs.diverged.0: .*integer.*True was given"),
        ("measurements.S_bar.0", 0.0, "measurements.S_bar.0: .*greater than 0.*0.0 was given"),
        ("measurements", None, "measurements: "),
        ("left_out", [], "left_out: "),
        ("laws", 3, "laws: .*3 was given"),
        ("laws.pathsum", {"x": 1.0}, "laws.pathsum.x: "),
        ("laws.pathsum.2", "1", "laws.pathsum.2: .*number.*'1' was given"),
        ("provenance.device", 3, "provenance.device: .*string.*3 was given"),
        ("experiment.grid", {}, "experiment: grid.depths: is missing"),
        ("data_digest", 3, "data_digest: .*string.*3 was given"),
    ],
)
def test_a_damaged_record_is_reported_in_one_line_with_field_value_and_remedy(
    record: SweepRecord, tmp_path: Path, place: str, value: object, message: str
) -> None:
    content = record.to_dict()
    _replace(content, place, value)
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"damaged record of a sweep: {message}.*--export") as caught:
        SweepRecord.read(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


STORED = sorted((Path(__file__).parents[2] / "baselines" / "sweeps").rglob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_reading_and_writing_a_stored_record_does_not_change_its_bytes(path: Path, tmp_path: Path) -> None:
    SweepRecord.read(path).write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_null_is_read_as_infinity_or_nan(record: SweepRecord, tmp_path: Path) -> None:
    record.measurements.loc[0, "S_bar"] = np.inf
    record.write(tmp_path / "x.json")
    again = SweepRecord.read(tmp_path / "x.json")
    assert again.measurements["S_bar"][0] == np.inf
    assert again.runs["val_accuracy"].isna().equals(record.runs["diverged"])
    assert [str(kind) for kind in again.runs.dtypes] == ["int64", "int64", "float64", "float64", "float64", "bool"]
