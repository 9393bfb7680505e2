"""`ammup sweep`: train a grid of learning rates at every depth, and keep what comes of it."""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ammup.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ammup.experiments.experiment import Experiment

_FILE = click.Path(path_type=Path, dir_okay=False)
INTERRUPTED = 130  # what shells report of a command ended by Ctrl-C


def _list(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value:
        return
    from ammup.experiments.files import described

    for name, first in described().items():
        click.echo(f"{name:<32}{first}")
    ctx.exit()


@click.command()
@click.option("--list", is_flag=True, callback=_list, expose_value=False, is_eager=True,
              help="Show the experiments that come with ammup.")  # fmt: skip
@click.argument("experiment", type=_FILE, required=False, metavar="[EXPERIMENT.toml|NAME]")
@click.option("--profile", help="A smaller size of the experiment that its file holds, such as small.")
@click.option("--variant", help="One of the experiments of a file with several.  [default: all, one after the other]")
@click.option("--store", type=_FILE, required=True, help="SQLite file of the runs; made where there is none.")
@click.option("--set", "changes", multiple=True, metavar="TABLE.NAME=VALUE", help="Change a setting of the file.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one a core; 1 runs in this process]")
@click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster (pip install 'ammup[dask]').")
@click.option("--device", help="Where to train.  [default: cuda if there is one, else cpu]")
@click.option("--status", is_flag=True, help="Show what is done, and run nothing.")
@click.option("--dry-run", is_flag=True, help="Show cells, operations and hours, and run nothing.")
@click.option("--merge", type=_FILE, metavar="OTHER.db", help="Add the runs of another store, and run nothing.")
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
    """Train every cell of an experiment's grid that is not stored yet: each depth, learning rate and seed.

    EXPERIMENT is a TOML file, or one of the paper's that come with ammup, by name (--list shows them). With --profile
    small those take two cores an hour or two for each experiment.

    Every finished cell is stored at once. After Ctrl-C, a crash or a power cut the same command goes on with what is
    missing; a larger grid (--set grid.seeds=3) runs only what is new.

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
        raise InputError("--status, --dry-run and --merge run nothing, each in its own way; give one of them")
    if merge is not None:
        _merge(store, merge, as_json=as_json)
        return
    from ammup.experiments.files import read_experiments

    if experiment is None and not status:
        raise InputError("give an experiment file or name, or --status, --list or --merge")
    wanted = read_experiments(experiment, profile=profile, variant=variant, changes=changes) if experiment else ()
    if status:
        _show_status(store, wanted, as_json=as_json)
    elif dry_run:
        _show_costs(wanted, store, workers=workers, device=device, as_json=as_json)
    else:
        _run(wanted, store, workers=workers, scheduler=scheduler, device=device, as_json=as_json)


def _run(
    experiments: Sequence["Experiment"],
    store: Path,
    *,
    workers: int | None,
    scheduler: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    from ammup.experiments.sweep import run_sweep

    try:
        with _executor(scheduler) as executor:
            for experiment in experiments:
                run_sweep(
                    experiment, store=store, executor=executor, workers=workers, device=device, progress=not as_json
                )
    except KeyboardInterrupt:
        click.echo("stopped; every finished cell is stored, and the same command goes on", err=True)
        _show_status(store, experiments, as_json=as_json)
        sys.exit(INTERRUPTED)
    _show_status(store, experiments, as_json=as_json)
    if not as_json:
        click.echo(f"next: ammup fit {store}")


def _executor(scheduler: str | None) -> AbstractContextManager["Executor | None"]:
    if scheduler is None:
        return nullcontext()
    from ammup.experiments.cluster import dask_executor

    return dask_executor(scheduler)


def _merge(store: Path, other: Path, *, as_json: bool) -> None:
    from ammup.experiments.merge import merge
    from ammup.experiments.store import Store

    if other.resolve() == store.resolve():
        raise InputError(f"--merge {other} is the --store itself; give another store")
    with Store(other, mode="read") as theirs, Store(store, mode="write") as ours:
        added, differ = merge(ours, theirs)
    if as_json:
        click.echo(json.dumps({"added": added, "differ": differ}))
        return
    click.echo(f"{added} runs added to {store}")
    if differ:
        click.echo(f"{differ} runs are in both with other values; those of {store} are kept", err=True)


def _show_status(store: Path, experiments: Sequence["Experiment"], *, as_json: bool) -> None:
    from ammup.experiments.experiment import Experiment
    from ammup.experiments.status import status_of
    from ammup.experiments.store import Store

    with Store(store, mode="read") as opened:
        wanted = experiments or [Experiment.from_toml(e.specification) for e in opened.experiments()]
        found = {one.name: status_of(one, opened.runs(one.key), opened.left_out(one.key)) for one in wanted}
    if as_json:
        tables = {name: json.loads(table.to_json(orient="records")) for name, table in found.items()}
        click.echo(json.dumps(tables, ensure_ascii=False))
        return
    from ammup.report.sweep import status_text
    from ammup.report.terminal import show

    for name, table in found.items():
        show(status_text(name, table))


def _show_costs(
    experiments: Sequence["Experiment"], store: Path, *, workers: int | None, device: str | None, as_json: bool
) -> None:
    from ammup.experiments.sweep import default_workers

    workers = workers or default_workers(device)
    for experiment in experiments:
        _show_cost(experiment, store, workers=workers, device=device, as_json=as_json)


def _show_cost(experiment: "Experiment", store: Path, *, workers: int, device: str | None, as_json: bool) -> None:
    from ammup.experiments.cost import estimate_cost
    from ammup.experiments.store import Store
    from ammup.experiments.sweep import missing_cells

    missing = experiment.missing(())
    if store.exists():
        with Store(store, mode="read") as opened:
            missing = missing_cells(experiment, opened)
    cost = estimate_cost(experiment, missing, workers=workers, device=device)
    if as_json:
        rows = json.loads(cost.table.to_json(orient="records"))
        found = {"depths": rows, "flops": cost.flops, "hours": cost.hours, "workers": cost.workers}
        click.echo(json.dumps({"experiment": experiment.name, **found}))
        return
    from ammup.report.sweep import cost_text
    from ammup.report.terminal import show

    show(cost_text(experiment.name, cost))
