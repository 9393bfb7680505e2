"""asv as a user runs it, with only asv.conf.json and the checkout."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("asv", reason="asv is not installed")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A writable copy of the files of the checkout that asv needs."""
    for name in ("benchmarks/tracked", "baselines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("asv.conf.json", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _asv(checkout: Path, *arguments: str) -> str:
    # A minimal environment, and a home folder without asv's file about this machine.
    environ = {name: os.environ[name] for name in ("PATH", "LANG", "SystemRoot") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "asv", *arguments],
        cwd=checkout,
        env=environ | {"HOME": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("method", ["auto", "spawn"])
def test_check_and_a_quick_run_in_the_existing_environment(checkout: Path, method: str) -> None:
    _asv(checkout, "machine", "--yes")
    if method == "auto":
        assert "No problems found" in _asv(checkout, "check", "-E", f"existing:{sys.executable}")
    quick = ("run", "--quick", "-E", f"existing:{sys.executable}", "--launch-method", method)
    output = _asv(checkout, *quick, "--bench", r"^library\.Imports\.timeraw_ammup$")
    assert "[100.00%]" in output
    assert "failed" not in output


def test_the_stored_list_contains_every_module_of_benchmarks() -> None:
    """`asv publish` on a new clone reads the stored list; `asv run` updates it."""
    stored = json.loads((ROOT / "baselines/asv/benchmarks.json").read_text())
    modules = {name.partition(".")[0] for name in stored if "." in name}
    helpers = {"__init__", "kernel", "moved", "obvious"}
    assert modules == {path.stem for path in (ROOT / "benchmarks/tracked").glob("*.py")} - helpers


def test_the_requirements_of_asv_are_dependencies_of_the_project() -> None:
    from asv.config import Config

    conf = Config.load(str(ROOT / "asv.conf.json"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(conf.matrix["req"]) <= {line.partition(">")[0] for line in project}


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout")
def test_results_of_other_machines_are_ignored_by_git() -> None:
    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0

    assert ignored("baselines/asv/somebody/1234-virtualenv.json")
    assert ignored(".asv/env/x")
    assert not ignored("baselines/asv/ci/1234-virtualenv.json")
    assert not ignored("baselines/asv/benchmarks.json")
