"""Repeated checks of correct and faulty models, at the size of some minutes, and their records."""

from pathlib import Path

import gate_repeats
import pytest
from click.testing import CliRunner
from gate_parts.subjects import subjects
from gate_repeats import CAUGHT, Gate, read, tables


@pytest.mark.statistical
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["Vit", "ConvNext"])
def test_a_correct_model_passes_again_and_a_faulty_one_fails(name: str, tmp_path: Path) -> None:
    """Six comparisons of the correct model: each holds with probability 0.98 or more, at least four with 0.9998."""
    gate = Gate(subjects()[name], tmp_path, margin=0.3)
    assert gate.record(0).outcome == "holds"
    outcomes = [gate.compare(number).outcome for number in range(6)]
    assert outcomes.count("holds") >= 4
    assert "does not hold" not in outcomes
    for fault in gate.subject.faults:
        assert gate.compare(0, fault).outcome in CAUGHT, fault


@pytest.mark.usefixtures("unchecked")
def test_finished_checks_are_not_repeated_and_every_fault_is_counted(tmp_path: Path) -> None:
    records = tmp_path / "repeats.jsonl"
    command = ["--records", str(records), "--only", "^mlp", "--comparisons", "1"]
    first = CliRunner().invoke(gate_repeats.main, command)
    assert first.exit_code == 0, first.output
    lines = records.read_text().splitlines()
    faults = subjects()["mlp (causes)"].faults
    assert len(lines) == 2 + len(faults)  # the baseline, one correct check and one of each fault
    kept = [line for line in lines if "one layer" not in line]
    records.write_text("\n".join(kept) + "\n")
    again = CliRunner().invoke(gate_repeats.main, command)
    assert again.exit_code == 0, again.output
    assert records.read_text().splitlines()[: len(kept)] == kept
    without_times = [{k: v for k, v in record.items() if k != "seconds"} for record in read(records)]
    repeated = [record for record in without_times if "one layer" in record["variant"]]
    assert {record["outcome"] for record in repeated} <= {*CAUGHT}
    assert len(without_times) == len(lines)
    correct, faulty, missed = tables(read(records))
    assert [int(n) for n in faulty.splitlines()[-1].split("|")[2:4]] == [len(faults), len(faults)]
    assert correct.count("\n") == 3
    assert missed == "All were caught."


def test_a_missed_fault_is_listed() -> None:
    values = {"draws": 8, "slope": -1.0, "seconds": 1.0, "model": "net", "number": 0}
    records = [
        {"variant": "recorded", "outcome": "holds", **values},
        {"variant": "correct", "outcome": "inconclusive", **values},
        {"variant": "skip lost", "outcome": "holds", **values},
    ]
    correct, faulty, missed = tables(records)
    assert missed == "* net: skip lost: holds"
    assert [int(n) for n in correct.splitlines()[-1].split("|")[6:11]] == [1, 0, 1, 0, 0]
    assert [int(n) for n in faulty.splitlines()[-1].split("|")[2:6]] == [1, 0, 0, 1]
