"""Exponents and speed over commits: asv, run in the environment that it needs here, and a gate that judges exponents.

    python benchmarks/history.py smoke                       run every benchmark once, and keep nothing
    python benchmarks/history.py gate                        measure HEAD's exponents, and exit with 1 where one moved
    python benchmarks/history.py compare HEAD~1 HEAD         two commits' speed, in turns, in one job
    python benchmarks/history.py record HEAD~10..HEAD        keep results in baselines/asv
    python benchmarks/history.py publish                     the site, .asv/html/index.html

Each commit gets a small environment of its own with ammup alone; torch and the rest come from the environment that this
runs in.
"""

import json
import os
import platform
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from asv.config import Config
from asv.machine import Machine, MachineCollection
from gate import Judgement, check_history, judge

from ammup.errors import InputError

ROOT = Path(__file__).parents[1]
CONFIG = "asv.conf.json"
EXPONENTS = r"^exponents\."
# Commits that differ by less within one job cannot be told apart on a shared machine.
FACTOR = 1.5


@click.group(help=__doc__.partition("\n")[0])
@click.option("--repository", type=click.Path(path_type=Path, file_okay=False), default=ROOT, help="The checkout.")
@click.option("--machine", default="ci", show_default=True, help="The name that results are kept under.")
@click.pass_context
def main(context: click.Context, repository: Path, machine: str) -> None:
    context.obj = Asv(repository.resolve(), machine)


class Asv:
    """asv in one checkout, for one named machine."""

    def __init__(self, root: Path, machine: str) -> None:
        self.root, self.machine = root, machine

    def __call__(self, *arguments: str, config: Path | None = None) -> int:
        """Run an asv command and return its exit code."""
        command = [sys.executable, "-m", "asv", "--config", str(config or self.root / CONFIG), *arguments]
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        shared = {"SHARED_PACKAGES": "\n".join(site.getsitepackages())}  # asv.conf.json reads it
        return subprocess.run(command, cwd=self.root, env=os.environ | threads | shared, check=False).returncode

    def introduce(self) -> None:
        """Tell asv of this machine; it asks otherwise, and fails where nobody answers."""
        MachineCollection.save(self.machine, Machine.get_defaults() | {"machine": self.machine})

    @contextmanager
    def apart(self) -> Iterator[Path]:
        """A configuration whose results are a copy of those in the checkout, which stay as they are."""
        conf = Config.load(str(self.root / CONFIG))
        with tempfile.TemporaryDirectory() as scratch:
            kept, copy = self.root / conf.results_dir, Path(scratch) / "results"
            shutil.copytree(kept, copy) if kept.is_dir() else copy.mkdir()
            paths = {
                name: str((self.root / getattr(conf, name)).resolve()) for name in ("repo", "benchmark_dir", "env_dir")
            }
            changed = {
                "version": conf.api_version,
                **paths,
                "results_dir": str(copy),
                "html_dir": str(Path(scratch) / "html"),
            }
            config = Path(scratch) / CONFIG
            config.write_text(json.dumps({**vars(conf), **changed}))
            yield config

    def run(self, commits: str, bench: str, config: Path | None = None) -> int:
        """Measure commits, those alone that have no results yet."""
        return self(
            *("run", commits, "--machine", self.machine, "--bench", bench, "--skip-existing-successful"),
            *("--show-stderr", "--launch-method", launch_method()),
            config=config,
        )


def launch_method() -> str:
    """A fork of a process that has torch loaded saves seconds for each benchmark; CUDA does not survive one."""
    import torch

    return "spawn" if torch.cuda.is_available() or platform.system() != "Linux" else "forkserver"


@main.command()
@click.pass_obj
def smoke(asv: Asv) -> None:
    """Check the benchmarks, and run each of them once on the checkout as it is."""
    asv.introduce()
    same = ("--environment", "existing:same")
    once = ("--quick", "--dry-run", "--show-stderr", "--durations", "10", "--launch-method", launch_method())
    code = asv("check", *same) or asv("run", *same, *once, "--bench", f"^(?!{EXPONENTS[1:]})")
    sys.exit(1 if code else 0)


@main.command()
@click.argument("commits", default="HEAD^!")
@click.option("--bench", default=".", show_default=True, help="Regular expression of the benchmarks.")
@click.pass_obj
def record(asv: Asv, commits: str, bench: str) -> None:
    """Measure COMMITS (a git range) and keep the results in the checkout; commit them deliberately."""
    asv.introduce()
    sys.exit(asv.run(commits, bench))


@main.command()
@click.pass_obj
def gate(asv: Asv) -> None:
    """Measure the exponents of HEAD and hold them against those of the commits before; the checkout stays as it is."""
    asv.introduce()
    with asv.apart() as config:
        check_history(asv.root, Config.load(str(config)), asv.machine)  # before a minute is spent
        found = _measured_and_judged(asv, "HEAD", config)
        # Commits that nobody measured are, by halves, until one is to blame, or one cannot be measured.
        tried = {""}
        while (middle := found.middle) not in tried:
            tried.add(middle)
            found = _measured_and_judged(asv, middle, config)
    for line in found.notes:
        click.echo(line)
    for line in found.failures:
        click.echo(f"FAILED {line}")
    click.echo(f"gate: {found.series} series judged, {len(found.failures)} failed")
    sys.exit(1 if found.failures else 0)


def _measured_and_judged(asv: Asv, commit: str, config: Path) -> Judgement:
    asv.run(f"{commit}^!", EXPONENTS, config)  # the judgement says by name what failed
    if asv("publish", "--no-pull", config=config):
        raise InputError("asv publish failed; what it printed says why")
    return judge(asv.root, Config.load(str(config)), asv.machine)


@main.command()
@click.argument("before", default="HEAD~1")
@click.argument("after", default="HEAD")
@click.option("--bench", default=r"time_steps|time_measure", show_default=True, help="Regular expression.")
@click.option("--factor", default=FACTOR, show_default=True, help="A smaller change of speed is not told.")
@click.pass_obj
def compare(asv: Asv, before: str, after: str, bench: str, factor: float) -> None:
    """Time two commits in turns within this job; exit with 1 where AFTER is slower. Advice, not a gate."""
    asv.introduce()
    with asv.apart() as config:
        code = asv(
            *("continuous", before, after, "--machine", asv.machine, "--bench", bench, "--factor", str(factor)),
            *("--interleave-rounds", "--launch-method", launch_method()),
            config=config,
        )
    sys.exit(code)


@main.command()
@click.pass_obj
def publish(asv: Asv) -> None:
    """Write the site of all results to .asv/html."""
    sys.exit(asv("publish", "--no-pull"))


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (InputError, click.ClickException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
