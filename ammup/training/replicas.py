"""`train_replicas`, which trains replicas (learning rate × seed) of one model on one device, and its strategies."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.errors import InputError, check_known
from ammup.models.device import default_device
from ammup.models.factory import Factory, build_model
from ammup.training.augmentation import build_augmentation
from ammup.training.components import Component, Schedule
from ammup.training.loop import LoopTrainer
from ammup.training.precision import DTYPES
from ammup.training.runs import STRATEGIES, Run, Training, check_grid, seed_numbers
from ammup.training.stacked import StackedTrainer
from ammup.training.trainer import Build, Trainer

TRAINERS: dict[str, type[Trainer]] = {"loop": LoopTrainer, "stacked": StackedTrainer}

# The trial of a strategy: number of replicas, and number of steps that are timed after the warm-up.
TRIAL_REPLICAS, TRIAL_STEPS = {"cpu": 8, "cuda": 64}, 5
WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The faster strategy, and the timings it was chosen by.

    Attributes:
        strategy: "loop" or "stacked".
        loop: seconds per step and replica, of the loop.
        stacked: seconds per step and replica, of the stack; None if it was not timed.
        reason: why the stack was not timed; empty if it was.
    """

    strategy: str
    loop: float
    stacked: float | None
    reason: str


def train_replicas(
    factory: Factory,
    depth: int,
    *,
    lrs: Iterable[float],
    seeds: int | Sequence[int],
    data: Data,
    batch_size: int = 128,
    epochs: int = 1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    device: str | None = None,
    strategy: str = "auto",
    optimizer: str | Mapping[str, Any] | Component | None = None,
    schedule: str | Mapping[str, Any] | Schedule | None = None,
    warmup: int = 0,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    augmentation: Sequence[str | Mapping[str, Any] | Component] = (),
) -> list[Run]:
    """Train the model of one depth on cross-entropy, for every pair of learning rate and seed (section 4.1).

    The replicas of one seed start from the same weights and use the same minibatches and dropout masks. A replica whose
    loss becomes NaN is not trained any further; every other replica is trained on all minibatches.

    Args:
        factory: ``factory(depth, seed=...)`` or ``factory(depth)``; its module maps images (B, C, H, W) to one logit
            for each class (B, classes).
        depth: L.
        lrs: learning rates, positive and finite.
        seeds: seeds of the weights, the minibatches and dropout, or their number n (0, 1, …, n - 1).
        data: images and labels, with validation images.
        batch_size: images in a minibatch.
        epochs: passes over the training images.
        momentum: momentum of SGD; 0 in the paper.
        weight_decay: weight decay of SGD, on every parameter; 0 in the paper.
        dtype: "float32", "float64", or "bfloat16" or "tf32" on float32 master weights. With "float32", a GPU computes
            convolutions in float32 as well, not in TF32.
        device: device to train on; None selects a GPU if there is one.
        strategy: "loop" (one replica after another), "stacked" (all learning rates of a seed simultaneously), or
            "auto", which selects the faster one by timing their first steps. Their results differ by rounding. Only
            plain SGD, with momentum and weight decay, can be stacked.
        optimizer: a class of torch.optim by its name, such as "AdamW", or with its arguments, such as
            {"name": "AdamW", "arguments": {"weight_decay": 0.1}}; None is SGD. "package.module:Class" is imported.
        schedule: a class of torch.optim.lr_scheduler in the same form. It advances after every step, or after every
            epoch with {"per": "epoch"}. The length of the training is filled in.
        warmup: number of steps of a linear warm-up before the schedule.
        label_smoothing: label smoothing of the training loss.
        clip_norm: largest norm of the gradient; None does not clip.
        augmentation: transforms of torchvision.transforms.v2 in the same form, applied to each training image. Their
            random numbers depend only on the seed and the step.

    Returns:
        One run for each seed and learning rate, ordered by seed.

    Raises:
        InputError: the grid is empty or invalid, the data have no validation images, a name is unknown, the factory
            fails, the outputs are not one logit per class, or "stacked" is given with a module that torch.func rejects.

    Example:
        >>> import ammup
        >>> data = ammup.load_data("synthetic", image_size=8, train=256, validation=64)
        >>> net = lambda depth, seed: ammup.cnn(depth, width=8, seed=seed)
        >>> runs = ammup.train_replicas(net, 2, lrs=[0.01, 1.0], seeds=[0], data=data, strategy="loop")
        >>> [(run.lr, run.steps, run.diverged) for run in runs]
        [(0.01, 2, False), (1.0, 2, False)]
    """
    check_known("strategy", strategy, STRATEGIES)
    training = Training(
        batch_size=batch_size,
        epochs=epochs,
        momentum=momentum,
        weight_decay=weight_decay,
        dtype=dtype,
        optimizer=None if optimizer is None else Component.from_value("optimizer", optimizer),
        schedule=None if schedule is None else Schedule.from_value("schedule", schedule),
        warmup=warmup,
        label_smoothing=label_smoothing,
        clip_norm=clip_norm,
        augmentation=tuple(Component.from_value("augmentation", one) for one in augmentation),
    )
    rates = _floats(lrs)
    numbers = seed_numbers(seeds)
    check_grid(rates, numbers)
    device = device or default_device()
    feed = Feed(
        data,
        batch_size=batch_size,
        device=device,
        dtype=DTYPES[dtype],
        augment=build_augmentation(training.augmentation),
    )
    build = checked_build(factory, depth, numbers[0], feed, data)
    if strategy == "auto":
        strategy = choose_strategy(build, feed, training, lrs=rates, seed=numbers[0]).strategy
    trainer = TRAINERS[strategy](build, feed, training)
    return [run for seed in numbers for run in trainer.runs(depth, rates, seed)]


