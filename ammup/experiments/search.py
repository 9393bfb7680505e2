"""An adaptive search over the learning rates of one depth and seed, run in a worker."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ammup.errors import InputError
from ammup.experiments.block import Bench, bench_of, explained, this_worker
from ammup.experiments.schema import LeftOut, Worker
from ammup.fitting.search import RECENT, adaptive_search
from ammup.measurement.memory import freed_memory_kept
from ammup.measurement.replica import DTYPES, Run, Trained, Trainer, precision
from ammup.measurement.updates import measure_updates


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """The learning rates of one depth and seed, ascending; other fields as of :class:`Block`."""

    specification: str
    depth: int
    seed: int
    lrs: tuple[float, ...]
    strategy: str
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What a worker sends back: whole runs, diverged ones among them, and the rest of the learning rates."""

    runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...]
    worker: Worker
    data_digest: str


def run_search(job: SearchJob) -> SearchOutcome:
    """Train as far as :func:`ammup.fitting.search.adaptive_search` asks, beginning at the measured η*.

    A run that it returns is the one that the full grid has, but for the seconds that it took: to the bit with strategy
    "loop", and up to rounding in a stack, which has other replicas.

    Raises:
        InputError: data or a factory that cannot be used, or a training step that raises.
    """
    bench = bench_of(job.specification, job.device)
    with explained(job.depth, job.seed, job.lrs), freed_memory_kept():
        trained, steps = _search(bench.trainer(job.depth, job.strategy), job.lrs, job.seed, _start(bench, job))
    trainer = bench.trainer(job.depth, job.strategy)
    return SearchOutcome(
        runs=tuple(trainer.run(job.depth, lr, job.seed, one) for lr, one in sorted(trained.items())),
        left_out=tuple(
            LeftOut(depth=job.depth, lr=lr, seed=job.seed, steps=steps.get(lr, 0))
            for lr in job.lrs
            if lr not in trained
        ),
        worker=this_worker(bench.device),
        data_digest=bench.data.digest,
    )


def _search(
    trainer: Trainer, lrs: tuple[float, ...], seed: int, start: int
) -> tuple[dict[float, Trained], dict[float, int]]:
    """(replicas that ended, steps of each that was begun), by learning rate."""
    session, search = trainer.begin(seed), adaptive_search(len(lrs), start)
    ended: dict[float, Trained] = {}
    steps: dict[float, int] = {}
    rung = next(search)
    while True:
        until = max(1, round(rung.share * trainer.steps))
        rates = [lrs[place] for place in rung.places]
        losses = session.advance(rates, until)
        steps |= {lr: len(known) for lr, known in zip(rates, losses, strict=True)}
        diverged = [lr for lr in rates if steps[lr] < until and lr not in ended]
        ended |= dict(zip(diverged, session.trained(diverged, validate=False), strict=True))
        recent = [_recent(known, until, trainer.steps) for known in losses]
        try:
            rung = search.send(dict(zip(rung.places, recent, strict=True)))
        except StopIteration as end:
            left = [lrs[place] for place in end.value]
            break
    session.advance(left, trainer.steps)
    return ended | dict(zip(left, session.trained(left, validate=True), strict=True)), steps


def _recent(losses: Tensor, until: int, total: int) -> float:
    """Mean loss of the last steps, infinite for a replica that diverged."""
    return float(losses[-max(1, round(RECENT * total)) :].mean()) if len(losses) == until else float("inf")


def _start(bench: Bench, job: SearchJob) -> int:
    """The place next to the η* that is measured on the first minibatch; the middle where it cannot be measured."""
    model = bench.build(job.depth)(job.seed).to(DTYPES[bench.experiment.training.dtype]).train()
    images, labels = next(bench.feed.training_batches(job.seed, 1))
    try:
        with precision(bench.feed.device, tf32=bench.experiment.training.dtype == "tf32"):
            lr_star = measure_updates(model, images, labels, loss="cross_entropy", seed=job.seed).lr_star
    except InputError:
        return len(job.lrs) // 2
    return int(np.argmin(np.abs(np.log(job.lrs) - np.log(lr_star))))
