"""An adaptive search over the learning rates of one depth and seed, run in a worker."""

import numpy as np
from torch import Tensor

from ammup.errors import InputError
from ammup.experiments.block import Block, Outcome, WorkerContext, this_worker, translate_errors, worker_context
from ammup.experiments.schema import LeftOut
from ammup.measurement.updates import measure_updates
from ammup.stats.search import RECENT, adaptive_search
from ammup.training.precision import DTYPES, precision
from ammup.training.replica import TrainedReplica
from ammup.training.trainer import Trainer


def run_search(block: Block) -> Outcome:
    """Train a block, its learning rates ascending, as far as an adaptive search asks, from the measured η* on.

    A run that it returns is the one that the full grid has, but for the seconds that it took: to the bit with strategy
    "loop", and up to rounding in a stack, which has other replicas.

    Raises:
        InputError: data or a factory that cannot be used, or a training step that raises.
    """
    context = worker_context(block.specification, block.device)
    with translate_errors(block):
        trainer = context.trainer(block.depth, block.strategy)
        trained, steps = _search(trainer, block.lrs, block.seed, _start(context, block))
    return Outcome(
        runs=tuple(trainer.run(block.depth, lr, block.seed, one) for lr, one in sorted(trained.items())),
        left_out=tuple(
            LeftOut(depth=block.depth, lr=lr, seed=block.seed, steps=steps.get(lr, 0))
            for lr in block.lrs
            if lr not in trained
        ),
        worker=this_worker(context.device),
        data_digest=context.data.digest,
    )


def _search(
    trainer: Trainer, lrs: tuple[float, ...], seed: int, start: int
) -> tuple[dict[float, TrainedReplica], dict[float, int]]:
    """(replicas that ended, steps of each that was begun), by learning rate."""
    session, search = trainer.begin(seed), adaptive_search(len(lrs), start)
    ended: dict[float, TrainedReplica] = {}
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


def _start(context: WorkerContext, block: Block) -> int:
    """The place next to the η* that is measured on the first minibatch; the middle where it cannot be measured."""
    model = context.build(block.depth)(block.seed).to(DTYPES[context.experiment.training.dtype]).train()
    images, labels = next(context.feed.training_batches(block.seed, 1))
    try:
        with precision(context.feed.device, tf32=context.experiment.training.tf32):
            lr_star = measure_updates(model, images, labels, loss="cross_entropy", seed=block.seed).lr_star
    except InputError:
        return len(block.lrs) // 2
    return int(np.argmin(np.abs(np.log(block.lrs) - np.log(lr_star))))
