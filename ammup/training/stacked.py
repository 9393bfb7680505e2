"""The strategy `stacked`: all learning rates of a seed in one computation, parameters [R, …].

They share the weights they start from, the minibatches and the dropout masks, so that the first layer sees one batch
and vmap draws each mask once.

Axes: R replica, B batch.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.models.streams import RandomState
from ammup.training.cuda_graph import RecordedStep
from ammup.training.dense import dense_step
from ammup.training.loop import activation_bytes, random_state
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

    def tensors(self) -> list[Tensor]:
        """All that a step writes to."""
        return [*self.parameters.values(), *self.buffers.values(), *self.momentum.values()]

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
        self.size: int | None = None

    def begin(self, seed: int) -> "StackedSession":
        """See the base class."""
        return StackedSession(self, seed)

    def parts(self, lrs: Sequence[float], seed: int) -> Iterator[Sequence[float]]:
        """See the base class."""
        size = self._size(seed)
        return (lrs[i : i + size] for i in range(0, len(lrs), size))

    def _size(self, seed: int) -> int:
        """Replicas in a stack."""
        if self.size is None:
            model = self.build(seed).to(DTYPES[self.training.dtype]).train()
            self.size = _stack_size(model, next(self.feed.training_batches(seed, 1))[0])
        return self.size


class StackedSession(Session):
    """Stacks of replicas; those that begin together are one or several stacks."""

    def __init__(self, trainer: StackedTrainer, seed: int) -> None:
        self.trainer, self.seed = trainer, seed
        self.stacks: list[_Stack] = []

    def advance(self, lrs: Sequence[float], steps: int) -> list[Tensor]:
        """See the base class."""
        begun = {lr for stack in self.stacks for lr in stack.lrs}
        new = [lr for lr in lrs if lr not in begun]
        self.stacks += [_Stack(self.trainer, part, self.seed) for part in self.trainer.parts(new, self.seed)]
        for stack in self.stacks:
            stack.keep(lrs)
        self.stacks = [stack for stack in self.stacks if stack.lrs]
        for stack in self.stacks:
            with _explained():
                stack.descend(steps)
            if len(self.stacks) > 1:
                stack.recorded = None  # each holds the memory of a whole step, and the next stack needs it
        losses = {lr: known for stack in self.stacks for lr, known in stack.known_losses().items()}
        return [losses[lr] for lr in lrs]

    def trained(self, lrs: Sequence[float], *, validate: bool) -> list[Trained]:
        """See the base class."""
        done: dict[float, Trained] = {}
        for stack in self.stacks:
            with _explained():
                done |= stack.trained([lr for lr in lrs if lr in stack.lrs], validate=validate)
        return [done[lr] for lr in lrs]


@contextmanager
def _explained() -> Iterator[None]:
    """torch.func refuses some modules, each in its own way."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the model cannot be trained in a stack ({reason}); use strategy='loop'") from error


