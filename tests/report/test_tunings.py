"""The tunings of a store on the page of `ammup report`."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from tuning_runs import run_at

from ammup.experiments.store import Store
from ammup.report.summary import html_report
from ammup.report.tunings import tuning_sections
from ammup.tuning.progress import TuningRun
from ammup.tuning.stored_runs import StoredRuns

RUNS = (
    replace(run_at(0.1, 1.0), score=0.5),
    replace(run_at(0.2, 1.1), score=0.6),
    replace(run_at(0.4, 1.2), until=10, steps=10),
    replace(run_at(0.8, 1.95), until=10, steps=10),  # fell by less than half as far
    replace(run_at(0.1, 1.0, depth=8), outcome="failed", steps=0, curve=(), until=10),
    replace(run_at(0.05, math.nan, depth=8), outcome="diverged", until=10, steps=7),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    _put(tmp_path / "tune.db", "train <one>", RUNS)
    _put(tmp_path / "tune.db", "another", RUNS[:1])
    return tmp_path / "tune.db"


def _put(path: Path, name: str, runs: tuple[TuningRun, ...]) -> None:
    with StoredRuns(path, name=name, identity=name, budget=20) as stored:
        for run in runs:
            stored.put(run)


def test_a_section_has_what_was_found_at_each_depth(store: Path) -> None:
    first, second = tuning_sections(store)
    assert (first.name, first.steps, second.name) == ("train <one>", 20, "another")
    shallow, deep = first.depths
    assert (shallow.depth, shallow.runs, shallow.trainings, shallow.failed) == (2, 4, 3.0, 0)
    assert shallow.trained == pytest.approx(0.4)
    assert (shallow.best, shallow.score) == (0.2, 0.6)
    assert (deep.depth, deep.runs, deep.trainings, deep.failed) == (8, 2, 7 / 20, 1)
    assert (deep.trained, deep.best, deep.score) == (None, None, None)


def test_the_page_shows_the_tunings_of_a_store(store: Path) -> None:
    page = html_report(store)
    assert '<a href="#tuning-2">another</a>' in page
    assert "train &lt;one&gt;" in page
    assert "train <one>" not in page
    assert page.count("<img") == 2
    assert "a complete run has 20 steps" in page


def test_a_store_without_tunings_does_not_mention_them(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write"):
        pass
    assert "uning" not in html_report(tmp_path / "runs.db").split('id="claims"')[0].split("</head>")[1]


def test_a_store_from_before_there_were_tunings_has_none(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write"):
        pass
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute("DROP TABLE tuning_runs")
        connection.execute("DROP TABLE tunings")
    assert tuning_sections(tmp_path / "runs.db") == ()
