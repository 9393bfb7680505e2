"""The training loop of a short run: plain SGD at a constant learning rate, which can be resumed.

Axes: B batch.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.measurement.loss import Loss, Objective
from ammup.measurement.short_run import Observe
from ammup.models.depth import Forward
from ammup.models.streams import seeded
from ammup.progress import tracked

Batches = Data | Iterable[Any]
CONSTANT_BATCHES = 8  # minibatches from which the loss of a constant prediction is computed


@dataclass(frozen=True, kw_only=True)
class SgdRun:
    """Plain SGD on the user's minibatches.

    Attributes:
        data: a Data, or an iterable of (inputs, targets), such as a DataLoader; it is repeated.
        lr: learning rate.
        steps: number of training steps.
        batch_size: images in a minibatch of a Data.
        loss: "mse", "cross_entropy" or a callable.
        forward: ``forward(model, inputs)`` -> outputs.
        device: device of the run; None uses that of the model.
        progress: show a progress bar.
    """

    data: Batches
    lr: float
    steps: int
    batch_size: int
    loss: Loss
    forward: Forward | None = None
    device: torch.device | str | None = None
    progress: bool = False

    def train(
        self, model: nn.Module, observe: Observe, *, key: tuple[int, int], start: int = 0, until_diverged: bool = False
    ) -> list[float]:
        """Train the model from step ``start``, and call ``observe`` before each step.

        The minibatches depend on the seed and the step, and dropout on the depth too, so a continued run equals an
        uninterrupted one.

        Args:
            model: the model after ``start`` steps.
            observe: called with (step, model, (inputs, targets)) before each step.
            key: depth and seed.
            start: number of steps that are done.
            until_diverged: end before the first step whose loss is not finite.

        Returns:
            The loss of the minibatch of each step, before that step.
        """
        losses: list[float] = []
        depth, seed = key
        weights = [p for p in model.parameters() if p.requires_grad]
        if not weights:
            raise InputError(f"{type(model).__name__} has no trainable weights, so it cannot be trained")
        like = weights[0]
        batches = zip(range(start, self.steps), self._batches(seed, start, like.device), strict=False)
        label = f"short run at L = {depth}, seed {seed}"
        for step, batch in tracked(batches, label, self.steps - start, show=self.progress):
            inputs, targets = _moved(batch, like)
            observe(step, model, (inputs, targets))
            with seeded("late", depth, seed, step):
                loss = self._loss(model, inputs, targets)
                losses.append(loss.item())
                if until_diverged and not math.isfinite(losses[-1]):
                    return losses[:-1]
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        weight.sub_(gradient, alpha=self.lr)
        return losses

    def constant_loss(self, seed: int) -> float | None:
        """The loss of the best constant prediction on some minibatches, None for a callable loss.

        For cross-entropy it is the entropy of the labels, for mse half of the variance of the targets.
        """
        if callable(self.loss):
            return None
        batches = islice(self._batches(seed, 0, torch.device("cpu")), CONSTANT_BATCHES)
        targets = torch.cat([torch.as_tensor(batch[1]) for batch in batches])
        if not targets.is_floating_point():
            targets = F.one_hot(targets.long()).double().movedim(-1, 1)
        if self.loss == "mse":
            return float((targets - targets.mean(0)).square().mean() / 2)
        dims = [dim for dim in range(targets.ndim) if dim != 1]
        return float(torch.special.entr(targets.mean(dims)).sum())

    def _loss(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        outputs = model(inputs) if self.forward is None else self.forward(model, inputs)
        objective = Objective(loss=self.loss, part="total", label_draws=1)
        if callable(self.loss):
            return objective.scalar(outputs, targets)
        objective.check_targets(outputs, targets)
        if self.loss == "cross_entropy":
            return F.cross_entropy(outputs, targets)
        if not targets.is_floating_point():
            targets = F.one_hot(targets, outputs.shape[1]).movedim(-1, 1).to(outputs)
        return F.mse_loss(outputs, targets) / 2

    def _batches(self, seed: int, start: int, device: torch.device) -> Iterator[Any]:
        """Minibatches from step ``start`` on, without an end."""
        if isinstance(self.data, Data):
            feed = Feed(self.data, batch_size=self.batch_size, device=str(device), dtype=torch.float32)
            epochs = -(-self.steps // feed.steps(1))
            return feed.training_batches(seed, epochs, start=start)
        return islice(_repeated(self.data), start, None)

    def digest(self) -> str:
        """A digest of the data, by which a state file of other data is detected."""
        if isinstance(self.data, Data):
            return self.data.digest
        return type(self.data).__name__


def _repeated(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise InputError(f"a batch of data is a {type(batch).__name__}; expected (inputs, targets)")
            yield batch
        if empty:
            raise InputError("data contains no batch, or can be read only once; give a DataLoader or a list of batches")


def _moved(batch: Any, like: Tensor) -> tuple[Any, Any]:
    """The batch on the device of the model; floating-point inputs in its dtype."""
    inputs, targets = tree_map(lambda x: x.to(like.device) if isinstance(x, Tensor) else x, tuple(batch))
    cast = tree_map(lambda x: x.to(like.dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, inputs)
    return cast, targets


def weights_digest(model: nn.Module) -> str:
    """A digest of the parameters and buffers of a model."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
