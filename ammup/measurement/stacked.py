"""The strategy `stacked`: all learning rates of a seed in one computation, parameters [R, …].

They share the weights they start from, the minibatches and the dropout masks, so that the first layer sees one batch
and vmap draws each mask once.

Axes: R replica, B batch.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from ammup.errors import InputError
from ammup.measurement.feed import Batch, Feed
from ammup.measurement.loop import activation_bytes
from ammup.measurement.replica import (
    DTYPES,
    Build,
    Trained,
    Trainer,
    Training,
    autocast,
    nan_check_interval,
    steps_before_nan,
)
from ammup.models.streams import seeded

Stack = dict[str, Tensor]  # each tensor [R, …]

# What the activations of one stack may take, kept and passed back: a share of a GPU's free memory, or so many bytes.
GPU_SHARE, CPU_BYTES = 0.3, 1 << 30


@dataclass(kw_only=True)
class _Replicas:
    """The replicas that are still alive; ``alive`` are their places among all.

    Frozen parameters are among the buffers.
    """

    parameters: Stack
    buffers: Stack
    momentum: Stack
    lrs: Tensor
    alive: Tensor

    def weights(self, i: int) -> dict[str, Tensor]:
        """A copy of one replica's parameters and buffers."""
        return {name: stack[i].clone() for name, stack in (self.parameters | self.buffers).items()}

    def keep(self, chosen: Tensor) -> "_Replicas":
        def pick(stack: Stack) -> Stack:
            return {name: tensor[chosen] for name, tensor in stack.items()}

        return _Replicas(
            parameters=pick(self.parameters),
            buffers=pick(self.buffers),
            momentum=pick(self.momentum),
            lrs=self.lrs[chosen],
            alive=self.alive[chosen],
        )


