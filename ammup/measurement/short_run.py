"""S̄ along the first steps of training at one safe learning rate."""

import math
from collections.abc import Collection

from torch import nn

from ammup.data.minibatches import Batch
from ammup.errors import InputError
from ammup.measurement.updates import measure_updates
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Measurement


def measure_short_run(
    trainer: LoopTrainer, *, depth: int, lr: float, seed: int, steps: Collection[int]
) -> list[Measurement]:
    """Train a replica as a sweep does and measure S̄ of its next step of SGD at some of its steps.

    The run itself is bit for bit the beginning of the sweep's replica of that learning rate and seed.

    Args:
        trainer: of the depth.
        depth: L, for the record.
        lr: learning rate, small enough that no depth diverges.
        seed: of weights and minibatches.
        steps: at which to measure.

    Raises:
        InputError: no step, a negative one, or one past the end of training.
    """
    total = trainer.feed.steps(trainer.training.epochs)
    if not steps or not all(0 <= step < total for step in steps):
        raise InputError(f"steps={sorted(steps)} of a short run must be from 0 to {total - 1}, the last training step")
    found: list[Measurement] = []

    def measure(step: int, model: nn.Module, batch: Batch) -> None:
        if step in steps:
            moments = measure_updates(model, *batch, loss="cross_entropy", seed=seed)
            found.append(Measurement(depth=depth, lr=lr, seed=seed, step=step, S_bar=moments.S_bar))

    try:
        trainer.watch(lr, seed, steps=max(steps) + 1, callback=measure)
    except InputError:
        if not found:  # it could not be measured at all; later weights that cannot have left the range of floats
            raise
    done = {one.step for one in found}
    lost = [step for step in sorted(steps) if step not in done]
    return found + [Measurement(depth=depth, lr=lr, seed=seed, step=step, S_bar=math.inf) for step in lost]
