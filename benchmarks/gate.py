"""Measure the exponents of HEAD with asv; exit with 1 if one moved, is missing or is not a number.

    python benchmarks/gate.py

asv itself passes on a shallow clone, a rebased history, and a benchmark that failed. The recorded history in
baselines/asv is read and not changed: results of HEAD go to a temporary copy.
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

# Where a change can move an exponent; a commit of results or of words cannot.
CODE = ("ammup", "benchmarks/tracked", ":(glob)baselines/*.json", "pyproject.toml")


@dataclass(kw_only=True)
class Judgement:
    """What the gate has to say.

    Attributes:
        series: how many were judged.
        failures: a line each.
        notes: what is worth knowing and no failure.
        searches: (range of commits, benchmark) for `asv find`, where several commits may have caused a failure.
    """

    series: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    searches: list[tuple[str, str]] = field(default_factory=list)


def judge(root: Path, conf: Config, machine: str) -> Judgement:
    """Judge what is recorded and published.

    Raises:
        InputError: the history is shallow, was rewritten, or holds no results.
    """
    before = check_history(root, conf, machine)
    head = _git(root, "rev-parse", "HEAD")
    here = [result for result in _recorded(conf, machine) if result.commit_hash == head]
    found = Judgement()
    found.failures += _incomparable(here, before, conf, machine)
    found.notes.append(f"HEAD is {_named(root, head)}; {len(before)} earlier commits have results")
    if _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE):
        found.notes.append("uncommitted changes were not measured: the gate judges HEAD")
    judged = list(conf.regressions_thresholds)
    for pattern in judged:
        if not any(re.match(pattern, name) for name in Benchmarks.load(conf)):
            found.failures.append(f"no benchmark matches {pattern}, which asv.conf.json wants judged")
    for series, value, limit in values_of(here, conf):
        found.series += 1
        if value is None:
            found.failures.append(f"{series} has no point for HEAD: it failed, or was not run")
        elif not np.isfinite(value):
            found.failures.append(f"{series} is {value} at HEAD")
        elif limit is not None and value > limit:
            found.failures.append(f"{series} is {value:.3g} at HEAD; its reference allows {limit:.3g}")
    for name, rise, jumps in regressions(conf, judged):
        suspects = [_suspects(root, jump) for jump in jumps]
        benchmark = name.partition("(")[0]
        # The range of `asv find` begins after its first commit, and has to begin with a good one.
        ranges = [f"{good}~1..{bad}" for (good, bad), s in zip(jumps, suspects, strict=True) if len(s) > 1]
        found.searches += [(commits, benchmark) for commits in ranges]
        named = "; ".join(" or ".join(_named(root, commit) for commit in commits) for commits in suspects)
        found.failures.append(f"{name} {rise}: {named}")
    return found


def _incomparable(here: list[Results], before: list[str], conf: Config, machine: str) -> list[str]:
    """A failure where HEAD has other parameters than the history: asv has a graph for each set of them."""
    earlier = [result.params for result in _recorded(conf, machine) if result.commit_hash in before]
    if not here or any(result.params in earlier for result in here):
        return []
    last, new = earlier[-1], here[-1].params
    names = [name for name in sorted(last.keys() | new.keys()) if last.get(name) != new.get(name)]
    differ = "; ".join(f"{name}: {last.get(name)} became {new.get(name)}" for name in names)
    return [f"HEAD has other parameters than the recorded commits, so asv compares nothing ({differ})"]


def check_history(root: Path, conf: Config, machine: str) -> list[str]:
    """The earlier commits with results that asv can compare HEAD with.

    Raises:
        InputError: there are none, or the history is shallow or was rewritten.
    """
    head = _git(root, "rev-parse", "HEAD")
    commits = {result.commit_hash for result in _recorded(conf, machine)} - {head}
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise InputError(
            "this clone is shallow, so that HEAD cannot be compared with earlier commits: run `git fetch --unshallow`, "
            "or check out with fetch-depth: 0"
        )
    ancestors = set(_git(root, "rev-list", "HEAD").split())
    lost = sorted(commits - ancestors)
    if lost:
        raise InputError(
            f"baselines/asv has results of {', '.join(commit[:8] for commit in lost)}, not in the history of HEAD. If "
            "that was rewritten (rebased, squashed, amended), delete the results of commits that are gone and measure "
            f"those that took their place, `asv run BEFORE..HEAD --machine {machine}`; or this branch is behind"
        )
    line = _git(root, "rev-list", "--first-parent", "HEAD").split()
    usable = [commit for commit in line if commit in commits]
    if not usable:
        raise InputError(
            f"no commit before HEAD has results under the machine {machine!r}: run `asv run HEAD~3..HEAD --machine "
            f"{machine}` and commit baselines/asv"
        )
    return usable


def _recorded(conf: Config, machine: str) -> list[Results]:
    return [result for result in iter_results(conf.results_dir) if result.params.get("machine") == machine]


def values_of(results: list[Results], conf: Config) -> Iterator[tuple[str, float | None, float | None]]:
    """(series, value at HEAD or None, the most it may be or None) of every judged series."""
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
        # A drift is 1 or less where all is well, whatever it was at earlier commits.
        limit = 1 + threshold if name.endswith("drift") else None
        for parameters, value in zip(combinations, values, strict=True):
            yield f"{name}({', '.join(parameters)})", value, limit


Jump = tuple[str | None, str]


def regressions(conf: Config, judged: list[str]) -> Iterator[tuple[str, str, list[Jump]]]:
    """(series, how it rose, its jumps) of each judged series that asv found to have risen and not fallen again.

    A jump is (last good commit, first bad one), the former None where nothing lies between.
    """
    html = Path(conf.html_dir)
    published = json.loads((html / "regressions.json").read_text())["regressions"]
    numbers = json.loads((html / "index.json").read_text())["revision_to_hash"]
    hashes = {int(number): commit for number, commit in numbers.items()}
    for name, _, _, _, last, best, jumps in published:
        if any(re.match(pattern, name) for pattern in judged):
            ends = [(None if good is None else hashes[good], hashes[bad]) for good, bad, *_ in jumps]
            yield name, f"rose from {best:.3g} to {last:.3g}", ends


def _suspects(root: Path, jump: Jump) -> list[str]:
    """The commits between the last good point and the first bad one that changed code, oldest first."""
    good, bad = jump
    since = f"{good}..{bad}" if good is not None else f"{bad}~1..{bad}"
    return _git(root, "rev-list", "--first-parent", "--reverse", since, "--", *CODE).split() or [bad]


def _threshold(conf: Config, name: str) -> float | None:
    found = [limit for pattern, limit in conf.regressions_thresholds.items() if re.match(pattern, name)]
    return max(found) if found else None


def _named(root: Path, commit: str) -> str:
    return _git(root, "log", "-1", "--format=%h (%s)", commit)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def _asv(config: Path, *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "asv", "--config", str(config), *arguments], cwd=ROOT, check=False
    ).returncode


def _introduce(conf: Config, machine: str) -> None:
    """Give this machine the parameters of the recorded one in asv's list of machines: exponents do not depend on them.

    `asv machine` does the same, but drops every parameter that is right already.
    """
    stored = json.loads((Path(conf.results_dir) / machine / "machine.json").read_text())
    MachineCollection.save(machine, {name: value for name, value in stored.items() if name != "version"})


@contextmanager
def _scratch_results() -> Iterator[Path]:
    """asv.conf.json with its results and its site in a temporary folder, which begins with the recorded history."""
    conf = Config.load(str(ROOT / CONFIG))
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        shutil.copytree(ROOT / conf.results_dir, results)
        paths = {name: str((ROOT / getattr(conf, name)).resolve()) for name in ("repo", "benchmark_dir", "env_dir")}
        changed = {"version": conf.api_version, "results_dir": str(results), "html_dir": str(Path(scratch) / "html")}
        config = Path(scratch) / CONFIG
        config.write_text(json.dumps(vars(conf) | paths | changed))
        yield config


@click.command(help=__doc__.partition("\n")[0])
@click.option("--machine", default="ci", show_default=True, help="Name of the machine whose history to compare with.")
def main(machine: str) -> None:
    with _scratch_results() as config:
        conf = Config.load(str(config))
        check_history(ROOT, conf, machine)  # before a minute is spent
        _introduce(conf, machine)
        # Its exit code is not needed: the judgement names what failed.
        _asv(config, "run", "HEAD^!", "--machine", machine, "--bench", EXPONENTS, "--show-stderr")
        if _asv(config, "publish", "--no-pull"):
            raise InputError("asv publish failed; the reason is printed above")
        found = judge(ROOT, conf, machine)
        for line in found.notes:
            click.echo(line)
        for line in found.failures:
            click.echo(f"FAILED {line}")
        click.echo(f"gate: {found.series} series judged, {len(found.failures)} failed")
        for commits, benchmark in found.searches:
            _asv(config, "find", commits, f"^{re.escape(benchmark)}$", "--machine", machine)
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (InputError, click.ClickException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
