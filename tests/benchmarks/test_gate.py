"""The gate over commits with asv itself, in a repository whose only exponent is a number in a file."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ammup import InputError

pytest.importorskip("asv", reason="asv is not installed")
if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)

BENCHMARKS = """
from pathlib import Path

VALUES = Path(__file__).parents[2] / "ammup" / "values.txt"


class Claims:
    params = ["steady", "moving"]
    version = "1"

    def track_drift(self, claim):
        return 1.0 if claim == "steady" else float(VALUES.read_text())


class Families:
    version = "1"

    def track_slope_error(self):
        return 0.05
"""
CONFIGURATION = {
    "version": 1,
    "project": "toy",
    "repo": ".",
    "branches": ["HEAD"],
    "environment_type": "virtualenv",
    "benchmark_dir": "benchmarks/tracked",
    "results_dir": "baselines/asv",
    "html_dir": ".asv/html",
    "regressions_thresholds": {r"exponents\..*track_.*_error": 0.5, r"exponents\..*track_drift": 0.5},
}
MOVED = "exponents.Claims.track_drift('moving')"


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    """benchmarks/gate.py, which is not part of the package."""
    path = Path(__file__).parents[2] / "benchmarks" / "gate.py"
    specification = importlib.util.spec_from_file_location("gate", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["gate"] = module  # dataclasses look the module up
    specification.loader.exec_module(module)
    return module


class Repository:
    """A git repository with asv benchmarks, and a separate home folder."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environ |= {"HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull}

    def run(self, *command: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        full = ["git", *who, *command[1:]] if command[0] == "git" else [sys.executable, "-m", *command]
        done = subprocess.run(full, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(self, subject: str, value: object = None) -> str:
        """Commit a change of the README and, if ``value`` is given, of the exponent."""
        if value is not None:
            (self.folder / "ammup" / "values.txt").write_text(str(value))
        with (self.folder / "README.md").open("a") as readme:
            readme.write(subject)
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", subject)
        return self.run("git", "rev-parse", "HEAD")

    def measure(self, commit: str = "HEAD") -> None:
        """Run the benchmarks of a commit in this environment."""
        branch = self.run("git", "rev-parse", "--abbrev-ref", "HEAD")
        self.run("git", "checkout", "--quiet", commit)
        same = ("-E", "existing:same", "--set-commit-hash", self.run("git", "rev-parse", "HEAD"))
        try:
            self.run("asv", "run", *same, "--machine", "ci")
        finally:
            self.run("git", "checkout", "--quiet", branch)

    def check(self, gate: ModuleType, machine: str = "ci") -> object:
        from asv.config import Config

        self.run("asv", "publish", "--no-pull")
        configuration = Config.load(str(self.folder / "asv.conf.json"))
        for name in ("results_dir", "html_dir"):
            setattr(configuration, name, str(self.folder / getattr(configuration, name)))
        return gate.check_results(self.folder, configuration, machine)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Four good commits, and a fifth that contains their results."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("toy") / "toy"
    for name in ("benchmarks/tracked", "ammup"):
        (folder / name).mkdir(parents=True)
    (folder / "benchmarks/tracked/__init__.py").touch()
    (folder / "benchmarks/tracked/exponents.py").write_text(BENCHMARKS)
    (folder / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    (folder / ".gitignore").write_text(".asv/\n__pycache__/\n")
    machine = {"arch": "x86_64", "cpu": "", "machine": "ci", "num_cpu": "2", "os": "Linux", "ram": "1"}
    (home / ".asv-machine.json").write_text(json.dumps({"ci": machine, "version": 1}))
    repository = Repository(folder, home)
    repository.run("git", "init", "--quiet")
    for number, value in enumerate((1.0, 1.0, 1.0, 1.0)):
        repository.commit(f"Good {number}", value)
        repository.measure()
    repository.commit("Record the history")
    return repository


@pytest.fixture
def copied(recorded: Repository, tmp_path: Path) -> Callable[[], Repository]:
    """A function that makes a copy which the test may change."""

    def copy() -> Repository:
        shutil.copytree(recorded.folder, tmp_path / "toy")
        return Repository(tmp_path / "toy", Path(recorded.environ["HOME"]))

    return copy


def test_a_commit_that_changes_nothing_passes(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("Reword a sentence")
    repository.measure()
    report = repository.check(gate)
    assert report.failures == []
    assert report.series == 3
    assert "Reword a sentence" in report.notes[0]
    assert "4 earlier commits" in report.notes[0]


def test_a_regression_is_reported_with_its_commit_and_its_revert_passes(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("Reword a sentence")  # not measured, and changes no code
    bad = repository.commit("Leave k out of the fan-in", 9.0)
    repository.measure()
    failures = repository.check(gate).failures
    assert len(failures) == 2  # against the reference, and against the history
    assert all(line.startswith(MOVED) for line in failures)
    assert f"rose from 1 to 9: {bad[:7]} (Leave k out of the fan-in)" in failures[1]
    repository.commit("Revert", 1.0)
    repository.measure()
    assert repository.check(gate).failures == []


def test_all_unmeasured_commits_before_a_regression_are_listed(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("First suspect", 9.0)
    repository.commit("Second suspect", 9.5)
    repository.measure()
    report = repository.check(gate)
    (line,) = [line for line in report.failures if "rose" in line]
    assert "First suspect) or " in line
    assert "Second suspect)" in line
    ((commits, benchmark),) = report.searches  # for `asv find`
    assert benchmark == "exponents.Claims.track_drift"
    searched = repository.run("git", "log", "--reverse", "--format=%s", commits).splitlines()
    assert searched == ["Good 3", "Record the history", "First suspect", "Second suspect"]
    repository.measure(commit="HEAD~1")
    report = repository.check(gate)
    (line,) = [line for line in report.failures if "rose" in line]
    assert "(First suspect)" in line
    assert "Second suspect" not in line
    assert report.searches == []


def test_a_head_with_other_parameters_fails(copied: Callable, gate: ModuleType) -> None:
    """asv compares results of equal parameters only: with another Python it would detect no regression."""
    repository = copied()
    head = repository.commit("Reword a sentence")
    repository.measure()
    (path,) = (repository.folder / "baselines/asv/ci").glob(f"{head[:8]}-*.json")
    content = json.loads(path.read_text())
    before = content["params"]["python"]
    content["params"]["python"] = "3.99"
    path.write_text(json.dumps(content))
    (line,) = repository.check(gate).failures
    assert f"(python: {before} became 3.99)" in line


def test_a_change_within_the_threshold_passes(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("Round differently", 1.4)
    repository.measure()
    assert repository.check(gate).failures == []


@pytest.mark.parametrize(
    ("value", "message"),
    [("nan", "is nan at HEAD"), ("no number", "has no result for HEAD: it failed or was not run")],
)
def test_a_nan_or_failed_benchmark_fails(value: str, message: str, copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("Break it", value)
    if value == "nan":
        repository.measure()
    else:  # `asv run` reports it too, but `publish` and `compare` do not
        with pytest.raises(AssertionError):
            repository.measure()
    assert repository.check(gate).failures == [f"{MOVED} {message}"]


def test_a_commit_that_was_not_measured_fails_for_every_series(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.commit("Never measured")
    failures = repository.check(gate).failures
    assert len(failures) == 3
    assert all("no result for HEAD" in line for line in failures)


def test_a_removed_benchmark_fails(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    path = repository.folder / "benchmarks/tracked/exponents.py"
    path.write_text(BENCHMARKS[: BENCHMARKS.index("class Families")])
    repository.commit("Drop a benchmark")
    repository.measure()
    (line,) = repository.check(gate).failures
    assert line.startswith(r"no benchmark matches exponents\..*track_.*_error")


def test_a_shallow_clone_is_rejected(copied: Callable, gate: ModuleType, tmp_path: Path) -> None:
    repository = copied()
    repository.run("git", "clone", "--quiet", "--depth", "1", f"file://{repository.folder}", str(tmp_path / "shallow"))
    shallow = Repository(tmp_path / "shallow", Path(repository.environ["HOME"]))
    shallow.measure()
    with pytest.raises(InputError, match=r"shallow.*git fetch --unshallow.*fetch-depth: 0"):
        shallow.check(gate)


def test_a_rewritten_history_is_rejected(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    repository.run("git", "checkout", "--quiet", "--orphan", "squashed")
    repository.commit("All of it")
    repository.measure()
    with pytest.raises(InputError, match=r"not in the history of HEAD.*rebased.*asv run BEFORE..HEAD"):
        repository.check(gate)


def test_a_machine_without_a_history_is_rejected(copied: Callable, gate: ModuleType) -> None:
    repository = copied()
    with pytest.raises(InputError, match=r"no commit before HEAD has results of the machine 'gpu': run `asv run"):
        repository.check(gate, machine="gpu")
