"""Rows of a store as dataclasses, and the queries that read them."""

import sqlite3
from contextlib import closing
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from stores import EXPERIMENT, INVOCATION, WORKER

from ammup.experiments.schema import PROVENANCE_COUNTS, RUNS, RUNS_WITH_PROVENANCE


@pytest.mark.parametrize("row", [EXPERIMENT, INVOCATION, WORKER], ids=lambda row: type(row).__name__)
def test_rows_are_frozen(row: object) -> None:
    with pytest.raises(FrozenInstanceError):
        row.key = "x"


@pytest.mark.parametrize("query", [RUNS_WITH_PROVENANCE, RUNS, PROVENANCE_COUNTS], ids=["table", "short", "origins"])
def test_a_query_selects_the_rows_of_one_experiment(query: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(query, ("e",)).fetchall()
        assert connection.execute(query, ("nothing",)).fetchall() == []


def test_rows_are_ordered_and_null_is_read_as_minus_infinity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(RUNS, ("e",)).fetchall()
        assert rows == [(3, 0, 0.1, 0.25, 2.0, 0), (3, 0, 10.0, float("-inf"), float("-inf"), 1)]
        assert [row[2:5] for row in connection.execute(RUNS_WITH_PROVENANCE, ("e",))] == [(3, 0.1, 0), (3, 10.0, 0)]


def test_runs_are_counted_by_worker_and_command(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute(PROVENANCE_COUNTS, ("e",))
        (counts,) = (dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor)
    assert (counts["runs"], counts["seconds"], counts["device"], counts["command"]) == (2, 3.0, "cpu", "ammup sweep")
