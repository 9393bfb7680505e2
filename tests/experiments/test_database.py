"""The SQLite file: which files are opened, locks, migrations, and what is reported of a file that cannot be used."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from stores import RUN, put

from ammup.errors import InputError
from ammup.experiments.migrations import MIGRATIONS
from ammup.experiments.schema import SHORT
from ammup.experiments.store import Store


def test_a_second_writer_is_told_so_and_a_reader_is_let_in(path: Path) -> None:
    with Store(path, mode="write"), Store(path, mode="read") as reader:
        assert len(reader.keys("e")) == 2
        command = "import sys, pathlib; from ammup.experiments.store import Store; "
        command += "Store(pathlib.Path(sys.argv[1]), mode='write')"
        done = subprocess.run([sys.executable, "-c", command, str(path)], capture_output=True, text=True, check=False)
        assert "another process is writing" in done.stderr
    with Store(path, mode="write"):
        pass


READER = """
import pathlib, sys
from ammup.experiments.store import Store
before = 0
print("reading", flush=True)
while before < 40:
    with Store(pathlib.Path(sys.argv[1]), mode="read") as store:
        runs = len(store.table("e"))
    assert runs >= before, (runs, before)
    before = runs
"""


def test_readers_that_come_and_go_stop_no_writer(path: Path) -> None:
    """Kind of optuna/optuna-dashboard#545: a dashboard locks the database of a study that is running."""
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        with Store(path, mode="read") as waiting:
            waiting.connection.execute("BEGIN")
            assert len(waiting.table("e")) == 2
            for number in range(40):
                with Store(path, mode="write") as store:
                    put(store, {f"run {number}": replace(RUN, seed=1 + number)})
            assert len(waiting.table("e")) == 2  # what the file held when the transaction began
        _, errors = reader.communicate(timeout=60)
    assert (reader.returncode, errors) == (0, "")


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; `ammup sweep"):
        Store(tmp_path / "runs.db", mode="read")
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        Store(tmp_path / "nowhere" / "runs.db", mode="write")


@pytest.mark.parametrize("mode", ["read", "write"])
def test_another_file_is_left_as_it_is(tmp_path: Path, mode: str) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be taken for one " * 20)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(InputError, match="not a store of ammup"):
            Store(path, mode=mode)
        assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_store_of_a_newer_schema_is_refused(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="newer ammup"):
        Store(path, mode=mode)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_store_is_called_damaged_and_left_as_it_is(path: Path, share: float, mode: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"damaged .*recover"):
        Store(path, mode=mode)
    assert path.read_bytes() == before


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with Store(path, mode="write") as store:
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to run out of room
        many = {f"k{i}": replace(RUN, curve=tuple((j, 1.0) for j in range(2000))) for i in range(20)}
        with pytest.raises(InputError, match="its content is safe: free some space"):
            put(store, many)
        assert store.keys("e") == {"a", "b"}
        store.connection.execute("PRAGMA max_page_count = 1000000")
        put(store, many)
        assert len(store.keys("e")) == 22


_READ_ONLY = """
import os, sys
from pathlib import Path
from ammup.experiments.store import Store
from ammup.errors import InputError
if os.getuid() == 0:
    os.setuid(65534)  # permissions do not bind root
path = Path(sys.argv[1])
with Store(path, mode="read") as store:
    print(len(store.keys("e")))
try:
    Store(path, mode="write")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_read_only_store_is_read_and_not_written(path: Path) -> None:
    for folder in (path.parent, *path.parent.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o555)
    path.with_name("runs.db.lock").unlink(missing_ok=True)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _READ_ONLY, str(path)], capture_output=True, text=True, check=False
        )
    finally:
        path.parent.chmod(0o755)
    assert done.stdout.startswith("2\n"), done.stderr
    assert "cannot be written" in done.stdout or "is read-only" in done.stdout


def test_a_store_that_is_not_whole_has_not_its_name_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it makes the file leaves none; the next one begins anew."""
    path = tmp_path / "new.db"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Store(path, mode="write")
    assert not path.exists()
    (tmp_path / "new.db.new").write_bytes(b"half of it")
    with Store(path, mode="write") as store:
        assert store.experiments() == ()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.db", "new.db.lock"]


# The tables as earlier versions of ammup made them; all of these have user_version 1.
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
EARLIER = {
    "runs": FIRST + FIRST_INDEX,
    "runs and short runs": FIRST + FIRST_INDEX + SHORT_RUNS,
    "adaptive searches": FIRST + FIRST_INDEX + SHORT_RUNS + LEFT_OUT,
    "covering index": FIRST + SHORT_RUNS + LEFT_OUT + COVERING,
}
INSERTED = """
INSERT INTO experiments VALUES ('e', 'demo', 'name = "demo"', 'd', NULL, NULL);
INSERT INTO invocations VALUES (1, '2026-01-01', 'ammup sweep', '/somewhere', 'abc', 1, NULL, NULL, '{}');
INSERT INTO workers VALUES (1, 'here', 'cpu', 1, '{}');
INSERT INTO runs VALUES
    ('a', 'e', 3, 0.1, 0, 0.25, 2.0, 9e999, 0, 10, '[[5, 2.25]]', 1.5, 100.0, 'float32', 'loop', '2026-01-01', 1, 1);
"""
APPLICATION_ID = 0x616D6D75


def _made(path: Path, sql: str, *, version: int = 1) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"{sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
    return path


def _contents(path: Path) -> tuple[int, dict[str, list[str]]]:
    """(Version, columns of each table and index)."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute(
            "SELECT name, type FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        ).fetchall()
        pragma = {"table": "table_info", "index": "index_info"}
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
    assert _contents(new)[0] == len(MIGRATIONS)


@pytest.mark.parametrize("age", EARLIER)
def test_a_store_of_an_earlier_version_is_read_and_not_changed(age: str, tmp_path: Path) -> None:
    path = _made(tmp_path / "old.db", EARLIER[age] + INSERTED)
    before = path.read_bytes()
    with Store(path, mode="read") as store:
        assert store.runs("e")["val_accuracy"].tolist() == [0.25]
        assert store.table("e")["command"].tolist() == ["ammup sweep"]
        for table in (store.measurements("e"), store.laws("e"), store.left_out("e")):
            assert table.empty
    assert path.read_bytes() == before


@pytest.mark.parametrize("age", EARLIER)
def test_a_store_of_an_earlier_version_is_migrated_when_it_is_written_to(age: str, tmp_path: Path, new: Path) -> None:
    path = _made(tmp_path / "old.db", EARLIER[age] + INSERTED)
    with Store(path, mode="read") as store:
        before = store.table("e")
    for _ in range(2):
        with Store(path, mode="write") as store:
            pd.testing.assert_frame_equal(store.table("e"), before)
            (plan,) = (row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {SHORT}", ("e",)))
            assert "COVERING INDEX runs_in_short" in plan
        assert _contents(path) == _contents(new)
    with Store(path, mode="write") as store:
        put(store, {"c": RUN})
        assert store.keys("e") == {"a", "c"}


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_a_migration_that_was_interrupted_is_continued(version: int, tmp_path: Path, new: Path) -> None:
    path = _made(tmp_path / "old.db", "".join(MIGRATIONS[:version]) + INSERTED, version=version)
    with Store(path, mode="write") as store:
        assert store.keys("e") == {"a"}
    assert _contents(path) == _contents(new)


@pytest.mark.parametrize("version", [0, -1])
def test_a_store_without_a_version_is_damaged(version: int, tmp_path: Path) -> None:
    path = _made(tmp_path / "old.db", EARLIER["runs"], version=version)
    with pytest.raises(InputError, match=rf"damaged.*schema version {version}"):
        Store(path, mode="write")


def test_an_error_inside_a_transaction_undoes_it(path: Path) -> None:
    def interrupted(store: Store) -> None:
        with store.transaction():
            store.connection.execute("DELETE FROM runs")
            raise KeyboardInterrupt

    with Store(path, mode="write") as store:
        with pytest.raises(KeyboardInterrupt):
            interrupted(store)
        assert store.keys("e") == {"a", "b"}
