"""`ammup fit`: fit the best learning rates of a sweep against depth, plot them, and evaluate transfer rules."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ammup.cli.files import check_new_figure, check_new_file, check_sweeps
from ammup.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ammup.experiments.record import SweepRecord
    from ammup.stats.optimum import SweepLaw
    from ammup.stats.regret import Regret

_FILE = click.Path(path_type=Path, dir_okay=False)
FIGURES = ("sweep", "panel", "accuracies", "heatmap", "overlay")
EXPORTS = (".csv", ".parquet", ".json")


@click.command()
@click.argument("store", type=_FILE, metavar="RUNS.db|RECORD.json")
@click.option("--experiment", "name", help="Name, or first characters of the key, of an experiment of the store.")
@click.option("--optimum", type=click.Choice(["smoothed", "argmax", "edge"]), default="smoothed", show_default=True,
              help="Maximum of a local parabola, best grid point (paper), or edge of training.")  # fmt: skip
@click.option("--chance", type=float,
              help="Accuracy of a guess, for the edges.  [default: by data set, or the lowest accuracy]")  # fmt: skip
@click.option("--keep-flagged", is_flag=True, help="Include flagged optima in the fit.")
@click.option("--transfer", is_flag=True, help="Show the accuracy that each transfer rule loses at the other depths.")
@click.option("--base", type=click.IntRange(1), help="Depth that --transfer starts from.  [default: the smallest]")
@click.option("--plot", type=_FILE, help="Save a figure to a new file.")
@click.option("--figure", type=click.Choice(FIGURES), default="sweep", show_default=True,
              help="Curves and law; the paper's panel; curves by depth; heat map; several experiments.")  # fmt: skip
@click.option(
    "--against",
    multiple=True,
    metavar="NAME|RECORD.json",
    help="Another experiment for --figure overlay; can be repeated.",
)
@click.option(
    "--export",
    type=_FILE,
    help="Write the runs to a new .csv or .parquet file, or to .json, which `ammup fit` can read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(
    store: Path,
    name: str | None,
    optimum: str,
    chance: float | None,
    keep_flagged: bool,
    transfer: bool,
    base: int | None,
    plot: Path | None,
    figure: str,
    against: tuple[str, ...],
    export: Path | None,
    as_json: bool,
) -> None:
    """Fit how the best learning rate of a stored sweep falls with depth.

    The optimum of each depth is estimated in two ways, with standard errors that include the grid spacing: as the best
    grid point (as in the paper), and as the maximum of a parabola fitted near it, with all seeds pooled. An optimum at
    the edge of the grid, or next to a learning rate that diverged, is flagged and excluded from the fit. The edge is
    the learning rate past the best one at which accuracy falls through half of its rise above chance. The line is a
    weighted least-squares fit of log η on log L. Segments of the experiment are predicted from their anchor depths.

    \b
    Examples:
      ammup fit runs.db
      ammup fit runs.db --optimum edge
      ammup fit runs.db --plot law.png --export runs.csv
      ammup fit runs.db --experiment cnn-relu-cifar10-small --transfer
      ammup fit runs.db --experiment cnn-relu-cifar10-small --figure panel --plot fig2a.png
      ammup fit circular.json --against zero.json --figure overlay --plot fig4.png
    """  # noqa: D301  (click reads the \b)
    _check_options(plot, export, figure, against)
    if transfer and optimum == "edge":
        raise InputError("--transfer carries the best learning rate, not the edge; use --optimum smoothed or argmax")
    check_sweeps(store)
    from ammup.experiments.analysis import law_of, read_sweep, regret_of
    from ammup.experiments.status import unique_names

    record = read_sweep(store, name)
    fit_record = partial(law_of, kind=optimum, keep_flagged=keep_flagged, chance=chance)
    law = fit_record(record)
    regret = regret_of(record, base=base, kind=optimum) if transfer else None
    if export is not None:
        _export(store, record, export)
    if plot is not None:
        from ammup.report.plots import save

        compared = [_read_compared(store, name) for name in against]
        name, *names = unique_names([one.experiment for one in (record, *compared)])
        others = dict(zip(names, map(fit_record, compared), strict=True))
        save(_plot(figure, law, record, others, name=name), plot)
    _print(law, record, regret, as_json=as_json)
    for path in (plot, export):
        if path is not None:
            click.echo(f"written: {path}", err=as_json)


def _check_options(plot: Path | None, export: Path | None, figure: str, against: tuple[str, ...]) -> None:
    """Raise InputError for files that cannot be written and for options that exclude each other."""
    if plot is not None:
        check_new_figure(plot)
    if export is not None:
        check_new_file(export, suffixes=EXPORTS)
    if plot is None and (against or figure != "sweep"):
        raise InputError("--figure and --against select what --plot draws; add --plot FILE")
    if against and figure != "overlay":
        raise InputError(f"--against requires --figure overlay (given: {figure})")


def _print(law: "SweepLaw", record: "SweepRecord", regret: "Regret | None", *, as_json: bool) -> None:
    """Print the fit and the regret as tables or as JSON."""
    if as_json:
        content = {"experiment": record.experiment.name, "missing": record.missing, **law.to_dict()}
        if regret is not None:
            content["transfer"] = regret.to_rows()
        click.echo(json.dumps(content, allow_nan=False, ensure_ascii=False))
        return
    from ammup.report.sweep import regret_text, sweep_law_text
    from ammup.report.terminal import show

    experiment = record.experiment
    show(sweep_law_text(law, heading=experiment.name, missing=record.missing, paper_slope=experiment.paper_slope))
    if regret is not None:
        show(regret_text(regret))


def _read_compared(store: Path, name: str) -> "SweepRecord":
    """An experiment given by --against: the path of a .json record, or the name of an experiment of the store."""
    from ammup.experiments.analysis import read_sweep

    return read_sweep(Path(name)) if name.endswith(".json") else read_sweep(store, name)


def _plot(
    figure: str, law: "SweepLaw", record: "SweepRecord", others: "Mapping[str, SweepLaw]", *, name: str
) -> "Figure":
    """The figure that --figure names."""
    from ammup.experiments.analysis import rule_curves
    from ammup.report.curves import plot_accuracies, plot_heatmap
    from ammup.report.overlay import plot_overlay
    from ammup.report.panel import plot_panel
    from ammup.report.plots import plot_sweep
    from ammup.report.summary import panel_rules

    plots: dict[str, Callable[[], Figure]] = {
        "sweep": lambda: plot_sweep(law, record.runs, title=name),
        "panel": lambda: plot_panel(law, references=panel_rules(rule_curves(record)), title=name),
        "accuracies": lambda: plot_accuracies(law, record.runs, title=name),
        "heatmap": lambda: plot_heatmap(law, record.runs, title=name),
        "overlay": lambda: plot_overlay({name: law, **others}),
    }
    return plots[figure]()


def _export(store: Path, record: "SweepRecord", path: Path) -> None:
    """Write the runs in the format of the suffix; runs from a database include their provenance."""
    from ammup.experiments.analysis import traced_runs

    if path.suffix == ".json":
        record.write(path)
        return
    runs = record.runs if store.suffix == ".json" else traced_runs(store, record.experiment.key)
    if path.suffix == ".csv":
        runs.to_csv(path, index=False)
        return
    try:
        runs.to_parquet(path, index=False)
    except ImportError as error:
        raise InputError(
            "writing .parquet requires pyarrow: pip install 'ammup[parquet]', or export to .csv"
        ) from error
