"""The strategy `loop`: one replica after the other, each as fast as the machine allows.

Axes: B batch, C channel, H and W position.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.data.minibatches import Batch, Feed
from ammup.models.streams import RandomState, seeded
from ammup.training.fused import fused_forward
from ammup.training.replica import (
    DTYPES,
    Build,
    Session,
    Trained,
    Trainer,
    autocast,
    nan_check_interval,
    precision,
    steps_before_nan,
)
from ammup.training.runs import Training

# Called with (step, model, minibatch) before a training step; it must leave the model as it is.
Look = Callable[[int, nn.Module, Batch], None]

# The largest activation of a micro-batch: what a core's share of the cache and of the memory bears.
MICRO_BATCH_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
# Gradients of a batch and of its parts differ by rounding where parts are exact, by far more under batch norm.
SAME_GRADIENT = 1e-3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one model takes a minibatch; found by trying, so that it holds for any user's module.

    Attributes:
        memory_format: channels_last, but contiguous for images a model cannot take so, and for a model that draws
            random numbers in its forward: drawn in another order they would be other masks.
        micro_batch: images that pass at once; fewer than a minibatch only where the gradient is the same.
    """

    memory_format: torch.memory_format
    micro_batch: int

    @classmethod
    def of(cls, model: nn.Module, batch: Batch, training: Training) -> "Plan":
        """Try the model's forward and backward on one batch; the model is left as it was."""
        images, labels = batch
        with seeded("plan"):
            trial = copy.deepcopy(model).train()
            before = random_state(images.device)
            with torch.no_grad(), autocast(training, images.device):
                trial(images[:2].contiguous())
            draws = not torch.equal(before, random_state(images.device))
            fused = fused_forward(trial) is not None
            last = torch.channels_last if fused or (not draws and _takes_channels_last(trial, images)) else None
            memory_format = last or torch.contiguous_format
            micro = len(images)
            limit = MICRO_BATCH_BYTES["cuda" if images.device.type == "cuda" else "cpu"]
            per_image = activation_bytes(trial, images)[0]
            while micro > 1 and micro * per_image > limit:
                micro = -(-micro // 2)
            if draws or (micro < len(images) and not _same_gradient(trial, images, labels, micro)):
                micro = len(images)
        return cls(memory_format=memory_format, micro_batch=micro)


class LoopTrainer(Trainer):
    """Replica after replica."""

    strategy = "loop"

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        super().__init__(build, feed, training)
        self.plan: Plan | None = None

    def begin(self, seed: int) -> "LoopSession":
        """See the base class."""
        return LoopSession(self, seed)

    def parts(self, lrs: Sequence[float], seed: int) -> Iterator[Sequence[float]]:
        """See the base class."""
        return ([lr] for lr in lrs)

    def watch(self, lr: float, seed: int, *, steps: int, look: Look) -> Trained:
        """The first ``steps`` steps of a replica, with a look before each of them."""
        replica = _Replica(self, lr, seed)
        replica.descend(min(self.steps, steps), look)
        return replica.trained(validate=False)


class LoopSession(Session):
    """Each replica with its own model."""

    def __init__(self, trainer: LoopTrainer, seed: int) -> None:
        self.trainer, self.seed = trainer, seed
        self.replicas: dict[float, _Replica] = {}

    def advance(self, lrs: Sequence[float], steps: int) -> list[Tensor]:
        """See the base class."""
        self.replicas = {lr: replica for lr, replica in self.replicas.items() if lr in lrs}
        for lr in lrs:
            if lr not in self.replicas:
                self.replicas[lr] = _Replica(self.trainer, lr, self.seed)
            self.replicas[lr].descend(steps)
        return [self.replicas[lr].known_losses for lr in lrs]

    def trained(self, lrs: Sequence[float], *, validate: bool) -> list[Trained]:
        """See the base class."""
        return [self.replicas[lr].trained(validate=validate) for lr in lrs]


class _Replica:
    """A model on its way through its minibatches."""

    def __init__(self, trainer: LoopTrainer, lr: float, seed: int) -> None:
        start = time.perf_counter()
        feed, training = trainer.feed, trainer.training
        model = trainer.build(seed).to(DTYPES[training.dtype])
        if trainer.plan is None:
            trainer.plan = Plan.of(model, next(feed.training_batches(seed, 1)), training)
        self.plan, self.feed, self.training = trainer.plan, feed, training
        self.model = model.to(memory_format=self.plan.memory_format).train()
        self.forward = fused_forward(self.model) or self.model
        self.sgd = torch.optim.SGD(
            self.model.parameters(), lr, momentum=training.momentum, weight_decay=training.weight_decay, foreach=True
        )
        self.seed = seed
        self.random = RandomState("training", seed)
        self.losses = torch.full((trainer.steps,), float("nan"), dtype=torch.float64, device=feed.device)
        self.done = 0
        self.seconds = time.perf_counter() - start

    @property
    def known_losses(self) -> Tensor:
        """Up to the first NaN."""
        return self.losses[: steps_before_nan(self.losses)].cpu()

    @property
    def diverged(self) -> bool:
        return len(self.known_losses) < self.done

    def descend(self, steps: int, look: Look | None = None) -> None:
        """SGD up to this step, or until the loss is NaN."""
        if steps <= self.done or self.diverged:
            return
        start = time.perf_counter()
        every = nan_check_interval(self.feed.device)
        batches = self.feed.training_batches(self.seed, self.training.epochs, start=self.done)
        with precision(self.feed.device, tf32=self.training.tf32), self.random.restored(), closing(batches):
            for step, (images, labels) in enumerate(islice(batches, steps - self.done), self.done):
                if look:
                    look(step, self.model, (images, labels))
                self.sgd.zero_grad()
                self.losses[step] = self._backward(images, labels)
                self.sgd.step()
                self.done = step + 1
                if self.done % every == 0 and self.losses[step].isnan():
                    break
        self.seconds += time.perf_counter() - start

    def trained(self, *, validate: bool) -> Trained:
        """What it is now."""
        start = time.perf_counter()
        accuracy, loss = self._validate() if validate and not self.diverged else (float("nan"), float("nan"))
        self.seconds += time.perf_counter() - start
        return Trained(
            weights={name: tensor.detach() for name, tensor in self.model.state_dict().items()},
            losses=self.known_losses,
            val_accuracy=accuracy,
            val_loss=loss,
            seconds=self.seconds,
        )

    def _backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add the gradient of the batch's mean loss to the parameters' and return the loss."""
        total = torch.zeros((), dtype=torch.float64, device=images.device)
        for x, y in _parts(images, labels, self.plan.micro_batch):
            with autocast(self.training, images.device):
                logits = self.forward(x.contiguous(memory_format=self.plan.memory_format))
                loss = F.cross_entropy(logits, y, reduction="sum") / len(images)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """(accuracy, mean cross-entropy) of the validation images, in the weights' own precision."""
        self.model.eval()
        correct = loss = 0.0
        with precision(self.feed.device, tf32=False):
            for images, labels in self.feed.validation_batches(self.plan.micro_batch):
                logits = self.forward(images.contiguous(memory_format=self.plan.memory_format))
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                correct += float((logits.argmax(1) == labels).sum())
        self.model.train()
        return correct / len(self.feed.val), loss / len(self.feed.val)


def activation_bytes(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """(largest, sum) of the modules' outputs for one image, in bytes."""
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() // 2 * output.element_size())

    trial = copy.deepcopy(model)  # batch norm in training counts what it sees
    for module in trial.modules():
        module.register_forward_hook(note)
    with torch.no_grad(), seeded("plan"):
        trial(images[:2].contiguous())
    return max(sizes), sum(sizes)


def _takes_channels_last(model: nn.Module, images: Tensor) -> bool:
    """Whether the forward accepts images in that layout: one that calls view() on them does not."""
    try:
        with torch.no_grad():
            trial = copy.deepcopy(model).to(memory_format=torch.channels_last)
            trial(images[:2].contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def _same_gradient(model: nn.Module, images: Tensor, labels: Tensor, micro_batch: int) -> bool:
    """Whether micro-batches give the gradient of the batch."""

    def gradient(size: int) -> list[Tensor]:
        model.zero_grad()
        for x, y in _parts(images, labels, size):
            (F.cross_entropy(model(x.contiguous()), y, reduction="sum") / len(images)).backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    images, labels = images[: 2 * micro_batch], labels[: 2 * micro_batch]  # the whole may not fit the memory
    whole, parts = gradient(len(images)), gradient(micro_batch)
    off = sum(float((a - b).square().sum()) for a, b in zip(whole, parts, strict=True))
    size = sum(float(a.square().sum()) for a in whole)
    return bool(off <= SAME_GRADIENT**2 * size)


def _parts(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(images, size), torch.split(labels, size), strict=True)


def random_state(device: torch.device) -> Tensor:
    """Of the generator that a forward on this device draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
