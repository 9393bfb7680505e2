"""Options of `ammup transfer` that state the training, and options that add measurements."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ammup.cli.batch import Batch, parse_depths
from ammup.cli.files import check_sweeps
from ammup.transfer.setting import OPTIMIZERS, SCHEDULES, TrainingSetting

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    from ammup.measurement.depth_law import DepthLaw
    from ammup.measurement.edge_probe import EdgeCurve
    from ammup.measurement.late import LateCurve
    from ammup.transfer.measured_curve import Measured

SAFE_SHARE = 0.3  # of the tuned learning rate: a rate for the short runs that does not diverge at greater depths

_SETTING_OPTIONS = (
    click.option("--momentum", type=float, help="Momentum with which you train.  [default: not stated]"),
    click.option("--schedule", type=click.Choice(SCHEDULES), help="Its learning-rate schedule.  [default: not stated]"),
    click.option("--weight-decay", type=float, help="Its weight decay.  [default: not stated]"),
    click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="Its optimizer.  [default: not stated]"),
)
_SHARPNESS_OPTIONS = (
    click.option("--sharpness", is_flag=True, help="Also measure 2/λ at initialization (sharpness, sharpness-fit)."),
    click.option("--sharpness-seeds", type=click.IntRange(2), default=4, show_default=True, help="Its weight draws."),
    click.option(
        "--sharpness-depths",
        callback=lambda _ctx, _param, value: None if value is None else parse_depths(_ctx, _param, value),
        metavar="DEPTH,DEPTH…",
        help="Depths of its fit, in addition.  [default: three between --from and --to]",
    ),
)
_EDGE_OPTIONS = (
    click.option("--probe-edges", is_flag=True, help="Find the edge of training at each depth by short runs."),
    click.option("--edge-steps", type=click.IntRange(2), default=100, show_default=True, help="Steps of each run."),
    click.option("--edge-seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs at each rate."),
    click.option("--edge-batch", type=click.IntRange(1), default=128, show_default=True, help="Images per step."),
    click.option(
        "--edges",
        "edge_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="RUNS.db|RECORD.json",
        help="Take the edges from a sweep that contains all these depths.",
    ),
    click.option("--edge-experiment", metavar="NAME", help="The experiment of --edges, if there are several."),
)
_LATE_OPTIONS = (
    click.option("--late", is_flag=True, help="Also measure along a short run of plain SGD (measured-late)."),
    click.option("--late-lr", type=float, help="Learning rate of the short runs.  [default: 0.3 of --lr]"),
    click.option("--late-steps", type=click.IntRange(2), default=120, show_default=True, help="Their steps."),
    click.option("--late-every", type=click.IntRange(1), default=10, show_default=True, help="Steps per measurement."),
    click.option(
        "--late-seeds", type=click.IntRange(1), default=2, show_default=True, help="Short runs at each depth."
    ),
    click.option("--late-batch", type=click.IntRange(1), default=128, show_default=True, help="Images per step."),
    click.option(
        "--late-state",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of finished measurements, from which a killed command continues.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class LateOptions:
    """The parsed options of the short runs."""

    late: bool
    late_lr: float | None
    late_steps: int
    late_every: int
    late_seeds: int
    late_batch: int
    late_state: Path | None

    def measure(self, loaded: Batch, depths: tuple[int, ...], lr: float, *, progress: bool) -> "LateCurve | None":
        """η* along short runs, or None without --late."""
        if not self.late:
            return None
        from ammup.measurement.late import late_curve

        return late_curve(
            loaded.factory,
            depths,
            data=loaded.images,
            loss=loaded.spec.objective.loss,
            lr=SAFE_SHARE * lr if self.late_lr is None else self.late_lr,
            steps=self.late_steps,
            every=self.late_every,
            seeds=self.late_seeds,
            batch_size=min(self.late_batch, len(loaded.images.train_images)),
            device=loaded.spec.device,
            state=self.late_state,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class SharpnessOptions:
    """The parsed options of the sharpness."""

    sharpness: bool
    sharpness_seeds: int
    sharpness_depths: tuple[int, ...] | None

    def measure(self, loaded: Batch, depths: tuple[int, ...], *, progress: bool) -> "DepthLaw | None":
        """2/λ at the depths of the transfer and at those of the fit, or None without --sharpness."""
        if not self.sharpness:
            return None
        from ammup.errors import InputError
        from ammup.measurement.depth_exponent import measure_depth_law
        from ammup.transfer.measured_curve import depths_between

        measure = functools.partial(
            measure_depth_law, loaded.factory, seeds=self.sharpness_seeds, measure="sharpness", progress=progress
        )
        if self.sharpness_depths is not None:
            return measure(tuple(sorted({*depths, *self.sharpness_depths})), loaded.spec)
        try:
            return measure(tuple(sorted({*depths, *depths_between(min(depths), max(depths))})), loaded.spec)
        except InputError:  # a factory may not build every depth
            return measure(depths, loaded.spec)


@dataclass(frozen=True, kw_only=True)
class EdgeOptions:
    """The parsed options of the edges."""

    probe_edges: bool
    edge_steps: int
    edge_seeds: int
    edge_batch: int
    edge_file: Path | None
    edge_experiment: str | None

    def check(self) -> None:
        """Raise InputError for options that exclude each other."""
        from ammup.errors import InputError

        if self.probe_edges and self.edge_file is not None:
            raise InputError("--probe-edges and --edges are mutually exclusive; give one of them")
        if self.edge_experiment is not None and self.edge_file is None:
            raise InputError(
                f"--edge-experiment {self.edge_experiment} names an experiment of --edges; add --edges FILE"
            )
        if self.edge_file is not None:
            check_sweeps(self.edge_file)

    def measure(self, loaded: Batch, depths: tuple[int, ...], lr: float, *, progress: bool) -> "Measured | None":
        """The edges of a sweep, those of short runs, or None."""
        if self.edge_file is not None:
            from ammup.experiments.analysis import law_of, read_sweep

            return law_of(read_sweep(self.edge_file, self.edge_experiment), kind="edge")
        return self.probe(loaded, depths, lr, progress=progress) if self.probe_edges else None

    def probe(self, loaded: Batch, depths: tuple[int, ...], lr: float, *, progress: bool) -> "EdgeCurve":
        """The edges of short runs."""
        from ammup.measurement.edge_probe import probe_edges

        return probe_edges(
            loaded.factory,
            depths,
            data=loaded.images,
            loss=loaded.spec.objective.loss,
            lr=lr,
            steps=self.edge_steps,
            seeds=self.edge_seeds,
            batch_size=min(self.edge_batch, len(loaded.images.train_images)),
            device=loaded.spec.device,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """The options of all additional measurements."""

    late: LateOptions
    sharpness: SharpnessOptions
    edges: EdgeOptions


def grouped_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the setting and of the measurements, which the command receives as two arguments."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        def taken(kind: type[Any]) -> Any:
            return kind(**{option.name: given.pop(option.name) for option in fields(kind)})

        measuring = MeasuringOptions(
            late=taken(LateOptions), sharpness=taken(SharpnessOptions), edges=taken(EdgeOptions)
        )
        command(measuring=measuring, setting=taken(TrainingSetting), **given)

    for option in reversed((*_SETTING_OPTIONS, *_SHARPNESS_OPTIONS, *_EDGE_OPTIONS, *_LATE_OPTIONS)):
        wrapped = option(wrapped)
    return wrapped
