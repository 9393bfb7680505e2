"""Versions and commits against importlib.metadata and git itself."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from ammup import provenance
from ammup.provenance import commit_of, git, versions


def _git(where: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=where, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder under git with one commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "checkout"
    (folder / "room").mkdir(parents=True)
    _git(folder, "init", "--quiet")
    (folder / "code.py").write_text("1")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "a commit")
    return folder


def test_versions_are_those_that_are_installed() -> None:
    found = versions()
    assert list(found) == ["python", "ammup", "torch", "numpy"]
    assert found.pop("python") == platform.python_version()
    assert found == {name: version(name) for name in found}


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "ammup-is-not-called-this"))
    assert versions() == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "ammup-is-not-called-this": "unknown",
    }


def test_the_commit_is_that_of_the_checkout_around_a_folder(checkout: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    assert len(head) == 40
    assert commit_of(checkout) == commit_of(checkout / "room") == (head, False)


def test_changes_count_and_files_that_git_does_not_track_do_not(checkout: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    (checkout / "runs.db").write_text("new")
    assert commit_of(checkout) == (head, False)
    (checkout / "code.py").write_text("2")
    assert commit_of(checkout) == (head, True)
    _git(checkout, "add", "code.py")
    assert commit_of(checkout) == (head, True)
    _git(checkout, "commit", "--quiet", "--message", "another")
    assert commit_of(checkout) == (_git(checkout, "rev-parse", "HEAD"), False)


def test_there_is_no_commit_outside_a_checkout_or_before_the_first(checkout: Path, tmp_path: Path) -> None:
    assert commit_of(tmp_path) == (None, None)
    empty = tmp_path / "empty"
    empty.mkdir()
    _git(empty, "init", "--quiet")
    assert commit_of(empty) == (None, None)


def test_git_that_fails_or_is_not_installed_prints_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git("log", "--format=%s", cwd=checkout) == "a commit"
    assert git("no-such-command", cwd=checkout) == ""
    assert git("status", cwd=checkout / "missing") == ""
    monkeypatch.setenv("PATH", str(checkout))
    assert git("log", cwd=checkout) == ""
