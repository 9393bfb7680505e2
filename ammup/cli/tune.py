"""`ammup tune`: the learning rate for a deep net and a user's own training, from a command line that trains."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ammup.cli.batch import BatchOptions, batch_options, parse_depths
from ammup.cli.files import check_new_figure
from ammup.cli.sweep import INTERRUPTED, executor_of
from ammup.errors import InputError

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    from ammup.measurement.depth_law import DepthLaw
    from ammup.tuning.answer import Tuned
    from ammup.tuning.options import TuneBudget, TuneOptions
    from ammup.tuning.output_lines import LinePatterns
    from ammup.tuning.settings import RunSetting

_FILE = click.Path(path_type=Path, dir_okay=False)


def _parse_setting(_ctx: click.Context, _param: click.Parameter, value: str | None) -> "RunSetting | None":
    """A training setting given as NAME=VALUE,… (a click callback)."""
    if value is None:
        return None
    from ammup.tuning.settings import RunSetting

    kinds: dict[str, Callable[[str], Any]] = {
        "momentum": float,
        "weight_decay": float,
        "batch_size": int,
        "optimizer": str,
        "schedule": str,
    }
    given: dict[str, Any] = {}
    for part in value.split(","):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or name not in kinds:
            raise click.BadParameter(f"{part!r} is not of the form NAME=VALUE with NAME one of {', '.join(kinds)}")
        try:
            given[name] = kinds[name](text)
        except ValueError:
            raise click.BadParameter(f"{part!r}: {text!r} is not a number") from None
    return RunSetting(**given)


_READING = (
    click.option("--loss-pattern", metavar="REGEX", help="Read losses from lines that match; a group (?P<loss>…).  "
                 "[default: JSON lines]"),
    click.option("--score-pattern", metavar="REGEX", help="Read validation scores; a group (?P<score>…)."),
    click.option("--base-setting", callback=_parse_setting, metavar="NAME=VALUE,…",
                 help="How the base is trained: optimizer, momentum, weight_decay, batch_size, schedule."),
    click.option("--target-setting", callback=_parse_setting, metavar="NAME=VALUE,…",
                 help="How the target is trained.  [default: like the base]"),
)  # fmt: skip
_SPENDING = (
    click.option("--probes", type=click.IntRange(0), default=3, show_default=True,
                 help="Most short runs at the target; they only lower the answer."),
    click.option("--max-runs", type=click.IntRange(1), help="End after this number of runs."),
    click.option("--max-steps", type=click.IntRange(1), help="End after this number of steps of all runs."),
    click.option("--probe-steps", type=click.IntRange(1), help="Steps of a short run.  [default: half of --steps]"),
    click.option("--probe-seeds", type=click.IntRange(1), default=3, show_default=True,
                 help="Seeds that short runs use in turn."),
    click.option("--check/--no-check", default=True, show_default=True,
                 help="Train the base with --lr, and half and twice that."),
    click.option("--lr-range", nargs=2, type=float, default=(1e-4, 10.0), show_default=True,
                 help="Where the base is searched without --lr."),
    click.option("--precision", type=float, default=1.5, show_default=True,
                 help="End if the edge at the target is known to this factor."),
)  # fmt: skip
_RUNNING = (
    click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time."),
    click.option("--time-limit", type=float, default=600.0, show_default=True,
                 help="Longest time without a report, in seconds."),
    click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster (pip install 'ammup[dask]')."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The parsed options of how output lines are read and how base and target are trained."""

    loss_pattern: str | None
    score_pattern: str | None
    base_setting: "RunSetting | None"
    target_setting: "RunSetting | None"

    @property
    def patterns(self) -> "LinePatterns":
        """How output lines are read."""
        from ammup.tuning.output_lines import LinePatterns

        return LinePatterns(loss=self.loss_pattern, score=self.score_pattern)

    @property
    def settings(self) -> "tuple[RunSetting, RunSetting] | None":
        """The settings of base and target; None if nothing is stated."""
        if self.base_setting is None:
            if self.target_setting is not None:
                raise InputError("--target-setting needs --base-setting; give both")
            return None
        return self.base_setting, self.target_setting or self.base_setting


@dataclass(frozen=True, kw_only=True)
class SpendingOptions:
    """The parsed options of what may be spent, and of how runs are made."""

    probes: int
    max_runs: int | None
    max_steps: int | None
    probe_steps: int | None
    probe_seeds: int
    check: bool
    lr_range: tuple[float, float]
    precision: float
    workers: int
    time_limit: float
    scheduler: str | None

    @property
    def budget(self) -> "TuneBudget":
        """What may be spent."""
        from ammup.tuning.options import TuneBudget

        return TuneBudget(probes=self.probes, runs=self.max_runs, steps=self.max_steps)

    def options(self, stack: ExitStack, *, progress: bool) -> "TuneOptions":
        """How runs are made; ``stack`` closes the connection to a Dask cluster."""
        from ammup.tuning.options import TuneOptions

        return TuneOptions(
            probe_steps=self.probe_steps,
            seeds=self.probe_seeds,
            check=self.check,
            lr_range=self.lr_range,
            precision=self.precision,
            workers=self.workers,
            time_limit=self.time_limit,
            executor=stack.enter_context(executor_of(self.scheduler)),
            progress=progress,
        )


