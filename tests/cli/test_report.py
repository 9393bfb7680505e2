"""`ammup report` as a user types it."""

import json
from pathlib import Path

import pytest
from command_line import assert_refused, run

from ammup.experiments.store import Store


def test_json_contains_the_path_and_size_of_the_page(tmp_path: Path) -> None:
    with Store(tmp_path / "empty.db", mode="write"):
        pass
    page = tmp_path / "µ.html"
    answer = json.loads(run("report", tmp_path / "empty.db", "-o", page, "--json").stdout)
    assert answer == {"written": str(page), "bytes": page.stat().st_size}


@pytest.mark.parametrize(
    ("store", "output", "message"),
    [("no.db", "b.html", "no.db"), ("runs.db", "b.pdf", ".html"), ("runs.db", "no/b.html", "no/b.html")],
)
def test_invalid_input_is_a_one_line_error(
    store: str, output: str, message: str, sweep_folder: Path, tmp_path: Path
) -> None:
    assert_refused(run("report", sweep_folder / store, "-o", tmp_path / output), message)


def test_a_report_contains_sweeps_and_claims_and_never_overwrites_a_file(sweep_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run("report", sweep_folder / "runs.db", "-o", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "small" in text
    assert "theorem-1" in text
    again = run("report", sweep_folder / "runs.db", "-o", page)
    assert_refused(again, "report.html already exists")
    assert page.read_text(encoding="utf-8") == text
