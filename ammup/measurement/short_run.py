"""Measurements of S̄ during the first steps of training at a small learning rate."""

import math
from collections.abc import Collection

from torch import nn

from ammup.data.minibatches import Batch
from ammup.errors import InputError
from ammup.measurement.updates import measure_updates
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Measurement


def check_steps(steps: Collection[int], total: int) -> None:
    """Raise InputError unless there are steps, and all of them are before the end of a training of ``total`` steps."""
    if not steps or not all(0 <= step < total for step in steps):
        raise InputError(
            f"steps={sorted(steps)} of a short run must be from 0 to {total - 1}, the last training step; change "
            "short_run.steps, or train on more images or for more epochs"
        )


def measure_short_run(
    trainer: LoopTrainer, *, depth: int, lr: float, seed: int, steps: Collection[int]
) -> list[Measurement]:
    """Train a replica as in a sweep, and measure S̄ of its next SGD step at the given training steps.

    The run is identical to the first steps of the sweep's replica with the same learning rate and seed.

    Args:
        trainer: the trainer of this depth.
        depth: L; only copied to the result.
        lr: learning rate, small enough that no depth diverges.
        seed: seed of the weights and minibatches.
        steps: numbers of the training steps before which S̄ is measured.

    Returns:
        One measurement for each step. S̄ is infinite from the first step at which it cannot be measured any more.

    Raises:
        InputError: ``steps`` is empty, a step is out of range, or S̄ cannot be measured at the first step.
    """
    check_steps(steps, trainer.feed.steps(trainer.training.epochs))
    measured: list[Measurement] = []

    def measure(step: int, model: nn.Module, batch: Batch) -> None:
        if step in steps:
            moments = measure_updates(model, *batch, loss="cross_entropy", seed=seed)
            measured.append(Measurement(depth=depth, lr=lr, seed=seed, step=step, S_bar=moments.S_bar))

    try:
        trainer.train_with_callback(lr, seed, steps=max(steps) + 1, callback=measure)
    except InputError:
        if not measured:  # the model cannot be measured at all; later failures mean that the weights have diverged
            raise
    done = {measurement.step for measurement in measured}
    failed = [step for step in sorted(steps) if step not in done]
    return measured + [Measurement(depth=depth, lr=lr, seed=seed, step=step, S_bar=math.inf) for step in failed]
