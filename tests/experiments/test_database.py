"""The SQLite file of a store: which files are accepted, locking, transactions, and error messages."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stores import RUN, put

from ammup.errors import InputError
from ammup.experiments.migrations import MIGRATIONS
from ammup.experiments.store import Store


def test_a_second_writer_is_rejected_and_a_reader_is_allowed(path: Path) -> None:
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


def test_readers_do_not_block_the_writer(path: Path) -> None:
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


def test_the_error_for_a_missing_store_states_how_to_create_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; `ammup sweep"):
        Store(tmp_path / "runs.db", mode="read")
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        Store(tmp_path / "nowhere" / "runs.db", mode="write")


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_file_of_another_program_is_rejected_and_not_changed(tmp_path: Path, mode: str) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to have a header of one " * 20)
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
def test_a_store_with_a_newer_schema_is_rejected_and_not_changed(path: Path, mode: str) -> None:
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
def test_a_truncated_store_is_reported_as_damaged_and_not_changed(path: Path, share: float, mode: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"damaged .*recover"):
        Store(path, mode=mode)
    assert path.read_bytes() == before


def test_a_full_disk_does_not_lose_stored_runs(path: Path) -> None:
    with Store(path, mode="write") as store:
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")  # simulates a full disk
        large_runs = {f"k{i}": replace(RUN, curve=tuple((j, 1.0) for j in range(2000))) for i in range(20)}
        with pytest.raises(InputError, match="its content is safe: free some space"):
            put(store, large_runs)
        assert store.keys("e") == {"a", "b"}
        store.connection.execute("PRAGMA max_page_count = 1000000")
        put(store, large_runs)
        assert len(store.keys("e")) == 22


_READ_ONLY = """
import os, sys
from pathlib import Path
from ammup.experiments.store import Store
from ammup.errors import InputError
if os.getuid() == 0:
    os.setuid(65534)  # root ignores file permissions
path = Path(sys.argv[1])
with Store(path, mode="read") as store:
    print(len(store.keys("e")))
try:
    Store(path, mode="write")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_read_only_store_can_be_read_but_not_written(path: Path) -> None:
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


def test_a_process_that_is_killed_while_creating_a_store_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process creates the store."""
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


def test_an_error_inside_a_transaction_rolls_it_back(path: Path) -> None:
    def interrupted(store: Store) -> None:
        with store.transaction():
            store.connection.execute("DELETE FROM runs")
            raise KeyboardInterrupt

    with Store(path, mode="write") as store:
        with pytest.raises(KeyboardInterrupt):
            interrupted(store)
        assert store.keys("e") == {"a", "b"}
