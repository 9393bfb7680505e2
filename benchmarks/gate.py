"""Measure the exponents of HEAD with asv, and exit with 1 if one regressed, is missing or is not finite.

    python benchmarks/gate.py

asv itself does not fail on a shallow clone, a rebased history or a benchmark that raised. The recorded history in
baselines/asv is not changed: results of HEAD are written to a temporary copy.
"""

import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.machine import MachineCollection
from asv.results import Results, iter_results

from ammup.errors import InputError

ROOT = Path(__file__).parents[1]
CONFIG = "asv.conf.json"
EXPONENTS = r"^exponents\."

# Paths whose changes can affect an exponent; a commit of results or documentation cannot.
CODE = ("ammup", "benchmarks/tracked", ":(glob)baselines/*.json", "pyproject.toml")


@dataclass(kw_only=True)
class GateReport:
    """The result of the gate.

    Attributes:
        series: number of series that were checked.
        failures: one line for each failure.
        notes: information that is not a failure.
        searches: (range of commits, benchmark) for `asv find`, if several commits may have caused a failure.
    """

    series: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    searches: list[tuple[str, str]] = field(default_factory=list)


def check_results(root: Path, conf: Config, machine: str) -> GateReport:
    """Check the recorded and published results of HEAD.

    Raises:
        InputError: the history is shallow, was rewritten or has no results.
    """
    before = check_history(root, conf, machine)
    head = _git(root, "rev-parse", "HEAD")
    here = [result for result in _recorded(conf, machine) if result.commit_hash == head]
    report = GateReport()
    report.failures += _different_parameters(here, before, conf, machine)
    report.notes.append(f"HEAD is {_commit_text(root, head)}; {len(before)} earlier commits have results")
    if _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE):
        report.notes.append("uncommitted changes were not measured: the gate checks HEAD")
    checked = list(conf.regressions_thresholds)
    for pattern in checked:
        if not any(re.match(pattern, name) for name in Benchmarks.load(conf)):
            report.failures.append(f"no benchmark matches {pattern} of regressions_thresholds in asv.conf.json")
    for series, value, limit in values_of(here, conf):
        report.series += 1
        if value is None:
            report.failures.append(f"{series} has no result for HEAD: it failed or was not run")
        elif not np.isfinite(value):
            report.failures.append(f"{series} is {value} at HEAD")
        elif limit is not None and value > limit:
            report.failures.append(f"{series} is {value:.3g} at HEAD; the limit is {limit:.3g}")
    for name, rise, jumps in regressions(conf, checked):
        suspects = [_suspects(root, jump) for jump in jumps]
        benchmark = name.partition("(")[0]
        # `asv find` excludes the first commit of its range, and the first one that it includes must be good.
        ranges = [f"{good}~1..{bad}" for (good, bad), s in zip(jumps, suspects, strict=True) if len(s) > 1]
        report.searches += [(commits, benchmark) for commits in ranges]
        named = "; ".join(" or ".join(_commit_text(root, commit) for commit in commits) for commits in suspects)
        report.failures.append(f"{name} {rise}: {named}")
    return report


def _different_parameters(here: list[Results], before: list[str], conf: Config, machine: str) -> list[str]:
    """A failure if HEAD has other parameters than the recorded commits: asv compares only results with equal ones."""
    earlier = [result.params for result in _recorded(conf, machine) if result.commit_hash in before]
    if not here or any(result.params in earlier for result in here):
        return []
    last, new = earlier[-1], here[-1].params
    names = [name for name in sorted(last.keys() | new.keys()) if last.get(name) != new.get(name)]
    changes = "; ".join(f"{name}: {last.get(name)} became {new.get(name)}" for name in names)
    return [f"HEAD has other parameters than the recorded commits, so asv cannot compare it with them ({changes})"]


def check_history(root: Path, conf: Config, machine: str) -> list[str]:
    """The earlier commits with results with which asv can compare HEAD.

    Raises:
        InputError: there are none, or the history is shallow or was rewritten.
    """
    head = _git(root, "rev-parse", "HEAD")
    commits = {result.commit_hash for result in _recorded(conf, machine)} - {head}
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise InputError(
            "this clone is shallow, so HEAD cannot be compared with earlier commits: run `git fetch --unshallow`, "
            "or use fetch-depth: 0 in the checkout"
        )
    ancestors = set(_git(root, "rev-list", "HEAD").split())
    unreachable = sorted(commits - ancestors)
    if unreachable:
        raise InputError(
            f"baselines/asv has results of {', '.join(commit[:8] for commit in unreachable)}, which are not in the "
            "history of HEAD. If it was rewritten (rebased, squashed, amended), delete the results of the removed "
            f"commits and measure their replacements with `asv run BEFORE..HEAD --machine {machine}`. Otherwise, "
            "update the branch"
        )
    line = _git(root, "rev-list", "--first-parent", "HEAD").split()
    usable = [commit for commit in line if commit in commits]
    if not usable:
        raise InputError(
            f"no commit before HEAD has results of the machine {machine!r}: run `asv run HEAD~3..HEAD --machine "
            f"{machine}` and commit baselines/asv"
        )
    return usable


