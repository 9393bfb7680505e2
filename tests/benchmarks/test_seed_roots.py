"""Real seed roots: the script continues where it ended, and its table counts what happened."""

import json
import sys
from pathlib import Path

import pytest
import seed_roots
from pool_parts.roots_table import roots_table

from ammup.claims.claim import claim_named, examine
from ammup.claims.statements import CLAIMS

CLAIM = "law.field-2d-zero"


def _run(monkeypatch: pytest.MonkeyPatch, results: Path, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["seed_roots.py", "--claims", CLAIM, "--results", str(results), *arguments])
    seed_roots.main()


@pytest.mark.usefixtures("unchecked")
def test_a_stopped_script_continues_with_the_next_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "roots.json"
    _run(monkeypatch, results, "--roots", "1")
    first = json.loads(results.read_text())[CLAIM]
    assert list(first["roots"]) == ["1"]
    expected = examine(claim_named(CLAIMS, CLAIM), root=1).estimate
    assert first["roots"]["1"]["value"] == pytest.approx(expected.value, rel=1e-5)
    assert first["roots"]["1"]["se"] == pytest.approx(expected.se, rel=1e-2)
    assert "alarms" not in first["roots"]["1"]

    drawn = []
    measure = seed_roots.measure
    monkeypatch.setattr(seed_roots, "measure", lambda claims, root: (drawn.append(root), measure(claims, root=root))[1])
    _run(monkeypatch, results, "--roots", "2")
    assert drawn == [2]
    assert json.loads(results.read_text())[CLAIM]["roots"]["1"] == first["roots"]["1"]
    assert "| all 1 claims | 2 | 0 | 0 | 0 |" in capsys.readouterr().out

    results.write_text(json.dumps({CLAIM: {**first, "key": "of another definition"}}))
    _run(monkeypatch, results, "--roots", "1")
    assert drawn == [2, 1]


def test_the_table_counts_alarms_of_complete_roots() -> None:
    fine = {"value": 0.0, "se": 1.0, "cpu": 1.0}
    alarmed = {**fine, "looks": 2, "verdict": "inconclusive", "alarms": ["inconclusive after 2 looks: [-1, 1]"]}
    one = {"roots": {"1": fine, "2": alarmed, "3": fine, "4": fine}}
    other = {"roots": {"1": {**fine, "value": 1.0}, "2": fine, "3": {**fine, "value": -1.0}}}
    table = roots_table({"law.one": one, "law.other": other})
    # The upper bound p of one alarm in three roots has (1 - p)³ + 3 p (1 - p)² = 0.05.
    assert "| all 2 claims | 3 | 1 | 1 | 1 | 86.5% |" in table
    assert "| law.one | 3 | 1 | 1 | 1 | 86.5% |" in table
    assert "law.other" not in table
    assert "Root 2, law.one: inconclusive after 2 looks" in table
    assert "1 of the 6 measurements took a second look" in table


def test_the_scatter_over_the_roots_is_relative_to_the_standard_error() -> None:
    values = (1.0, -1.0, 1.0, -1.0)
    roots = {str(i): {"value": value, "se": 0.5, "cpu": 1.0} for i, value in enumerate(values, start=1)}
    # Their standard deviation is √(4/3).
    assert "is 2.31 (median of 1 claims" in roots_table({"law.one": {"roots": roots}})
