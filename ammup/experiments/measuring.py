"""η* of an experiment without training its grid: measured along short runs, or by formula. It runs in workers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ammup.experiments.block import WorkerContext, worker_context
from ammup.experiments.experiment import Experiment
from ammup.measurement import short_run
from ammup.measurement.finite_depth import affordable_images, finite_depth_lrs
from ammup.measurement.short_run import measure_short_run
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import structure_of
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Measurement

FINITE_DEPTH, PATHSUM = "finite-depth", "pathsum"
# Number of images for the finite-depth law. The cost grows with the cube of this number, and more images hardly change
# the ratios: with 1 to 6 images, η*(8)/η*(3) of the CNN is 0.27 to 0.32 and η*(6)/η*(2) of the ResNet 1.42 to 1.43.
LAW_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class ShortRunJob:
    """The short run of one depth and seed, and the training steps before each measurement."""

    specification: str
    depth: int
    seed: int
    lr: float
    steps: tuple[int, ...]
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class ShortRunOutcome:
    """Result of a short run: its measurements, and the digest of the data."""

    measurements: tuple[Measurement, ...]
    data_digest: str


def missing_short_runs(
    experiment: Experiment, measurements: pd.DataFrame | None, device: str | None
) -> list[ShortRunJob]:
    """Return jobs for the short runs that are not stored or not completely stored, deeper nets first.

    Args:
        experiment: the experiment; without a short run, there are no jobs.
        measurements: its stored measurements, with the columns depth, seed, lr and step; None if nothing is stored.
        device: torch device of the jobs.
    """
    short = experiment.short_run
    if short is None:
        return []
    columns = ["depth", "seed", "lr", "step"]
    done = set() if measurements is None else set(measurements[columns].itertuples(index=False, name=None))
    steps_of_seed: dict[int, tuple[int, ...]] = dict.fromkeys(range(short.draws), (0,))
    steps_of_seed |= dict.fromkeys(range(short.seeds), short.steps)
    specification = experiment.to_toml()
    return [
        ShortRunJob(specification=specification, depth=depth, seed=seed, lr=short.lr, steps=steps, device=device)
        for depth in sorted(experiment.grid.depths, reverse=True)
        for seed, steps in steps_of_seed.items()
        if not {(depth, seed, short.lr, step) for step in steps} <= done
    ]


def check_steps(context: WorkerContext) -> None:
    """Raise InputError if a step of the experiment's short run is after the end of training."""
    short = context.experiment.short_run
    if short is not None:
        short_run.check_steps(short.steps, context.feed.steps(context.experiment.training.epochs))


def run_short_run(job: ShortRunJob) -> ShortRunOutcome:
    """Train the replica of a short run, and measure S̄ at the given steps.

    Raises:
        InputError: the data or the factory cannot be used, a step is after the end of training, or the model cannot be
            measured.
    """
    context = worker_context(job.specification, job.device)
    trainer = LoopTrainer(context.build(job.depth), context.feed, context.experiment.training)
    measurements = measure_short_run(trainer, depth=job.depth, lr=job.lr, seed=job.seed, steps=job.steps)
    return ShortRunOutcome(measurements=tuple(measurements), data_digest=context.data.digest)


def compute_laws(specification: str, device: str | None) -> Mapping[str, Mapping[int, float]]:
    """Compute η* by formula, for each rule that is defined for the nets of the experiment.

    Only ratios of the values of one rule are meaningful. "finite-depth" is the label part of the wide-limit law. It
    uses the same images of the first minibatch at every depth: `LAW_IMAGES`, or fewer if the deepest net would be too
    expensive. "pathsum" is (Σ_p L_p³)^(-1/2) over the paths p of a net.

    Returns:
        Rule -> depth -> η*.

    Raises:
        InputError: the data or the factory cannot be used, or a step of the short run is after the end of training,
            which is checked before the short runs start.
    """
    context = worker_context(specification, device)
    check_steps(context)
    seed, depths = context.experiment.grid.seed_numbers[0], sorted(context.experiment.grid.depths)
    models = {depth: context.build(depth)(seed) for depth in depths}
    images, labels = next(context.feed.training_batches(seed, 1))
    nets = {depth: context.architecture(depth) for depth in depths}
    n = min(affordable_images(nets.values(), images), LAW_IMAGES)
    finite_depth = None
    if n:
        spec = MeasurementSpec(inputs=images[:n], targets=labels[:n], loss="cross_entropy", part="label")
        finite_depth = finite_depth_lrs(nets, spec)
    sums = {depth: structure_of(model, images[:2]).path_sum() for depth, model in models.items()}
    pathsum = {depth: total**-0.5 for depth, total in sums.items() if total}
    return {
        **({FINITE_DEPTH: finite_depth} if finite_depth else {}),
        **({PATHSUM: pathsum} if len(pathsum) == len(depths) else {}),
    }