def _grouped_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options above, which the command receives as two arguments."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        reading = ReadingOptions(**{option.name: given.pop(option.name) for option in fields(ReadingOptions)})
        spending = SpendingOptions(**{option.name: given.pop(option.name) for option in fields(SpendingOptions)})
        command(reading=reading, spending=spending, **given)

    for option in reversed((*_READING, *_SPENDING, *_RUNNING)):
        wrapped = option(wrapped)
    return wrapped


@click.command()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND…")
@click.option(
    "--depths", callback=parse_depths, required=True, help="Base depth, or several; the largest one is tuned."
)
@click.option("--target", type=click.IntRange(1), required=True, help="Depth that a learning rate is wanted for.")
@click.option(
    "--steps", type=click.IntRange(2), required=True, help="Steps of a complete run, as the command counts them."
)
@click.option("--lr", type=float, help="Learning rate tuned at the base.  [default: search it]")
@click.option("--store", type=_FILE, required=True, help="SQLite file of the runs; created if it does not exist.")
@_grouped_options
@click.option("--model", metavar="FAMILY|PACKAGE.MODULE:FACTORY", help="Also measure this model at initialization.")
@batch_options
@click.option("--plot", type=_FILE, help="Save a figure to a new file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tune(
    words: tuple[str, ...],
    depths: tuple[int, ...],
    target: int,
    reading: ReadingOptions,
    spending: SpendingOptions,
    model: str | None,
    batch: BatchOptions,
    as_json: bool,
    **run: Any,
) -> None:
    """Find the learning rate for a deep net, with your own training, from a shallow net and a few short runs.

    COMMAND trains once. {depth}, {lr} and, optionally, {seed}, {budget} (= --steps) and {state} (a folder to resume
    from) are replaced in it. Its output is read: JSON lines such as {"step": 10, "loss": 2.1, "score": 0.3}, or the
    lines that --loss-pattern and --score-pattern match; other lines are ignored. A run that cannot succeed is ended.

    Each run is stored when it ends. After Ctrl-C, a crash or a power cut, the same command continues.

    \b
    Examples:
      ammup tune --depths 2 --target 8 --steps 1000 --lr 0.1 --store tune.db \\
        -- python train.py --depth {depth} --lr {lr} --seed {seed}
      ammup tune --depths 2 --target 8 --steps 20 --store tune.db \\
        --loss-pattern 'epoch (?P<step>\\d+) loss=(?P<loss>\\S+)' --score-pattern 'acc=(?P<score>\\S+)' \\
        -- python train.py --depth {depth} --lr {lr}
    """  # noqa: D301  (click reads the \b)
    plot: Path | None = run.pop("plot")
    if plot is not None:
        check_new_figure(plot)
    from ammup.tuning.command import CommandTrainer
    from ammup.tuning.tune import tune as find

    trainer = CommandTrainer(words=words, patterns=reading.patterns)
    spending.budget, reading.settings  # noqa: B018  (raise for invalid options before anything is measured)
    laws = _measured(model, batch, (*depths, target), progress=not as_json)
    with ExitStack() as stack:
        options = spending.options(stack, progress=not as_json)
        try:
            tuned = find(
                trainer, depths=depths, target=target, measured=laws, settings=reading.settings,
                budget=spending.budget, options=options, **run,
            )  # fmt: skip
        except KeyboardInterrupt:
            click.echo("interrupted; finished runs are stored, and the same command continues", err=True)
            sys.exit(INTERRUPTED)
    _print(tuned, plot, as_json=as_json)


def _measured(
    model: str | None, batch: BatchOptions, depths: Sequence[int], *, progress: bool
) -> "tuple[DepthLaw, ...]":
    """The laws of a model at initialization, or none without --model."""
    if model is None:
        return ()
    batch.check(model, tuple(depths) if len(depths) > 1 else ())
    from ammup.measurement.depth_exponent import measure_depth_law

    loaded = batch.load(model, progress=progress)
    return tuple(
        measure_depth_law(loaded.factory, depths, loaded.spec, seeds=16, measure=name, progress=progress)
        for name in ("updates", "sharpness")
    )


def _print(tuned: "Tuned", plot: Path | None, *, as_json: bool) -> None:
    """Print the answer and save its figure."""
    if plot is not None:
        from ammup.report.plots import save

        save(tuned.figure(), plot)
    if as_json:
        click.echo(json.dumps(tuned.to_dict(), ensure_ascii=False, allow_nan=False))
        return
    from ammup.report.terminal import show
    from ammup.report.tuned import tuned_text

    show(cast(Any, tuned_text(tuned)))
    if plot is not None:
        click.echo(f"figure: {plot}")