class StackedTrainer(Trainer):
    """All learning rates of a seed at once, in stacks that fit the memory."""

    strategy = "stacked"

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        super().__init__(build, feed, training)
        self.stack: int | None = None

    def train(self, lrs: Sequence[float], seed: int, *, steps: int | None = None) -> list[Trained]:
        """See the base class."""
        model = self.build(seed).to(DTYPES[self.training.dtype]).train()
        if self.stack is None:
            self.stack = _stack_size(model, next(self.feed.training_batches(seed, 1))[0])
        parts = (lrs[i : i + self.stack] for i in range(0, len(lrs), self.stack))
        try:
            return [trained for part in parts for trained in self._train(model, part, seed, steps)]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch.func refuses some modules, each in its own way
            reason = str(error).splitlines()[0]
            raise InputError(f"the model cannot be trained in a stack ({reason}); use strategy='loop'") from error

    def _train(self, model: nn.Module, lrs: Sequence[float], seed: int, steps: int | None) -> list[Trained]:
        start = time.perf_counter()
        batches, n = self.batches(seed, steps)
        with seeded("training", seed):
            live, dead, losses = self._descend(model, self._start(model, lrs), batches, n)
        accuracy, loss = (torch.full((len(live.alive),), float("nan")) for _ in range(2))
        if steps is None and len(live.alive):
            accuracy, loss = self._validate(model, live)
        at = {int(r): i for i, r in enumerate(live.alive)}
        ends = {r: live.weights(i) for r, i in at.items()} | dead
        seconds = (time.perf_counter() - start) / len(lrs)
        return [
            Trained(
                weights=ends[r],
                losses=losses[: steps_before_nan(losses[:, r]), r],
                val_accuracy=float(accuracy[at[r]]) if r in at else float("nan"),
                val_loss=float(loss[at[r]]) if r in at else float("nan"),
                seconds=seconds,
            )
            for r in range(len(lrs))
        ]

    def _start(self, model: nn.Module, lrs: Sequence[float]) -> _Replicas:
        def stacked(tensor: Tensor) -> Tensor:
            return tensor.detach().expand(len(lrs), *tensor.shape).clone()

        parameters = {name: stacked(p) for name, p in model.named_parameters() if p.requires_grad}
        frozen = {name: stacked(p) for name, p in model.named_parameters() if not p.requires_grad}
        return _Replicas(
            parameters=parameters,
            buffers=frozen | {name: stacked(b) for name, b in model.named_buffers()},
            momentum={name: torch.zeros_like(p) for name, p in parameters.items()} if self.training.momentum else {},
            lrs=torch.tensor(lrs, dtype=DTYPES[self.training.dtype], device=self.feed.device),
            alive=torch.arange(len(lrs), device=self.feed.device),
        )

    def _descend(
        self, model: nn.Module, live: _Replicas, batches: Iterator[Batch], steps: int
    ) -> tuple[_Replicas, dict[int, Stack], Tensor]:
        """(the living, the dead by their place, losses [steps, R])."""
        losses = torch.full((steps, len(live.alive)), float("nan"), dtype=torch.float64, device=self.feed.device)
        dead: dict[int, Stack] = {}
        every = nan_check_interval(self.feed.device)
        for step, (images, labels) in enumerate(batches):
            losses[step, live.alive] = self._step(model, live, images, labels).double()
            if (step + 1) % every == 0 or step + 1 == steps:
                nan = losses[step, live.alive].isnan()
                if nan.any():
                    dead |= {int(live.alive[i]): live.weights(int(i)) for i in nan.nonzero()}
                    live = live.keep(~nan)
            if not len(live.alive):
                break
        return live, dead, losses.cpu()

    def _step(self, model: nn.Module, live: _Replicas, images: Tensor, labels: Tensor) -> Tensor:
        """One SGD step of every replica, in place; the losses [R] before it."""

        def loss(parameters: Stack, buffers: Stack) -> tuple[Tensor, Stack]:
            with autocast(self.training, images.device):
                logits = functional_call(model, (parameters, buffers), (images.contiguous(),))
                return F.cross_entropy(logits, labels), buffers

        descend = vmap(grad_and_value(loss, has_aux=True), randomness="same")
        gradients, (losses, live.buffers) = descend(live.parameters, live.buffers)
        for name, parameter in live.parameters.items():
            gradient = gradients[name]
            if self.training.weight_decay:
                gradient = gradient.add(parameter, alpha=self.training.weight_decay)
            if self.training.momentum:
                gradient = live.momentum[name].mul_(self.training.momentum).add_(gradient)
            parameter.addcmul_(gradient, live.lrs.reshape(-1, *[1] * (parameter.ndim - 1)), value=-1)
        before: Tensor = losses.detach()
        return before

    @torch.no_grad()
    def _validate(self, model: nn.Module, live: _Replicas) -> tuple[Tensor, Tensor]:
        """(accuracies, mean cross-entropies) of the validation images, each [R], in the weights' own precision."""
        model.eval()

        def score(parameters: Stack, buffers: Stack, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = functional_call(model, (parameters, buffers), (images.contiguous(),))
            return (logits.argmax(1) == labels).sum(), F.cross_entropy(logits, labels, reduction="sum")

        totals = torch.zeros(2, len(live.alive), dtype=torch.float64, device=self.feed.device)
        for images, labels in self.feed.validation_batches(self.training.batch_size):
            scores: tuple[Tensor, Tensor] = vmap(score, in_dims=(0, 0, None, None))(
                live.parameters, live.buffers, images, labels
            )
            totals += torch.stack(scores).double()
        model.train()
        means: Tensor = (totals / len(self.feed.val)).cpu()
        return means[0], means[1]


def _stack_size(model: nn.Module, images: Tensor) -> int:
    bytes_each = 2 * len(images) * activation_bytes(model, images)[1]
    free = CPU_BYTES
    if images.device.type == "cuda":
        free = int(GPU_SHARE * torch.cuda.mem_get_info(images.device)[0])
    return max(1, free // bytes_each)
