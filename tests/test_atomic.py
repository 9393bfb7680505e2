"""Files that are replaced atomically."""

import os
from pathlib import Path

import pytest

from ammup.atomic import replacing, write_atomically


def _listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_text_is_created_and_replaced_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("S̄ ≤ 1\n", "", "longer\nthan before\n"):
        write_atomically(path, text)
        assert _listing(tmp_path) == {"a.json": text.encode()}


@pytest.mark.parametrize("old", [b"before", None])
def test_a_full_disk_leaves_the_folder_unchanged(
    old: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    if old is not None:
        path.write_bytes(old)
    before = _listing(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            write_atomically(path, "after")
    assert _listing(tmp_path) == before


def test_the_new_file_is_complete_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "before")
    replaced = []
    monkeypatch.setattr(Path, "replace", lambda self, target: replaced.append((self.read_text(), target)))
    write_atomically(path, "after")
    assert replaced == [("after", path)]
    assert path.read_text() == "before"  # nothing else changed it


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_the_block_removes_the_temporary_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("before")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert _listing(tmp_path) == {"a.db": b"before"}


def test_a_temporary_file_of_a_killed_process_is_not_reused(tmp_path: Path) -> None:
    temporary = tmp_path / "a.db.new"
    temporary.write_text("half of another")
    with replacing(tmp_path / "a.db", temporary=temporary) as same:
        assert same == temporary
        assert not same.exists()
        same.write_text("all")
    assert _listing(tmp_path) == {"a.db": b"all"}
