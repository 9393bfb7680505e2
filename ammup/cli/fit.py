"""`ammup fit`: how the best learning rate of a sweep falls with depth, its figures, and what transfer rules lose."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

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
@click.option("--experiment", "name", help="Which one, where the store has several: a name, or the start of a key.")
@click.option("--optimum", type=click.Choice(["smoothed", "argmax"]), default="smoothed", show_default=True,
              help="A local parabola's top, or the paper's best grid point.")  # fmt: skip
@click.option("--keep-flagged", is_flag=True, help="Fit the optima that are flagged as well.")
@click.option("--transfer", is_flag=True, help="Show what each transfer rule loses at the depths it was not tuned at.")
@click.option("--base", type=click.IntRange(1), help="The depth it was tuned at.  [default: the smallest]")
@click.option("--plot", type=_FILE, help="Draw into a new file.")
@click.option("--figure", type=click.Choice(FIGURES), default="sweep", show_default=True,
              help="Curves and law; the paper's panel; each depth's curve; heat map; several experiments.")  # fmt: skip
@click.option("--against", multiple=True, metavar="NAME|RECORD.json", help="Other experiments of an overlay.")
@click.option("--export", type=_FILE, help="Write the runs: .csv, .parquet, or .json, which this verb reads again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(
    store: Path,
    name: str | None,
    optimum: str,
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

    For each depth the optimum in two ways, with standard errors that include the grid spacing: the best grid point (the
    paper's), and the top of a parabola through its neighbourhood, seeds pooled. An optimum at the edge of the grid or
    beside a learning rate that diverged is flagged and not fitted. The line is weighted least squares of the optima on
    log L; segments of the experiment are predicted from their anchors.

    \b
    Examples:
      ammup fit runs.db
      ammup fit runs.db --plot law.png --export runs.csv
      ammup fit runs.db --experiment cnn-relu-cifar10-small --transfer
      ammup fit runs.db --experiment cnn-relu-cifar10-small --figure panel --plot fig2a.png
      ammup fit circular.json --against zero.json --figure overlay --plot fig4.png
    """  # noqa: D301  (click reads the \b)
    from ammup.cli.files import check_new_figure, check_new_file
    from ammup.experiments.analysis import law_of, read_sweep, regret_of

    if plot is not None:
        check_new_figure(plot)
    if export is not None:
        check_new_file(export, suffixes=EXPORTS)
    if plot is None and (against or figure != "sweep"):
        raise InputError("--figure and --against say what --plot FILE draws; give it as well")
    if against and figure != "overlay":
        raise InputError(f"--against belongs to --figure overlay, not to {figure}")
    record = read_sweep(store, name)

    fitted = partial(law_of, kind=optimum, keep_flagged=keep_flagged)
    law = fitted(record)
    regret = regret_of(record, base=base, kind=optimum) if transfer else None
    if export is not None:
        _export(store, record, export)
    if plot is not None:
        from ammup.report.plots import save

        others = {one.experiment.name: fitted(one) for one in (_other(store, other) for other in against)}
        save(_drawn(figure, law, record, others), plot)
    _show(law, record, regret, as_json=as_json)
    for path in (plot, export):
        if path is not None:
            click.echo(f"written: {path}", err=as_json)


def _show(law: "SweepLaw", record: "SweepRecord", regret: "Regret | None", *, as_json: bool) -> None:
    if as_json:
        found = {"experiment": record.experiment.name, "missing": record.missing, **law.to_dict()}
        shown = found if regret is None else {**found, "transfer": regret.to_rows()}
        click.echo(json.dumps(shown, allow_nan=False, ensure_ascii=False))
        return
    from ammup.report.sweep import regret_text, sweep_law_text
    from ammup.report.terminal import show

    show(sweep_law_text(law, heading=record.experiment.name, missing=record.missing))
    if regret is not None:
        show(regret_text(regret))


def _other(store: Path, name: str) -> "SweepRecord":
    """Another experiment: of the same store, or of a record of its own."""
    from ammup.experiments.analysis import read_sweep

    return read_sweep(Path(name)) if name.endswith(".json") else read_sweep(store, name)


def _drawn(figure: str, law: "SweepLaw", record: "SweepRecord", others: "Mapping[str, SweepLaw]") -> "Figure":
    from ammup.experiments.analysis import rule_curves
    from ammup.report.curves import plot_accuracies, plot_heatmap
    from ammup.report.overlay import plot_overlay
    from ammup.report.panel import plot_panel
    from ammup.report.plots import plot_sweep
    from ammup.report.summary import drawn_rules

    name = record.experiment.name
    drawn: dict[str, Callable[[], Figure]] = {
        "sweep": lambda: plot_sweep(law, record.runs, title=name),
        "panel": lambda: plot_panel(law, references=drawn_rules(rule_curves(record)), title=name),
        "accuracies": lambda: plot_accuracies(law, record.runs, title=name),
        "heatmap": lambda: plot_heatmap(law, record.runs, title=name),
        "overlay": lambda: plot_overlay({name: law, **others}),
    }
    return drawn[figure]()


def _export(store: Path, record: "SweepRecord", path: Path) -> None:
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
        raise InputError("Parquet needs pyarrow: pip install 'ammup[parquet]'; or export to .csv") from error