class _Stack:
    """Replicas that began together, on their way through their minibatches.

    ``lrs`` are those that are wanted, by their places in the stack as it began: living or diverged.
    """

    def __init__(self, trainer: StackedTrainer, lrs: Sequence[float], seed: int) -> None:
        start = time.perf_counter()
        self.feed, self.training = trainer.feed, trainer.training
        self.model = trainer.build(seed).to(DTYPES[self.training.dtype]).train()
        self.lrs = {lr: place for place, lr in enumerate(lrs)}
        self.dense = dense_step(self.model, self.training)
        self.live = self._replicas(lrs)
        self.dead: dict[int, Stack] = {}
        self.seed = seed
        self.random = RandomState("training", seed)
        shape = (trainer.steps, len(lrs))
        self.losses = torch.full(shape, float("nan"), dtype=torch.float64, device=self.feed.device)
        self.done = 0
        self.recorded: RecordedStep | None = None
        self.records: bool | None = None
        self.seconds = {lr: (time.perf_counter() - start) / len(lrs) for lr in lrs}

    def keep(self, lrs: Sequence[float]) -> None:
        """Forget the others."""
        self.lrs = {lr: place for lr, place in self.lrs.items() if lr in lrs}
        self.dead = {place: weights for place, weights in self.dead.items() if place in self.lrs.values()}
        wanted = torch.isin(self.live.alive.cpu(), torch.tensor(list(self.lrs.values()), dtype=torch.int64))
        if not wanted.all():
            self._compact(wanted.to(self.feed.device))

    def known_losses(self) -> dict[float, Tensor]:
        """Of each learning rate, up to the first NaN."""
        losses = self.losses.cpu()
        return {lr: losses[: steps_before_nan(losses[:, place]), place] for lr, place in self.lrs.items()}

    def descend(self, steps: int) -> None:
        """SGD of all that live up to this step, or until none does."""
        start = time.perf_counter()
        every = nan_check_interval(self.feed.device)
        batches = self.feed.training_batches(self.seed, self.training.epochs, start=self.done)
        with precision(self.feed.device, tf32=self.training.tf32), self.random.restored(), closing(batches):
            for step, (images, labels) in enumerate(islice(batches, max(steps - self.done, 0)), self.done):
                if not len(self.live.alive):
                    break
                self.losses[step, self.live.alive] = self._fast(images, labels).double()
                self.done = step + 1
                if self.done % every == 0 or self.done == steps:
                    self._bury(self.losses[step, self.live.alive].isnan())
        for lr in self.lrs:
            self.seconds[lr] += (time.perf_counter() - start) / len(self.lrs)

    def trained(self, lrs: Sequence[float], *, validate: bool) -> dict[float, Trained]:
        """What these are now, by learning rate."""
        if not lrs:
            return {}
        start = time.perf_counter()
        accuracy, loss = (torch.full((len(self.live.alive),), float("nan")) for _ in range(2))
        if validate and len(self.live.alive):
            accuracy, loss = self._validate()
        spent = (time.perf_counter() - start) / max(len(self.lrs), 1)
        at = {int(place): i for i, place in enumerate(self.live.alive)}
        losses = self.known_losses()
        return {
            lr: Trained(
                weights=self.live.weights(at[place]) if place in at else self.dead[place],
                losses=losses[lr],
                val_accuracy=float(accuracy[at[place]]) if place in at else float("nan"),
                val_loss=float(loss[at[place]]) if place in at else float("nan"),
                seconds=self.seconds[lr] + spent,
            )
            for lr, place in ((lr, self.lrs[lr]) for lr in lrs)
        }

    def _replicas(self, lrs: Sequence[float]) -> _Replicas:
        def stacked(tensor: Tensor) -> Tensor:
            return tensor.detach().expand(len(lrs), *tensor.shape).clone()

        parameters = {name: stacked(p) for name, p in self.model.named_parameters() if p.requires_grad}
        frozen = {name: stacked(p) for name, p in self.model.named_parameters() if not p.requires_grad}
        return _Replicas(
            parameters=parameters,
            buffers=frozen | {name: stacked(b) for name, b in self.model.named_buffers()},
            momentum={name: torch.zeros_like(p) for name, p in parameters.items()} if self.training.momentum else {},
            lrs=torch.tensor(lrs, dtype=DTYPES[self.training.dtype], device=self.feed.device),
            alive=torch.arange(len(lrs), device=self.feed.device),
        )

    def _bury(self, nan: Tensor) -> None:
        """Put those aside whose loss is NaN."""
        if nan.any():
            self.dead |= {int(self.live.alive[i]): self.live.weights(int(i)) for i in nan.nonzero()}
            self._compact(~nan)

    def _compact(self, chosen: Tensor) -> None:
        self.live = self.live.keep(chosen)
        self.recorded = None  # it writes to what there was

    def _fast(self, images: Tensor, labels: Tensor) -> Tensor:
        """:meth:`_step`, recorded where that is worth it and the model allows it."""
        if self.records is None:
            before = random_state(images.device)
            losses = self._step(images, labels)
            self.records = records_steps(images.device) and torch.equal(before, random_state(images.device))
            return losses
        if self.records and self.recorded is None:
            try:
                self.recorded = RecordedStep(self._step, self.live.tensors(), images, labels)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # such as a copy from the CPU in the forward: it runs, and cannot be recorded
                self.records = False
        if self.recorded is None or not self.recorded.takes(images):
            return self._step(images, labels)
        return self.recorded(images, labels)

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One SGD step of every replica, in place; the losses [R] before it."""
        live = self.live
        if self.dense is not None:
            return self.dense(live.parameters, live.lrs, images, labels)

        def loss(parameters: Stack, buffers: Stack) -> tuple[Tensor, Stack]:
            with autocast(self.training, images.device):
                logits = functional_call(self.model, (parameters, buffers), (images.contiguous(),))
                return F.cross_entropy(logits, labels), buffers

        descend = vmap(grad_and_value(loss, has_aux=True), randomness="same")
        gradients, (losses, buffers) = descend(live.parameters, live.buffers)
        for name, buffer in buffers.items():
            if buffer.data_ptr() != live.buffers[name].data_ptr():
                live.buffers[name].copy_(buffer)
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
    def _validate(self) -> tuple[Tensor, Tensor]:
        """(accuracies, mean cross-entropies) of the validation images, each [R], in the weights' own precision."""
        self.model.eval()

        def score(parameters: Stack, buffers: Stack, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = functional_call(self.model, (parameters, buffers), (images.contiguous(),))
            return (logits.argmax(1) == labels).sum(), F.cross_entropy(logits, labels, reduction="sum")

        totals = torch.zeros(2, len(self.live.alive), dtype=torch.float64, device=self.feed.device)
        with precision(self.feed.device, tf32=False):
            for images, labels in self.feed.validation_batches(self.training.batch_size):
                scores: tuple[Tensor, Tensor] = vmap(score, in_dims=(0, 0, None, None))(
                    self.live.parameters, self.live.buffers, images, labels
                )
                totals += torch.stack(scores).double()
        self.model.train()
        means: Tensor = (totals / len(self.feed.val)).cpu()
        return means[0], means[1]


def records_steps(device: torch.device) -> bool:
    """Whether a step is recorded: only a GPU has something to gain."""
    return device.type == "cuda"


def _stack_size(model: nn.Module, images: Tensor) -> int:
    bytes_each = 2 * len(images) * activation_bytes(model, images)[1]
    free = CPU_BYTES
    if images.device.type == "cuda":
        free = int(GPU_SHARE * torch.cuda.mem_get_info(images.device)[0])
    return max(1, free // bytes_each)
