"""Adaptive search over the learning rates of one depth and seed; it runs in a worker."""

from functools import partial

import numpy as np
from torch import Tensor

from ammup.errors import InputError
from ammup.experiments.block import Block, Outcome, WorkerContext, this_worker, translate_errors, worker_context
from ammup.experiments.schema import LeftOut
from ammup.measurement.updates import measure_updates
from ammup.stats.search import RECENT, adaptive_search
from ammup.training.optimization import build_optimizer
from ammup.training.precision import DTYPES, precision
from ammup.training.replica import TrainedReplica
from ammup.training.trainer import Trainer


def run_search(block: Block) -> Outcome:
    """Train the replicas of a block that an adaptive search selects, starting around the measured η*.

    A returned run has the values of the same run of the full grid, except for its seconds. With strategy "loop" the
    values are bit-identical; with "stacked" they differ by rounding, because the stack contains other replicas.

    Args:
        block: all learning rates of one depth and seed, ascending.

    Raises:
        InputError: the data or the factory cannot be used, or a training step raises.
    """
    context = worker_context(block.specification, block.device)
    with translate_errors(block):
        trainer = context.trainer(block.depth, block.strategy)
        trained, steps = _train_adaptively(trainer, block.lrs, block.seed, _start_place(context, block))
    return Outcome(
        runs=tuple(trainer.run(block.depth, lr, block.seed, replica) for lr, replica in sorted(trained.items())),
        left_out=tuple(
            LeftOut(depth=block.depth, lr=lr, seed=block.seed, steps=steps.get(lr, 0))
            for lr in block.lrs
            if lr not in trained
        ),
        worker=this_worker(context.device),
        data_digest=context.data.digest,
    )


def _train_adaptively(
    trainer: Trainer, lrs: tuple[float, ...], seed: int, start: int
) -> tuple[dict[float, TrainedReplica], dict[float, int]]:
    """Train as the adaptive search requests.

    Returns:
        (Replicas that were trained to the end or diverged, number of training steps of every replica that was started),
        both by learning rate.
    """
    session, search = trainer.begin(seed), adaptive_search(len(lrs), start)
    finished: dict[float, TrainedReplica] = {}
    steps: dict[float, int] = {}
    rung = next(search)
    while True:
        until = max(1, round(rung.share * trainer.steps))
        rates = [lrs[place] for place in rung.places]
        losses = session.advance(rates, until)
        steps |= {lr: len(curve) for lr, curve in zip(rates, losses, strict=True)}
        diverged = [lr for lr in rates if steps[lr] < until and lr not in finished]
        finished |= dict(zip(diverged, session.trained(diverged, validate=False), strict=True))
        recent = [_recent_loss(curve, until, trainer.steps) for curve in losses]
        try:
            rung = search.send(dict(zip(rung.places, recent, strict=True)))
        except StopIteration as end:
            selected = [lrs[place] for place in end.value]
            break
    session.advance(selected, trainer.steps)
    return finished | dict(zip(selected, session.trained(selected, validate=True), strict=True)), steps


def _recent_loss(losses: Tensor, until: int, total: int) -> float:
    """Return the mean loss of the last steps; infinity if the replica diverged."""
    return float(losses[-max(1, round(RECENT * total)) :].mean()) if len(losses) == until else float("inf")


def _start_place(context: WorkerContext, block: Block) -> int:
    """Return the index of the learning rate nearest to the η* of the first minibatch.

    The middle of the grid is returned if η* cannot be measured.
    """
    model = context.build(block.depth)(block.seed).to(DTYPES[context.experiment.training.dtype]).train()
    images, labels = next(context.feed.training_batches(block.seed, 1))
    training = context.experiment.training
    named = partial(build_optimizer, training=training)
    optimizer = None if training.optimizer is None else lambda parameters, lr: named(parameters, lr=lr)
    try:
        with precision(context.feed.device, tf32=context.experiment.training.tf32):
            lr_star = measure_updates(
                model, images, labels, loss="cross_entropy", seed=block.seed, optimizer=optimizer
            ).lr_star
    except InputError:
        return len(block.lrs) // 2
    return int(np.argmin(np.abs(np.log(block.lrs) - np.log(lr_star))))
