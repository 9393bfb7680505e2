"""Migrations of stores that earlier versions of ammup wrote."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from stores import RUN, put

from ammup.errors import InputError
from ammup.experiments.database import APPLICATION_ID
from ammup.experiments.migrations import MIGRATIONS
from ammup.experiments.schema import RUNS
from ammup.experiments.store import Store

# The tables of earlier versions of ammup; all of these stores have user_version 1.
FIRST = """
CREATE TABLE experiments (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, specification TEXT NOT NULL, data_digest TEXT,
    strategy TEXT, choice TEXT
) STRICT;
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, command TEXT NOT NULL, folder TEXT NOT NULL, commit_id TEXT,
    dirty INTEGER, ammup_commit TEXT, ammup_dirty INTEGER, versions TEXT NOT NULL
) STRICT;
CREATE TABLE workers (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, device TEXT NOT NULL, threads INTEGER NOT NULL, versions TEXT NOT NULL,
    UNIQUE (host, device, threads, versions)
) STRICT;
CREATE TABLE runs (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL,
    lr REAL NOT NULL, seed INTEGER NOT NULL, val_accuracy REAL, val_loss REAL, train_loss REAL,
    diverged INTEGER NOT NULL, steps INTEGER NOT NULL, curve TEXT NOT NULL, seconds REAL NOT NULL,
    images_per_second REAL NOT NULL, dtype TEXT NOT NULL, strategy TEXT NOT NULL, finished_at TEXT NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id), worker INTEGER NOT NULL REFERENCES workers (id)
) STRICT;
"""
FIRST_INDEX = "CREATE INDEX runs_of_experiment ON runs (experiment, depth, seed, lr);"
SHORT_RUNS = """
CREATE TABLE measurements (
    experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL, lr REAL NOT NULL,
    seed INTEGER NOT NULL, step INTEGER NOT NULL, S_bar REAL NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id), PRIMARY KEY (experiment, depth, lr, seed, step)
) STRICT;
CREATE TABLE laws (
    experiment TEXT NOT NULL REFERENCES experiments (key), rule TEXT NOT NULL, depth INTEGER NOT NULL,
    lr_star REAL NOT NULL, invocation INTEGER NOT NULL REFERENCES invocations (id),
    PRIMARY KEY (experiment, rule, depth)
) STRICT;
"""
LEFT_OUT = """
CREATE TABLE left_out (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL,
    lr REAL NOT NULL, seed INTEGER NOT NULL, steps INTEGER NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id)
) STRICT;
"""
COVERING = """
CREATE INDEX runs_in_short ON runs (
    experiment, depth, seed, lr, val_accuracy, val_loss, diverged, invocation, worker, dtype, strategy, seconds,
    finished_at
);
"""
EARLIER_TABLES = {
    "runs": FIRST + FIRST_INDEX,
    "runs and short runs": FIRST + FIRST_INDEX + SHORT_RUNS,
    "adaptive searches": FIRST + FIRST_INDEX + SHORT_RUNS + LEFT_OUT,
    "covering index": FIRST + SHORT_RUNS + LEFT_OUT + COVERING,
}
EXAMPLE_ROWS = """
INSERT INTO experiments VALUES ('e', 'demo', 'name = "demo"', 'd', NULL, NULL);
INSERT INTO invocations VALUES (1, '2026-01-01', 'ammup sweep', '/somewhere', 'abc', 1, NULL, NULL, '{}');
INSERT INTO workers VALUES (1, 'here', 'cpu', 1, '{}');
INSERT INTO runs VALUES
    ('a', 'e', 3, 0.1, 0, 0.25, 2.0, 9e999, 0, 10, '[[5, 2.25]]', 1.5, 100.0, 'float32', 'loop', '2026-01-01', 1, 1);
"""


def _create(path: Path, sql: str, *, version: int = 1) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"{sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
    return path


def _version_and_columns(path: Path) -> tuple[int, dict[str, list[str]]]:
    """Return the schema version, and the columns of each table and index."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute(
            "SELECT name, type FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        ).fetchall()
        pragma = {"table": "table_info", "view": "table_info", "index": "index_info"}
        return version, {
            name: [str(row) for row in connection.execute(f"PRAGMA {pragma[kind]} ({name})")] for name, kind in tables
        }


@pytest.fixture
def new(tmp_path: Path) -> Path:
    Store(tmp_path / "new.db", mode="write").close()
    return tmp_path / "new.db"


def test_a_new_store_has_our_application_id_and_the_latest_version(new: Path) -> None:
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert _version_and_columns(new)[0] == len(MIGRATIONS)


@pytest.mark.parametrize("age", EARLIER_TABLES)
def test_reading_a_store_of_an_earlier_version_does_not_change_it(age: str, tmp_path: Path) -> None:
    path = _create(tmp_path / "old.db", EARLIER_TABLES[age] + EXAMPLE_ROWS)
    before = path.read_bytes()
    with Store(path, mode="read") as store:
        assert store.runs("e")["val_accuracy"].tolist() == [0.25]
        assert store.table("e")["command"].tolist() == ["ammup sweep"]
        for table in (store.measurements("e"), store.laws("e"), store.left_out("e")):
            assert table.empty
    assert path.read_bytes() == before


@pytest.mark.parametrize("age", EARLIER_TABLES)
def test_writing_to_a_store_of_an_earlier_version_migrates_it(age: str, tmp_path: Path, new: Path) -> None:
    path = _create(tmp_path / "old.db", EARLIER_TABLES[age] + EXAMPLE_ROWS)
    with Store(path, mode="read") as store:
        before = store.table("e")
    for _ in range(2):
        with Store(path, mode="write") as store:
            pd.testing.assert_frame_equal(store.table("e"), before)
            (plan,) = (row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {RUNS}", ("e",)))
            assert "COVERING INDEX runs_in_short" in plan
        assert _version_and_columns(path) == _version_and_columns(new)
    with Store(path, mode="write") as store:
        put(store, {"c": RUN})
        assert store.keys("e") == {"a", "c"}


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_an_interrupted_migration_is_continued(version: int, tmp_path: Path, new: Path) -> None:
    path = _create(tmp_path / "old.db", "".join(MIGRATIONS[:version]) + EXAMPLE_ROWS, version=version)
    with Store(path, mode="write") as store:
        assert store.keys("e") == {"a"}
    assert _version_and_columns(path) == _version_and_columns(new)


@pytest.mark.parametrize("version", [0, -1])
def test_a_store_without_a_version_is_reported_as_damaged(version: int, tmp_path: Path) -> None:
    path = _create(tmp_path / "old.db", EARLIER_TABLES["runs"], version=version)
    with pytest.raises(InputError, match=rf"damaged.*schema version {version}"):
        Store(path, mode="write")