def _recorded(conf: Config, machine: str) -> list[Results]:
    """The recorded results of the machine."""
    return [result for result in iter_results(conf.results_dir) if result.params.get("machine") == machine]


def values_of(results: list[Results], conf: Config) -> Iterator[tuple[str, float | None, float | None]]:
    """(series, value at HEAD or None, upper limit or None) of every checked series."""
    for name, benchmark in Benchmarks.load(conf).items():
        threshold = _threshold(conf, name)
        if threshold is None:
            continue
        combinations = list(itertools.product(*benchmark["params"]))
        values: list[float | None] = [None] * len(combinations)
        for result in results:
            if name in result.get_all_result_keys():
                new = result.get_result_value(name, benchmark["params"])
                values = [n if n is not None else old for n, old in zip(new, values, strict=True)]
        # A drift has a fixed limit, whatever its values at earlier commits: at most 1 is accepted.
        limit = 1 + threshold if name.endswith("drift") else None
        for parameters, value in zip(combinations, values, strict=True):
            yield f"{name}({', '.join(parameters)})", value, limit


Jump = tuple[str | None, str]


def regressions(conf: Config, checked: list[str]) -> Iterator[tuple[str, str, list[Jump]]]:
    """(series, description, jumps) of each checked series in which asv detected a regression that was not reverted.

    A jump is (last good commit, first bad commit); the former is None if the two are adjacent.
    """
    html = Path(conf.html_dir)
    published = json.loads((html / "regressions.json").read_text())["regressions"]
    numbers = json.loads((html / "index.json").read_text())["revision_to_hash"]
    hashes = {int(number): commit for number, commit in numbers.items()}
    for name, _, _, _, last, best, jumps in published:
        if any(re.match(pattern, name) for pattern in checked):
            ends = [(None if good is None else hashes[good], hashes[bad]) for good, bad, *_ in jumps]
            yield name, f"rose from {best:.3g} to {last:.3g}", ends


def _suspects(root: Path, jump: Jump) -> list[str]:
    """The commits after the last good result, up to the first bad one, that changed code; oldest first."""
    good, bad = jump
    since = f"{good}..{bad}" if good is not None else f"{bad}~1..{bad}"
    return _git(root, "rev-list", "--first-parent", "--reverse", since, "--", *CODE).split() or [bad]


def _threshold(conf: Config, name: str) -> float | None:
    """The threshold of a benchmark in asv.conf.json; None if it is not checked."""
    limits = [limit for pattern, limit in conf.regressions_thresholds.items() if re.match(pattern, name)]
    return max(limits) if limits else None


def _commit_text(root: Path, commit: str) -> str:
    return _git(root, "log", "-1", "--format=%h (%s)", commit)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def _asv(config: Path, *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "asv", "--config", str(config), *arguments], cwd=ROOT, check=False
    ).returncode


def _register_machine(conf: Config, machine: str) -> None:
    """Register this machine with asv under the parameters of the recorded one: exponents do not depend on them.

    `asv machine` is not used because it drops every parameter that is already correct.
    """
    stored = json.loads((Path(conf.results_dir) / machine / "machine.json").read_text())
    MachineCollection.save(machine, {name: value for name, value in stored.items() if name != "version"})


@contextmanager
def _scratch_results() -> Iterator[Path]:
    """A copy of asv.conf.json whose results and site are in a temporary folder that contains the recorded history."""
    conf = Config.load(str(ROOT / CONFIG))
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        shutil.copytree(ROOT / conf.results_dir, results)
        paths = {name: str((ROOT / getattr(conf, name)).resolve()) for name in ("repo", "benchmark_dir", "env_dir")}
        overrides = {"version": conf.api_version, "results_dir": str(results), "html_dir": str(Path(scratch) / "html")}
        config = Path(scratch) / CONFIG
        config.write_text(json.dumps(vars(conf) | paths | overrides))
        yield config


@click.command(help=__doc__.partition("\n")[0])
@click.option("--machine", default="ci", show_default=True, help="Name of the machine whose history to compare with.")
def main(machine: str) -> None:
    with _scratch_results() as config:
        conf = Config.load(str(config))
        check_history(ROOT, conf, machine)  # fail before the measurement, which takes a minute
        _register_machine(conf, machine)
        # The exit code is ignored: the report lists the benchmarks that failed.
        _asv(config, "run", "HEAD^!", "--machine", machine, "--bench", EXPONENTS, "--show-stderr")
        if _asv(config, "publish", "--no-pull"):
            raise InputError("asv publish failed; its output is above")
        report = check_results(ROOT, conf, machine)
        for line in report.notes:
            click.echo(line)
        for line in report.failures:
            click.echo(f"FAILED {line}")
        click.echo(f"gate: {report.series} series checked, {len(report.failures)} failed")
        for commits, benchmark in report.searches:
            _asv(config, "find", commits, f"^{re.escape(benchmark)}$", "--machine", machine)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (InputError, click.ClickException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
