"""`ammup sweep` and `ammup fit`: train a grid of learning rates, and fit how the best one falls with depth."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ammup.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd

    from ammup.experiments.experiment import Experiment

_FILE = click.Path(path_type=Path, dir_okay=False)
INTERRUPTED = 130  # what shells report of a command ended by Ctrl-C


@click.command()
@click.argument("experiment", type=_FILE, required=False, metavar="[EXPERIMENT.toml]")
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

    Every finished cell is stored at once. After Ctrl-C, a crash or a power cut the same command goes on with what is
    missing; a larger grid (--set grid.seeds=3) runs only what is new.

    \b
    Examples:
      ammup sweep cnn.toml --store runs.db --dry-run
      ammup sweep cnn.toml --store runs.db
      ammup sweep cnn.toml --store runs.db --set grid.seeds=3 --set model.arguments.width=32
      ammup sweep cnn.toml --store runs.db --scheduler tcp://head:8786
      ammup sweep --store runs.db --merge from-the-other-machine.db
      ammup sweep --store runs.db --status
    """  # noqa: D301  (click reads the \b)
    if merge is not None:
        _merge(store, merge, as_json=as_json)
        return
    if status:
        _show_status(store, _read(experiment, changes) if experiment else None, as_json=as_json)
        return
    if experiment is None:
        raise InputError("give an experiment file, or --status or --merge")
    wanted = _read(experiment, changes)
    if dry_run:
        _show_cost(wanted, store, workers=workers, device=device, as_json=as_json)
        return
    _run(wanted, store, workers=workers, scheduler=scheduler, device=device, as_json=as_json)


def _read(path: Path, changes: tuple[str, ...]) -> "Experiment":
    from ammup.experiments.experiment import Experiment

    return Experiment.from_file(path, changes=changes)


def _run(
    experiment: "Experiment",
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
            run_sweep(experiment, store=store, executor=executor, workers=workers, device=device, progress=not as_json)
    except KeyboardInterrupt:
        click.echo("stopped; every finished cell is stored, and the same command goes on", err=True)
        _show_status(store, experiment, as_json=as_json)
        sys.exit(INTERRUPTED)
    _show_status(store, experiment, as_json=as_json)
    if not as_json:
        click.echo(f"next: ammup fit {store}")


def _executor(scheduler: str | None) -> AbstractContextManager["Executor | None"]:
    if scheduler is None:
        return nullcontext()
    from ammup.experiments.cluster import dask_executor

    return dask_executor(scheduler)


def _merge(store: Path, other: Path, *, as_json: bool) -> None:
    from ammup.experiments.store import Store

    with Store(other, mode="read") as theirs, Store(store, mode="write") as ours:
        added, differ = ours.merge(theirs)
    if as_json:
        click.echo(json.dumps({"added": added, "differ": differ}))
        return
    click.echo(f"{added} runs added to {store}")
    if differ:
        click.echo(f"{differ} runs are in both with other values; those of {store} are kept", err=True)


def _show_status(store: Path, experiment: "Experiment | None", *, as_json: bool) -> None:
    from ammup.experiments.experiment import Experiment
    from ammup.experiments.status import status_of
    from ammup.experiments.store import Store

    with Store(store, mode="read") as opened:
        wanted = [experiment] if experiment else [Experiment.from_toml(e.specification) for e in opened.experiments()]
        found = {one.name: status_of(one, opened.table(one.key)) for one in wanted}
    if as_json:
        tables = {name: json.loads(table.to_json(orient="records")) for name, table in found.items()}
        click.echo(json.dumps(tables, ensure_ascii=False))
        return
    from ammup.report.sweep import status_text
    from ammup.report.terminal import show

    for name, table in found.items():
        show(status_text(name, table))


def _show_cost(
    experiment: "Experiment", store: Path, *, workers: int | None, device: str | None, as_json: bool
) -> None:
    from ammup.experiments.cost import estimate_cost
    from ammup.experiments.store import Store
    from ammup.experiments.sweep import default_workers

    done: frozenset[str] = frozenset()
    if store.exists():
        with Store(store, mode="read") as opened:
            done = opened.keys(experiment.key)
    cost = estimate_cost(
        experiment, experiment.missing(done), workers=workers or default_workers(device), device=device
    )
    if as_json:
        rows = json.loads(cost.table.to_json(orient="records"))
        click.echo(json.dumps({"depths": rows, "flops": cost.flops, "hours": cost.hours, "workers": cost.workers}))
        return
    from ammup.report.sweep import cost_text
    from ammup.report.terminal import show

    show(cost_text(experiment.name, cost))


@click.command()
@click.argument("store", type=_FILE, metavar="RUNS.db")
@click.option("--experiment", "name", help="Which one, where the store has several: a name, or the start of a key.")
@click.option("--optimum", type=click.Choice(["smoothed", "argmax"]), default="smoothed", show_default=True,
              help="A local parabola's top, or the paper's best grid point.")  # fmt: skip
@click.option("--keep-flagged", is_flag=True, help="Fit the optima that are flagged as well.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw curves and law into a new file.")
@click.option("--export", type=click.Path(path_type=Path, dir_okay=False), help="Write the runs: .csv or .parquet.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(
    store: Path,
    name: str | None,
    optimum: str,
    keep_flagged: bool,
    plot: Path | None,
    export: Path | None,
    as_json: bool,
) -> None:
    """Fit how the best learning rate of a stored sweep falls with depth.

    For each depth the optimum in two ways, with standard errors that include the grid spacing: the best grid point (the
    paper's), and the top of a parabola through its neighbourhood, seeds pooled. An optimum at the edge of the grid or
    beside a learning rate that diverged is flagged and not fitted. The line is weighted least squares of the optima on
    log L; segments of the experiment are predicted from their anchors.

    \b
    Examples:
      ammup fit runs.db
      ammup fit runs.db --plot law.png --export runs.csv
      ammup fit runs.db --experiment cnn-cifar10-16 --optimum argmax --json
    """  # noqa: D301  (click reads the \b)
    from ammup.cli.files import check_new_figure, check_new_file
    from ammup.experiments.analysis import read_sweep
    from ammup.fitting.optimum import fit_sweep

    if plot is not None:
        check_new_figure(plot)
    if export is not None:
        check_new_file(export, suffixes=(".csv", ".parquet"))
    experiment, runs = read_sweep(store, name)
    if export is not None:
        _export(runs, export)
    law = fit_sweep(runs, kind=optimum, keep_flagged=keep_flagged, segments=experiment.segments)
    missing = len(list(experiment.cells())) - len(runs)
    if plot is not None:
        from ammup.report.plots import plot_sweep, save

        save(plot_sweep(law, runs, title=experiment.name), plot)
    if as_json:
        click.echo(json.dumps({"experiment": experiment.name, "missing": missing, **law.to_dict()}, allow_nan=False))
        return
    from ammup.report.sweep import sweep_law_text
    from ammup.report.terminal import show

    show(sweep_law_text(law, heading=experiment.name, missing=missing))
    for path in (plot, export):
        if path is not None:
            click.echo(f"written: {path}")


def _export(runs: "pd.DataFrame", path: Path) -> None:
    if path.suffix == ".csv":
        runs.to_csv(path, index=False)
        return
    try:
        runs.to_parquet(path, index=False)
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'ammup[parquet]'; or export to .csv") from error