def checked_build(factory: Factory, depth: int, seed: int, feed: Feed, data: Data) -> Build:
    """A function that maps a seed to the model on the feed's device; the model of one seed is checked to return logits.

    Raises:
        InputError: the factory or the forward fails, or the output is not one logit per class.
    """
    build = partial(build_model, factory, depth, device=feed.device)
    images, _ = next(feed.training_batches(seed, 1))
    model = build(seed).to(feed.dtype).eval()
    try:
        outputs = model(images[:2].contiguous())
    except Exception as error:  # the user's forward may raise anything
        raise InputError(
            f"the model of depth {depth} failed on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    expected = (len(images[:2]), len(data.classes))
    if outputs.shape != expected:
        raise InputError(
            f"the model of depth {depth} returned {tuple(outputs.shape)}; expected one logit per class, {expected}"
        )
    return build


def choose_strategy(build: Build, feed: Feed, training: Training, *, lrs: Sequence[float], seed: int) -> Choice:
    """Time both strategies on the first steps of this grid and choose the faster one."""
    trial = lrs[: TRIAL_REPLICAS["cuda" if feed.device.type == "cuda" else "cpu"]]
    loop = seconds_per_step(LoopTrainer(build, feed, training), trial[:1], seed)
    if len(lrs) == 1:
        return Choice(strategy="loop", loop=loop, stacked=None, reason="there is only one learning rate")
    try:
        stacked = seconds_per_step(StackedTrainer(build, feed, training), trial, seed) / len(trial)
    except InputError as error:
        return Choice(strategy="loop", loop=loop, stacked=None, reason=str(error))
    return Choice(strategy="stacked" if stacked < loop else "loop", loop=loop, stacked=stacked, reason="")


def seconds_per_step(trainer: Trainer, lrs: Sequence[float], seed: int) -> float:
    """Seconds for one step of all these replicas, extrapolated from one group.

    A warm-up, in which kernels are selected and steps are recorded, is not timed.
    """
    part = next(iter(trainer.parts(lrs, seed)))
    first = max(0, min(WARM_UP_STEPS, trainer.steps - 1))
    last = min(trainer.steps, first + TRIAL_STEPS)
    group = trainer.group(part, seed)
    group.advance(first)
    start = time.perf_counter()
    group.advance(last)
    part_seconds = (time.perf_counter() - start) / (last - first)
    return part_seconds * len(lrs) / len(part)


def _floats(lrs: Iterable[float]) -> tuple[float, ...]:
    try:
        return tuple(float(lr) for lr in lrs)
    except (TypeError, ValueError) as error:
        raise InputError(f"lrs={lrs!r} must be numbers: {error}") from error
