"""η* of an experiment without its grid, measured along short runs or computed by formula; runs in workers."""

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
# The law's ratio between depths moves by a tenth or less between 1 and 6 images (0.27 to 0.32 from L = 3 to 8 of the
# CNN, 1.42 to 1.43 from K = 2 to 6 of the ResNet), and its cost goes with their cube.
LAW_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class ShortRunJob:
    """The short run of one depth and seed, and the steps to measure."""

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


def run_short(job: ShortRunJob) -> ShortRunOutcome:
    """Train and measure.

    Raises:
        InputError: data or a factory that cannot be used, a step past the end of training, or a model that cannot be
            measured.
    """
    context = worker_context(job.specification, job.device)
    trainer = LoopTrainer(context.build(job.depth), context.feed, context.experiment.training)
    found = measure_short_run(trainer, depth=job.depth, lr=job.lr, seed=job.seed, steps=job.steps)
    return ShortRunOutcome(measurements=tuple(found), data_digest=context.data.digest)


def computed_laws(specification: str, device: str | None) -> Mapping[str, Mapping[int, float]]:
    """η* by rule and depth, of the rules that exist for the experiment's nets; only its ratios are meaningful.

    "finite-depth": the wide-limit law, its label part, on up to 4 images of the first minibatch, as many as are
    affordable at the deepest net, the same ones at every depth. "pathsum": (Σ_p L_p³)^(-1/2) over the paths p of each.
    """
    context = worker_context(specification, device)
    seed, depths = context.experiment.grid.seed_numbers[0], sorted(context.experiment.grid.depths)
    models = {depth: context.build(depth)(seed) for depth in depths}
    images, labels = next(context.feed.training_batches(seed, 1))
    nets = {depth: context.architecture(depth) for depth in depths}
    n = min(affordable_images(nets.values(), images), LAW_IMAGES)
    found = None
    if n:
        spec = MeasurementSpec(inputs=images[:n], targets=labels[:n], loss="cross_entropy", part="label")
        found = finite_depth_lrs(nets, spec)
    sums = {depth: structure_of(model, images[:2]).path_sum() for depth, model in models.items()}
    paths = {depth: total**-0.5 for depth, total in sums.items() if total}
    return {
        **({FINITE_DEPTH: found} if found else {}),
        **({PATHSUM: paths} if len(paths) == len(depths) else {}),
    }
