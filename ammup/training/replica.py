"""How a replica (one learning rate, one seed) is trained, and what comes of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ammup.data.minibatches import Feed
from ammup.training.runs import Run, Training

Build = Callable[[int], nn.Module]

# bfloat16 computes in bfloat16 on float32 master weights (torch.autocast), tf32 in the TF32 of GPUs that have it, with
# ten bits of mantissa, and in float32 elsewhere; the others compute in themselves.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32, "tf32": torch.float32}
CURVE_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A replica's weights after training.

    Attributes:
        weights: parameters and buffers by name.
        losses: minibatch losses (steps), up to the first NaN.
        val_accuracy: share of correct validation images, or NaN.
        val_loss: mean cross-entropy, or NaN.
        seconds: wall time.
    """

    weights: dict[str, Tensor]
    losses: Tensor
    val_accuracy: float
    val_loss: float
    seconds: float

    def run(self, depth: int, lr: float, seed: int, *, training: Training, steps: int, strategy: str) -> Run:
        """The record of this replica; ``steps`` are those of a replica that ends."""
        diverged = len(self.losses) < steps or math.isnan(self.val_loss)
        return Run(
            depth=depth,
            lr=lr,
            seed=seed,
            val_accuracy=math.nan if diverged else self.val_accuracy,
            val_loss=math.nan if diverged else self.val_loss,
            train_loss=math.nan if diverged else float(self.losses[-math.ceil(steps / 10) :].mean()),
            diverged=diverged,
            steps=len(self.losses),
            curve=thinned(self.losses),
            seconds=self.seconds,
            images_per_second=len(self.losses) * training.batch_size / self.seconds,
            strategy=strategy,
        )


def thinned(losses: Tensor, points: int = CURVE_POINTS) -> tuple[tuple[int, float], ...]:
    """(last step, mean) of consecutive equal parts of the losses, at most ``points`` of them."""
    if not len(losses):
        return ()
    width = -(-len(losses) // points)
    parts = torch.split(losses, width)
    return tuple((min((i + 1) * width, len(losses)), float(part.mean())) for i, part in enumerate(parts))


class Session(ABC):
    """Replicas of one seed that are trained part by part, as if in one go.

    To the bit where each replica is trained by itself; a stack of other replicas differs by rounding.
    """

    @abstractmethod
    def advance(self, lrs: Sequence[float], steps: int) -> list[Tensor]:
        """Train these learning rates up to so many steps, from where they are, and forget all others.

        Returns the losses of each, up to the first NaN.
        """

    @abstractmethod
    def trained(self, lrs: Sequence[float], *, validate: bool) -> list[Trained]:
        """What these replicas are now; a diverged one is not validated."""


class Trainer(ABC):
    """Trains the replicas of one depth; each strategy is one.

    Args:
        build: seed -> the model with that seed's weights, on the device of the feed.
        feed: minibatches.
        training: of every replica.
    """

    strategy: ClassVar[str]

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        self.build, self.feed, self.training = build, feed, training

    @abstractmethod
    def begin(self, seed: int) -> Session:
        """Replicas from the weights, and in the order, of this seed."""

    @abstractmethod
    def parts(self, lrs: Sequence[float], seed: int) -> Iterator[Sequence[float]]:
        """The learning rates, by what is trained together."""

    @property
    def steps(self) -> int:
        """Minibatches of the whole training."""
        return self.feed.steps(self.training.epochs)

    def train(self, lrs: Sequence[float], seed: int, *, steps: int | None = None) -> list[Trained]:
        """One trained replica for each learning rate; ``steps`` ends training early, without validation."""
        done = []
        for part in self.parts(lrs, seed):
            session = self.begin(seed)
            session.advance(part, min(self.steps, steps or self.steps))
            done += session.trained(part, validate=steps is None)
        return done

    def runs(self, depth: int, lrs: Sequence[float], seed: int) -> list[Run]:
        """Train, and record."""
        return [self.run(depth, lr, seed, trained) for lr, trained in zip(lrs, self.train(lrs, seed), strict=True)]

    def run(self, depth: int, lr: float, seed: int, trained: Trained) -> Run:
        """The record of a replica that has ended."""
        return trained.run(depth, lr, seed, training=self.training, steps=self.steps, strategy=self.strategy)


def autocast(training: Training, device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where that is asked for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.dtype == "bfloat16")


@contextmanager
def precision(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """On a GPU products and convolutions of float32 in TF32 where that is asked for, and else in float32.

    Left alone, torch computes convolutions in TF32 and matrix products in float32.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    operators: tuple[Any, ...] = (matmul, cudnn)
    name, wanted = "allow_tf32", cast(bool | str, tf32)
    if hasattr(matmul, "fp32_precision"):  # torch 2.9; its older flags must not be touched beside these
        operators = (matmul, *(getattr(cudnn, part) for part in ("conv", "rnn")))
        name, wanted = "fp32_precision", "tf32" if tf32 else "ieee"
    before = [getattr(operator, name) for operator in operators]
    try:
        for operator in operators:
            setattr(operator, name, wanted)
        yield
    finally:
        for operator, value in zip(operators, before, strict=True):
            setattr(operator, name, value)


def nan_check_interval(device: torch.device) -> int:
    """Steps between two looks for NaN: a look makes a GPU wait. A NaN loss never heals, so that no look is too late."""
    return 32 if device.type == "cuda" else 1


def steps_before_nan(losses: Tensor) -> int:
    """How many losses come before the first NaN."""
    nan = losses.isnan().nonzero()
    return int(nan[0]) if len(nan) else len(losses)
