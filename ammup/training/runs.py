"""Settings and records of training runs. This module does not import torch, because that takes a second."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from operator import index

from ammup.errors import InputError, check_known
from ammup.format import brief_fields
from ammup.training.components import Component, Schedule

STRATEGIES = ("auto", "loop", "stacked")
DTYPES = ("float32", "float64", "bfloat16", "tf32")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of training on cross-entropy. The defaults are the paper's: plain SGD (sections 4.1 and 4.2).

    Settings that are None do not change the content keys of runs. A setting of 0 or without elements becomes None.

    Attributes:
        batch_size: images in a minibatch.
        epochs: passes over the training images.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD, on every parameter.
        dtype: "float32", "float64", or "bfloat16" or "tf32" on float32 master weights, which are validated in float32.
        optimizer: a class of torch.optim, or PACKAGE.MODULE:CLASS; None is SGD with this momentum and weight decay.
        schedule: a class of torch.optim.lr_scheduler, or PACKAGE.MODULE:CLASS; None keeps the learning rate constant.
        warmup: steps in which the learning rate rises linearly to its value.
        label_smoothing: label smoothing of the training loss; validation losses have none.
        clip_norm: the largest norm of the gradient, see torch.nn.utils.clip_grad_norm_.
        augmentation: transforms of torchvision.transforms.v2, or PACKAGE.MODULE:CLASS, of each training image.

    Raises:
        InputError: a value is out of range, the dtype is unknown, or two settings exclude each other.
    """

    batch_size: int = 128
    epochs: int = 1
    momentum: float = 0.0
    weight_decay: float = 0.0
    dtype: str = "float32"
    optimizer: Component | None = None
    schedule: Schedule | None = None
    warmup: int | None = None
    label_smoothing: float | None = None
    clip_norm: float | None = None
    augmentation: tuple[Component, ...] | None = None

    def __post_init__(self) -> None:
        check_known("dtype", self.dtype, DTYPES)
        for name in ("warmup", "label_smoothing", "clip_norm", "augmentation"):
            object.__setattr__(self, name, getattr(self, name) or None)
        for name in ("batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("momentum", "weight_decay", "warmup", "clip_norm"):
            if not 0 <= (getattr(self, name) or 0) < math.inf:
                raise InputError(f"{name}={getattr(self, name)} must be finite and at least 0")
        self._check_combination()

    def _check_combination(self) -> None:
        """Raise InputError if two settings exclude each other, or the label smoothing is out of range."""
        if not 0 <= (self.label_smoothing or 0) < 1:
            raise InputError(f"label_smoothing={self.label_smoothing} must be at least 0 and below 1")
        if self.optimizer is not None and (self.momentum or self.weight_decay):
            raise InputError(
                "momentum and weight_decay are those of SGD; with optimizer, set them in the arguments of the optimizer"
            )
        if self.warmup and self.schedule is not None and self.schedule.per == "epoch":
            raise InputError(f"warmup={self.warmup} counts steps; use it with a schedule of per='step'")

    @property
    def plain(self) -> bool:
        """Whether the settings are those that stacks of replicas have: SGD at a constant learning rate."""
        others = (self.optimizer, self.schedule, self.warmup, self.label_smoothing, self.clip_norm)
        return all(setting is None for setting in others)

    @property
    def tf32(self) -> bool:
        """Whether to compute in TF32."""
        return self.dtype == "tf32"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained replica.

    Attributes:
        depth: L, as given to the factory.
        lr: learning rate.
        seed: seed of the weights, the minibatch order and dropout.
        val_accuracy: fraction of the validation images classified correctly after training; NaN if diverged.
        val_loss: mean cross-entropy of the validation images; NaN if diverged.
        train_loss: mean minibatch loss over the last tenth of the steps; NaN if diverged.
        diverged: whether the loss became NaN.
        steps: minibatches before the loss became NaN, or all of them.
        curve: (steps, mean loss of the minibatches since the previous point), up to 50 points.
        seconds: wall time, divided equally among replicas that were trained together.
        images_per_second: training images processed per second of that time.
        strategy: "loop" or "stacked".
    """

    depth: int
    lr: float
    seed: int
    val_accuracy: float
    val_loss: float
    train_loss: float
    diverged: bool
    steps: int
    curve: tuple[tuple[int, float], ...] = field(repr=False)
    seconds: float
    images_per_second: float
    strategy: str

    __repr__ = brief_fields


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """S̄ of one step of SGD from the weights of a short run.

    Attributes:
        depth: L.
        lr: learning rate of the short run.
        seed: seed of its weights and of its minibatch order.
        step: training steps before the measurement; 0 is initialization.
        S_bar: S̄ of the step on the next minibatch, at learning rate 1; infinite if the run diverged before that step.
    """

    depth: int
    lr: float
    seed: int
    step: int
    S_bar: float


def check_grid(lrs: Sequence[float], seeds: Sequence[int]) -> None:
    """Raise InputError unless there are distinct positive finite learning rates and distinct seeds."""
    if not all(isinstance(lr, Real) for lr in lrs):
        raise InputError(f"lrs={list(lrs)} must be numbers")
    if not all(isinstance(seed, Integral) for seed in seeds):
        raise InputError(f"seeds={list(seeds)} must be integers")
    if not lrs or not all(0 < lr < float("inf") for lr in lrs) or len(set(lrs)) < len(lrs):
        raise InputError(f"lrs={list(lrs)} must be one or more distinct learning rates, positive and finite")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds={list(seeds)} must be one or more distinct seeds")


def seed_numbers(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds as a tuple; a count n gives 0, 1, …, n - 1.

    Raises:
        InputError: not an integer and not a sequence of integers.
    """
    try:
        return tuple(range(seeds)) if isinstance(seeds, int) else tuple(index(seed) for seed in seeds)
    except TypeError as error:
        raise InputError(f"seeds={seeds!r} must be a count or a sequence of integers") from error
