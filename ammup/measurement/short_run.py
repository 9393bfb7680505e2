"""Measurements of S̄ during the first steps of training at a small learning rate, in any training loop."""

import math
from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from ammup.errors import InputError
from ammup.measurement.loss import Loss
from ammup.measurement.updates import measure_updates
from ammup.models.depth import Forward
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Measurement

# Called with (step, model, (inputs, targets)) before a training step; it does not change the model.
Observe = Callable[[int, nn.Module, Any], None]


def record_S_bar(  # noqa: N802  (the paper's symbol)
    train: Callable[[Observe], object],
    *,
    steps: Collection[int],
    loss: Loss = "cross_entropy",
    forward: Forward | None = None,
    seed: int = 0,
    after: Callable[[int, dict[int, float]], None] | None = None,
) -> dict[int, float]:
    """S̄ of an SGD step before each of the given training steps of a loop.

    Args:
        train: runs the loop, and calls its argument with (step, model, (inputs, targets)) before each step.
        steps: numbers of the training steps before which S̄ is measured.
        loss: as in :func:`ammup.measure_updates`.
        forward: as in :func:`ammup.measure_updates`.
        seed: as in :func:`ammup.measure_updates`.
        after: called with the step and S̄ by step after each measurement.

    Returns:
        S̄ at learning rate 1 by step. It is infinite from the first step at which it cannot be measured any more,
        because the weights have diverged. Steps that the loop does not reach are missing.

    Raises:
        InputError: S̄ cannot be measured at the first step, or the loop raises it.
    """
    measured: dict[int, float] = {}

    def measure(step: int, model: nn.Module, batch: Any) -> None:
        if step in steps:
            inputs, targets = batch
            try:
                moments = measure_updates(model, inputs, targets, loss=loss, forward=forward, seed=seed)
            except InputError as error:
                if not measured:  # the model cannot be measured at all
                    raise
                raise _DivergedError(str(error)) from error
            measured[step] = moments.S_bar
            if after is not None:
                after(step, measured)

    try:
        train(measure)
    except _DivergedError:
        return {step: measured.get(step, math.inf) for step in sorted(steps)}
    return measured


class _DivergedError(InputError):
    """S̄ could be measured before, but not any more, because the weights have diverged."""


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
    measured = record_S_bar(
        lambda observe: trainer.train_with_callback(lr, seed, steps=max(steps) + 1, callback=observe),
        steps=steps,
        seed=seed,
    )
    # The trainer ends a run early only if its loss becomes NaN.
    S_bar = {step: measured.get(step, math.inf) for step in sorted(steps)}
    return [Measurement(depth=depth, lr=lr, seed=seed, step=step, S_bar=S_bar[step]) for step in S_bar]
