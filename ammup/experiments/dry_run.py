"""A dry run of a sweep: everything that the sweep checks, and an estimate of its cost, without training."""

from pathlib import Path

from ammup.experiments.block import Block, WorkerContext, translate_errors, worker_context
from ammup.experiments.cost import Cost, estimate_cost
from ammup.experiments.database import check_unlocked, check_writable
from ammup.experiments.experiment import Cell, Experiment
from ammup.experiments.measuring import ShortRunJob, check_steps, missing_short_runs
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import check_digest, default_workers, missing_cells
from ammup.measurement.short_run import measure_short_run
from ammup.models.depth import structure_of
from ammup.training.loop import LoopTrainer


def dry_run(
    experiment: Experiment, *, store: Path | str, workers: int | None = None, device: str | None = None
) -> Cost:
    """Check all input of :func:`ammup.run_sweep` with the same arguments, and estimate the cost of what is missing.

    One model of each depth is built and trained for a few steps. If the experiment has a short run that is not stored,
    then each depth is also measured once. Nothing is written.

    Raises:
        InputError: the sweep would raise this error, because of the store, the data, the factory, the device or the
            short run.
    """
    path = Path(store)
    check_writable(path)
    check_unlocked(path)
    stored, missing, jobs = _missing_work(experiment, path, device)
    strategy = experiment.strategy
    if missing or jobs:
        context = worker_context(experiment.to_toml(), device)
        check_digest(experiment, stored.data_digest if stored else None, context.data.digest, path)
        _check_short_runs(context, jobs)
        if strategy == "auto" and stored is not None and stored.strategy is not None:
            strategy = stored.strategy
    return estimate_cost(
        experiment, missing, workers=workers or default_workers(device), device=device, strategy=strategy, jobs=jobs
    )


def _missing_work(
    experiment: Experiment, path: Path, device: str | None
) -> tuple[StoredExperiment | None, list[Cell], list[ShortRunJob]]:
    """(The stored experiment or None, the missing cells, the missing short runs).

    If the store does not exist, all cells and short runs are missing.
    """
    if not path.exists():
        return None, experiment.missing(()), missing_short_runs(experiment, None, device)
    with Store(path, mode="read") as opened:
        jobs = missing_short_runs(experiment, opened.measurements(experiment.key), device)
        return opened.experiment(experiment.key), missing_cells(experiment, opened), jobs


def _check_short_runs(context: WorkerContext, jobs: list[ShortRunJob]) -> None:
    """Raise InputError if a step is after the end of training, or if the net of a depth cannot be measured."""
    if not jobs:
        return
    check_steps(context)
    for depth in sorted({job.depth for job in jobs}):
        job = next(job for job in jobs if job.depth == depth)
        block = Block(specification=job.specification, depth=depth, seed=job.seed, lrs=(job.lr,), strategy="loop")
        with translate_errors(block):
            trainer = LoopTrainer(context.build(depth), context.feed, context.experiment.training)
            measure_short_run(trainer, depth=depth, lr=job.lr, seed=job.seed, steps=(0,))
            images, _ = next(context.feed.training_batches(job.seed, 1))
            structure_of(trainer.model(job.seed), images[:2])
