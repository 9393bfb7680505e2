"""η* of an experiment without training its grid: measured along short runs, or by formula. It runs in workers."""

from collections.abc import Mapping
from dataclasses import dataclass

from ammup.experiments.block import worker_context
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
    """
    context = worker_context(specification, device)
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
