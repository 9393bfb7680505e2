"""`ammup sweep`: train a grid of learning rates at every depth, and store the runs."""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ammup.cli.files import check_store
from ammup.errors import InputError
from ammup.progress import announce, heartbeat

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ammup.experiments.experiment import Experiment

_FILE = click.Path(path_type=Path, dir_okay=False)
INTERRUPTED = 130  # exit code of a command ended by Ctrl-C: 128 + SIGINT


def _list_experiments(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print the experiments that ammup includes, and exit (a click callback)."""
    if not value:
        return
    from ammup.experiments.shipped import described

    for name, first in described().items():
        click.echo(f"{name:<32}{first}")
    ctx.exit()


@click.command()
@click.option("--list", is_flag=True, callback=_list_experiments, expose_value=False, is_eager=True,
              help="List the experiments that ammup includes.")  # fmt: skip
@click.argument("experiment", type=_FILE, required=False, metavar="[EXPERIMENT.toml|NAME]")
@click.option("--profile", help="Profile of the experiment file, such as small.")
@click.option("--variant", help="Variant of the experiment file.  [default: all variants, one after another]")
@click.option("--store", type=_FILE, required=True, help="SQLite file of the runs; created if it does not exist.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TABLE.NAME=VALUE",
    help="Override a setting of the file; can be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of worker processes; 1 trains in this process.  [default: one per core]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster (pip install 'ammup[dask]').")
@click.option("--device", help="Torch device.  [default: cuda if available, else cpu]")
@click.option("--status", is_flag=True, help="Show the finished cells without training.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything that the sweep checks, and estimate its cells, operations and time, without training.",
)
@click.option("--merge", type=_FILE, metavar="OTHER.db", help="Copy the runs of another store without training.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sweep(
    experiment: Path | None,
    profile: str | None,
    variant: str | None,
    store: Path,
    changes: tuple[str, ...],
    workers: int | None,
    scheduler: str | None,
    device: str | None,
    status: bool,
    dry_run: bool,
    merge: Path | None,
    as_json: bool,
) -> None:
    """Train the cells of an experiment's grid (depth, learning rate, seed) that are not in the store yet.

    EXPERIMENT is a TOML file, or the name of an experiment of the paper that ammup includes (see --list). With
    --profile small, most of these take 50 minutes to 2.5 hours on two cores that do nothing else; --dry-run estimates
    the time on your machine.

    Settings that change what is trained become part of the experiment's name, such as "cnn+width=32".

    Each cell is stored as soon as it finishes. After Ctrl-C, a crash or a power cut, the same command resumes with the
    missing cells. After enlarging the grid (--set grid.seeds=3), only the new cells are trained.

    \b
    Examples:
      ammup sweep cnn-relu-cifar10 --profile small --store runs.db --dry-run
      ammup sweep cnn.toml --store runs.db
      ammup sweep cnn.toml --store runs.db --set grid.seeds=3 --set model.arguments.width=32
      ammup sweep cnn.toml --store runs.db --scheduler tcp://head:8786
      ammup sweep --store runs.db --merge from-the-other-machine.db
      ammup sweep --store runs.db --status
    """  # noqa: D301  (click reads the \b)
    if sum((status, dry_run, merge is not None)) > 1:
        raise InputError("--status, --dry-run and --merge are mutually exclusive; give only one of them")
    if merge is not None:
        _merge(store, merge, as_json=as_json)
        return
    if experiment is None and not status:
        raise InputError("no experiment was given; give a file or a name, or one of --status, --list or --merge")
    if experiment is not None:
        from ammup.experiments.shipped import read_text

        read_text(experiment)  # raises for a missing file before pandas and PyTorch are imported
    check_store(store)
    if not (status or as_json):
        announce(f"ammup sweep: loading PyTorch and {experiment}")
    from ammup.experiments.files import read_experiments

    experiments = read_experiments(experiment, profile=profile, variant=variant, changes=changes) if experiment else ()
    if status:
        _show_status(store, experiments, as_json=as_json)
    elif dry_run:
        with executor_of(scheduler):  # raises if there is no such scheduler
            _show_costs(experiments, store, workers=workers, device=device, as_json=as_json)
    else:
        _run(experiments, store, workers=workers, scheduler=scheduler, device=device, as_json=as_json)


def _run(
    experiments: Sequence["Experiment"],
    store: Path,
    *,
    workers: int | None,
    scheduler: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Train the experiments one after another; after Ctrl-C, print the status and exit."""
    from ammup.experiments.sweep import run_sweep

    try:
        with executor_of(scheduler) as executor:
            for experiment in experiments:
                run_sweep(
                    experiment, store=store, executor=executor, workers=workers, device=device, progress=not as_json
                )
    except KeyboardInterrupt:
        click.echo("interrupted; finished cells are stored, and the same command resumes", err=True)
        _show_status(store, experiments, as_json=as_json)
        sys.exit(INTERRUPTED)
    _show_status(store, experiments, as_json=as_json)
    if not as_json:
        click.echo(f"next: ammup fit {store}")


def executor_of(scheduler: str | None) -> AbstractContextManager["Executor | None"]:
    """A Dask executor for --scheduler, or None, with which a verb starts its own workers."""
    if scheduler is None:
        return nullcontext()
    from ammup.experiments.cluster import dask_executor

    return dask_executor(scheduler)


def _merge(store: Path, other: Path, *, as_json: bool) -> None:
    """Copy the runs of another store, and print their number."""
    from ammup.experiments.merge import merge
    from ammup.experiments.store import Store

    if other.resolve() == store.resolve():
        raise InputError(f"--merge {other} and --store are the same file; give the path of another store")
    with Store(other, mode="read") as source, Store(store, mode="write") as target:
        added, differ = merge(target, source)
    if as_json:
        click.echo(json.dumps({"added": added, "differ": differ}))
        return
    click.echo(f"{added} runs added to {store}")
    if differ:
        click.echo(f"{differ} runs are in both stores with different values; those of {store} are unchanged", err=True)


def _show_status(store: Path, experiments: Sequence["Experiment"], *, as_json: bool) -> None:
    """Print the finished cells of the given experiments, or of all experiments of the store."""
    from ammup.experiments.experiment import Experiment
    from ammup.experiments.status import status_of, unique_names
    from ammup.experiments.store import Store

    with Store(store, mode="read") as opened:
        chosen = experiments or [Experiment.from_toml(e.specification) for e in opened.experiments()]
        statuses = [status_of(e, opened.runs(e.key), opened.left_out(e.key)) for e in chosen]
    tables = dict(zip(unique_names(chosen), statuses, strict=True))
    if as_json:
        rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    from ammup.report.sweep import status_text
    from ammup.report.terminal import show

    for name, table in tables.items():
        show(status_text(name, table))


def _timing(name: str) -> str:
    return f"{name}: timing training steps"


def _show_costs(
    experiments: Sequence["Experiment"], store: Path, *, workers: int | None, device: str | None, as_json: bool
) -> None:
    """Check each experiment as a sweep does, and print the cost of its missing cells."""
    from ammup.experiments.dry_run import dry_run

    for experiment in experiments:
        with nullcontext() if as_json else heartbeat(partial(_timing, experiment.name)):
            cost = dry_run(experiment, store=store, workers=workers, device=device)
        if as_json:
            rows = json.loads(cost.table.to_json(orient="records"))
            times = {"hours": cost.hours, "minutes": cost.seconds / 60, "core_share": cost.core_share}
            totals = {"depths": rows, "flops": cost.flops, **times, "workers": cost.workers}
            click.echo(json.dumps({"experiment": experiment.name, **totals}))
            continue
        from ammup.report.sweep import cost_text
        from ammup.report.terminal import show

        show(cost_text(experiment.name, cost))
