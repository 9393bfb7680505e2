"""How a model processes a minibatch: memory layout and micro-batches, determined by a trial on one batch.

Axes: B batch, C channel, H and W position.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.data.minibatches import Batch
from ammup.models.streams import seeded
from ammup.training.fused import fused_forward
from ammup.training.precision import autocast
from ammup.training.runs import Training

# Largest size in bytes of an activation of a micro-batch, so that it fits in a core's share of the cache and memory.
MICRO_BATCH_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
# Largest accepted relative difference between the gradient of a batch and that of its micro-batches. Rounding errors
# are below it; with batch norm, whose micro-batches give another gradient, the difference is far above it.
GRADIENT_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one model processes a minibatch; determined by a trial, so it is valid for any user's module.

    Attributes:
        memory_format: channels_last, or contiguous_format in two cases: the model does not accept channels_last, or it
            draws random numbers in its forward. It would draw other dropout masks in another layout.
        micro_batch: images in one forward pass; fewer than a minibatch only if the gradient is the same.
    """

    memory_format: torch.memory_format
    micro_batch: int

    @classmethod
    def from_model(cls, model: nn.Module, batch: Batch, training: Training) -> "Plan":
        """The plan for a model, from trial passes of a copy on one batch; the model itself is not changed."""
        images, labels = batch
        with seeded("plan"):
            trial = copy.deepcopy(model).train()
            draws = _draws_random_numbers(trial, images, training)
            channels_last = fused_forward(trial) is not None or (not draws and _supports_channels_last(trial, images))
            micro = _micro_batch_within_limit(trial, images)
            if draws or (micro < len(images) and not _same_gradient(trial, images, labels, micro)):
                micro = len(images)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        return cls(memory_format=memory_format, micro_batch=micro)


def activation_bytes(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """(largest, sum) of the sizes of the modules' outputs for one image, in bytes."""
    sizes: list[int] = []

    def record_size(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() // 2 * output.element_size())

    trial = copy.deepcopy(model)  # a forward pass in training mode changes the statistics of batch norm
    for module in trial.modules():
        module.register_forward_hook(record_size)
    with torch.no_grad(), seeded("plan"):
        trial(images[:2].contiguous())
    return max(sizes), sum(sizes)


def random_state(device: torch.device) -> Tensor:
    """State of the generator that a forward pass on this device draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def micro_batches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A minibatch in consecutive parts of at most ``size`` images."""
    return zip(torch.split(images, size), torch.split(labels, size), strict=True)


def _draws_random_numbers(model: nn.Module, images: Tensor, training: Training) -> bool:
    """Whether a forward pass draws random numbers, as dropout does."""
    before = random_state(images.device)
    with torch.no_grad(), autocast(training, images.device):
        model(images[:2].contiguous())
    return not torch.equal(before, random_state(images.device))


def _supports_channels_last(model: nn.Module, images: Tensor) -> bool:
    """Whether the forward accepts images in channels_last; one that calls view() on them does not."""
    try:
        with torch.no_grad():
            trial = copy.deepcopy(model).to(memory_format=torch.channels_last)
            trial(images[:2].contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def _micro_batch_within_limit(model: nn.Module, images: Tensor) -> int:
    """The number of images in a micro-batch: the batch is halved until its activations fit in ``MICRO_BATCH_BYTES``."""
    limit = MICRO_BATCH_BYTES["cuda" if images.device.type == "cuda" else "cpu"]
    bytes_per_image = activation_bytes(model, images)[0]
    micro = len(images)
    while micro > 1 and micro * bytes_per_image > limit:
        micro = -(-micro // 2)
    return micro


def _same_gradient(model: nn.Module, images: Tensor, labels: Tensor, micro_batch: int) -> bool:
    """Whether micro-batches give the gradient of the batch."""
    images, labels = images[: 2 * micro_batch], labels[: 2 * micro_batch]  # the complete batch may not fit in memory

    def gradient(size: int) -> list[Tensor]:
        model.zero_grad()
        for x, y in micro_batches(images, labels, size):
            loss = F.cross_entropy(model(x.contiguous()), y, reduction="sum") / len(images)
            loss.backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected, actual = gradient(len(images)), gradient(micro_batch)
    difference = sum(float((a - b).square().sum()) for a, b in zip(expected, actual, strict=True))
    size = sum(float(a.square().sum()) for a in expected)
    return bool(difference <= GRADIENT_TOLERANCE**2 * size)
