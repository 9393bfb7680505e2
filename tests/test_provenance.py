"""Versions and commits against importlib.metadata and git itself."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from ammup import provenance
from ammup.provenance import ammup_commit, commit_of, commit_text, git, versions


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


PROJECT = Path(__file__).parents[1]
RECORD = "ammup/built_from.json"


@pytest.fixture
def project(checkout: Path) -> Path:
    """A checkout with the build files of ammup and an almost empty package."""
    pytest.importorskip("hatchling")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, checkout)
    for name in ("ammup", "baselines"):
        (checkout / name).mkdir()
        (checkout / name / "__init__.py").write_text('__version__ = "1.2.3"\n')
    _git(checkout, "add", "--all")
    _git(checkout, "commit", "--quiet", "--message", "a project")
    return checkout


def _built(project: Path, target: str = "wheel") -> Path:
    """The archive that the build backend makes, as pip does."""
    out = project.parent / "dist"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.iterdir()
    return archive


def _record_of(wheel: Path) -> dict[str, object] | None:
    with zipfile.ZipFile(wheel) as archive:
        return json.loads(archive.read(RECORD)) if RECORD in archive.namelist() else None


def test_a_wheel_records_the_commit_it_is_built_from(project: Path) -> None:
    head = _git(project, "rev-parse", "HEAD")
    (project / "runs.db").write_text("untracked")
    assert _record_of(_built(project)) == {"commit": head, "dirty": False}
    (project / "code.py").write_text("changed")
    assert _record_of(_built(project)) == {"commit": head, "dirty": True}
    assert not (project / RECORD).exists()
    assert _git(project, "status", "--porcelain", "--untracked-files=no") == "M code.py"


def test_an_editable_installation_has_no_record_because_its_checkout_changes(project: Path) -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", project / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.CommitHook(str(project), {}, None, None, str(project), "wheel")
    for version_of_build, files in (("editable", 0), ("standard", 1)):
        build_data = {"force_include": {}}
        hook.initialize(version_of_build, build_data)
        assert len(build_data["force_include"]) == files
    (source,) = build_data["force_include"]
    hook.finalize("standard", build_data, "")
    assert not Path(source).exists()


def test_a_wheel_of_a_source_distribution_has_the_record_of_that_one(project: Path, tmp_path: Path) -> None:
    head = _git(project, "rev-parse", "HEAD")
    with tarfile.open(_built(project, "sdist")) as archive:
        archive.extractall(tmp_path / "outside", filter="data")
        archive.extractall(project, filter="data")  # in the checkout of another project
    _git(project, "commit", "--quiet", "--allow-empty", "--message", "another commit")
    for folder in (tmp_path / "outside", project):
        (unpacked,) = folder.glob("ammup-*")
        assert _record_of(_built(unpacked)) == {"commit": head, "dirty": False}


def test_without_a_checkout_a_wheel_has_no_record(project: Path) -> None:
    shutil.rmtree(project / ".git")
    assert _record_of(_built(project)) is None


def test_an_installed_wheel_has_the_commit_of_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "built_from.json"
    monkeypatch.setattr(provenance, "RECORD", record)
    record.write_text('{"commit": "abc", "dirty": true}')
    assert ammup_commit() == ("abc", True)
    assert commit_text() == "abc, with uncommitted changes"
    record.write_text('{"commit": "abc", "dirty": false}')
    assert commit_text() == "abc"
    for invalid in ("", "[]", "{}", '{"commit": 3, "dirty": false}', '{"commit": "abc", "dirty": null}', "\x00"):
        record.write_text(invalid)
        assert ammup_commit() == (None, None)
        assert commit_text() == "unknown"


def test_a_checkout_has_its_own_commit_and_not_that_of_another_project(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment often lies in the checkout of the project that uses ammup."""
    package = checkout / "environment" / "site-packages" / "ammup"
    package.mkdir(parents=True)
    copied = shutil.copy(provenance.__file__, package)
    monkeypatch.setattr(provenance, "__file__", str(copied))
    monkeypatch.setattr(provenance, "RECORD", package / "built_from.json")
    assert commit_of(package)[0] is not None
    assert ammup_commit() == (None, None)
    _git(checkout, "add", "--all")
    _git(checkout, "commit", "--quiet", "--message", "vendored")
    assert ammup_commit() == (_git(checkout, "rev-parse", "HEAD"), False)
