"""The store: what it keeps, and what it says of a file that it cannot use."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ammup.errors import InputError
from ammup.experiments import database
from ammup.experiments.merge import merge
from ammup.experiments.schema import SHORT, Invocation, StoredExperiment, Worker
from ammup.experiments.store import Store
from ammup.training.runs import Run

RUN = Run(
    depth=3,
    lr=0.1,
    seed=0,
    val_accuracy=0.25,
    val_loss=2.0,
    train_loss=float("inf"),
    diverged=False,
    steps=10,
    curve=((5, 2.25), (10, 2.0)),
    seconds=1.5,
    images_per_second=100.0,
    strategy="loop",
)
NAN = float("nan")
LOST = replace(RUN, lr=10.0, val_accuracy=NAN, val_loss=NAN, train_loss=NAN, diverged=True, steps=0, curve=())
EXPERIMENT = StoredExperiment(
    key="e", name="demo", specification="name = 'demo'", data_digest="d", strategy=None, choice=None
)
INVOCATION = Invocation(
    command="ammup sweep",
    folder="/somewhere",
    commit="abc",
    dirty=True,
    ammup_commit=None,
    ammup_dirty=None,
    versions={"torch": "2"},
)
WORKER = Worker(host="here", device="cpu", threads=1, versions={"torch": "2"})


def _put(store: Store, runs: dict[str, Run], *, experiment: StoredExperiment = EXPERIMENT) -> None:
    store.put_experiment(experiment)
    number = store.put_invocation(INVOCATION)
    store.put_runs(runs, experiment=experiment.key, invocation=number, worker=WORKER, dtype="float32")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with Store(path, mode="write") as store:
        _put(store, {"a": RUN, "b": LOST})
    return path


def test_a_run_comes_back_with_all_it_can_be_traced_by(path: Path) -> None:
    with Store(path, mode="read") as store:
        table = store.table("e")
        assert store.curves("e") == {"a": [(5, 2.25), (10, 2.0)], "b": []}
    row, lost = table.to_dict("records")
    expected = {
        "experiment": "demo",
        "key": "a",
        "depth": 3,
        "lr": 0.1,
        "seed": 0,
        "val_accuracy": 0.25,
        "train_loss": float("inf"),
        "diverged": False,
        "steps": 10,
        "seconds": 1.5,
        "dtype": "float32",
        "strategy": "loop",
        "host": "here",
        "device": "cpu",
        "threads": 1,
        "command": "ammup sweep",
        "commit": "abc",
        "dirty": True,
        "versions": '{"torch": "2"}',
    }
    assert {name: row[name] for name in expected} == expected
    assert lost["diverged"] is True
    assert lost["val_accuracy"] != lost["val_accuracy"]


def test_a_stored_run_is_never_replaced(path: Path) -> None:
    with Store(path, mode="write") as store:
        _put(store, {"a": replace(RUN, val_accuracy=0.9), "c": RUN})
        assert store.table("e").set_index("key")["val_accuracy"].to_dict()["a"] == 0.25
        assert store.keys("e") == {"a", "b", "c"}


def test_a_block_is_stored_whole_or_not_at_all(path: Path) -> None:
    with Store(path, mode="write") as store:
        store.connection.execute(
            "CREATE TEMP TRIGGER no BEFORE INSERT ON runs WHEN NEW.key = 'd' BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        with pytest.raises(InputError, match="no room"):
            _put(store, {"c": RUN, "d": RUN})
        assert store.keys("e") == {"a", "b"}


def test_a_second_writer_is_told_so_and_a_reader_is_let_in(path: Path) -> None:
    with Store(path, mode="write"), Store(path, mode="read") as reader:
        assert len(reader.keys("e")) == 2
        command = "import sys, pathlib; from ammup.experiments.store import Store; "
        command += "Store(pathlib.Path(sys.argv[1]), mode='write')"
        done = subprocess.run([sys.executable, "-c", command, str(path)], capture_output=True, text=True, check=False)
        assert "another process is writing" in done.stderr
    with Store(path, mode="write"):
        pass


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
    connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
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
        with pytest.raises(InputError, match="what it holds is safe: free some space"):
            _put(store, many)
        assert store.keys("e") == {"a", "b"}
        store.connection.execute("PRAGMA max_page_count = 1000000")
        _put(store, many)
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


def test_merging_adds_what_is_new_and_keeps_what_is_here(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Store(other, mode="write") as store:
        _put(store, {"a": replace(RUN, val_accuracy=0.9), "b": LOST, "c": RUN})
        _put(store, {"x": RUN}, experiment=replace(EXPERIMENT, key="f", name="second"))
    with Store(path, mode="write") as ours, Store(other, mode="read") as theirs:
        assert merge(ours, theirs) == (2, 1)
        assert merge(ours, theirs) == (0, 1)
        assert ours.keys("e") == {"a", "b", "c"}
        assert ours.keys("f") == {"x"}
        table = ours.table("e").set_index("key")
        assert table.loc["a", "val_accuracy"] == 0.25
        assert table.loc["c", "command"] == "ammup sweep"
        assert ours.connection.execute("SELECT count(*) FROM workers").fetchone() == (1,)


def test_runs_on_other_data_are_not_merged(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Store(other, mode="write") as store:
        _put(store, {"c": RUN}, experiment=replace(EXPERIMENT, data_digest="another"))
    with Store(path, mode="write") as ours, Store(other, mode="read") as theirs:
        with pytest.raises(InputError, match="another content"):
            merge(ours, theirs)
        assert ours.keys("e") == {"a", "b"}


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


def test_an_older_store_gets_the_index_that_fits_read(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("DROP INDEX runs_in_short; CREATE INDEX runs_of_experiment ON runs (experiment, depth);")
    connection.close()
    with Store(path, mode="read") as store:
        before = store.runs("e")
    with Store(path, mode="write") as store:
        pd.testing.assert_frame_equal(store.runs("e"), before)
        rows = store.connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        assert [name for (name,) in rows] == ["runs_in_short"]
        (plan,) = (row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {SHORT}", ("e",)))
        assert "COVERING INDEX runs_in_short" in plan


def test_short_rows_are_those_of_the_table(path: Path) -> None:
    with Store(path, mode="read") as store:
        (experiment,) = store.experiments()
        short, table = store.runs(experiment.key), store.table(experiment.key)
        pd.testing.assert_frame_equal(short, table[short.columns].astype(short.dtypes))
        assert store.runs("nothing").dtypes.equals(short.dtypes)
        assert store.origins(experiment.key)["runs"].sum() == len(table)
