"""The strategy "stacked": all learning rates of a seed in one computation, on stacked parameters [R, …].

The replicas share the initial weights, the minibatches and the dropout masks, so images are not stacked and vmap draws
each mask once.

Axes: R replica, B batch.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.training.cuda_graph import StepRecorder
from ammup.training.dense import dense_step
from ammup.training.plan import activation_bytes
from ammup.training.precision import DTYPES, autocast
from ammup.training.replica import ReplicaGroup
from ammup.training.runs import Training
from ammup.training.trainer import Build, Trainer

Stack = dict[str, Tensor]  # each tensor [R, …]

# Limit on the size of all activations of one stack and of their gradients: a fraction of a GPU's free memory, or bytes
# on a CPU.
GPU_SHARE, CPU_BYTES = 0.3, 1 << 30


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise InputError instead of the various RuntimeErrors with which torch.func rejects a module."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the model cannot be trained in a stack ({reason})",
            python="use strategy='loop' instead",
            option="use --set strategy=loop instead",
        ) from error


class StackedReplicas(ReplicaGroup):
    """Replicas whose parameters are stacked and trained by one call of vmap. See the base class for the arguments.

    Attributes:
        parameters: stacks of the trainable parameters.
        buffers: stacks of the buffers and of the frozen parameters.
        momentum: stacks of the momentum of SGD; empty without momentum.
        lrs: learning rates of the active replicas.
    """

    def __init__(self, model: nn.Module, feed: Feed, training: Training, lrs: Sequence[float], seed: int) -> None:
        super().__init__(model, feed, training, lrs, seed)

        def stacked(tensor: Tensor) -> Tensor:
            return tensor.detach().expand(len(lrs), *tensor.shape).clone()

        self.parameters = {name: stacked(p) for name, p in model.named_parameters() if p.requires_grad}
        self.buffers = {name: stacked(p) for name, p in model.named_parameters() if not p.requires_grad}
        self.buffers |= {name: stacked(buffer) for name, buffer in model.named_buffers()}
        self.momentum: Stack = {}
        if training.momentum:
            self.momentum = {name: torch.zeros_like(stack) for name, stack in self.parameters.items()}
        self.lrs = torch.tensor(lrs, dtype=DTYPES[training.dtype], device=feed.device)
        self._dense = dense_step(model, training, self.parameters, self.lrs)
        self._recorder = StepRecorder(feed.device)

    @_translate_errors()
    def step(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " R"]:
        """See the base class."""
        return self._recorder.run(self._eager_step, self._state, images, labels)

    @_translate_errors()
    def score(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "2 R"]:
        """See the base class."""

        def score(parameters: Stack, buffers: Stack) -> tuple[Tensor, Tensor]:
            logits = functional_call(self.model, (parameters, buffers), (images.contiguous(),))
            return (logits.argmax(1) == labels).sum(), F.cross_entropy(logits, labels, reduction="sum")

        scores: tuple[Tensor, Tensor] = vmap(score)(self.parameters, self.buffers)
        return torch.stack(scores)

    def weights(self, index: int) -> dict[str, Tensor]:
        """See the base class; the tensors are copies."""
        return {name: stack[index].clone() for name, stack in (self.parameters | self.buffers).items()}

    def select(self, mask: Bool[Tensor, " R"]) -> None:
        """See the base class."""
        super().select(mask)
        self.parameters, self.buffers, self.momentum = (
            {name: stack[mask] for name, stack in stacks.items()}
            for stacks in (self.parameters, self.buffers, self.momentum)
        )
        self.lrs = self.lrs[mask]
        self._dense = dense_step(self.model, self.training, self.parameters, self.lrs)
        self._recorder.reset()

    def release_cache(self) -> None:
        """Delete the recorded step and the buffers, which own the memory of a complete step."""
        self._recorder.reset()
        if self._dense is not None:
            self._dense.release_buffers()

    def _state(self) -> list[Tensor]:
        """The tensors that a step writes to."""
        return [*self.parameters.values(), *self.buffers.values(), *self.momentum.values()]

    def _eager_step(self, images: Tensor, labels: Tensor) -> Float[Tensor, " R"]:
        """A step of every active replica, in place and without a recording."""
        if self._dense is not None:
            return self._dense(images, labels)

        def loss(parameters: Stack, buffers: Stack) -> tuple[Tensor, Stack]:
            with autocast(self.training, images.device):
                logits = functional_call(self.model, (parameters, buffers), (images.contiguous(),))
                return F.cross_entropy(logits, labels), buffers

        gradients_of = vmap(grad_and_value(loss, has_aux=True), randomness="same")
        gradients, (losses, buffers) = gradients_of(self.parameters, self.buffers)
        for name, buffer in buffers.items():
            if buffer.data_ptr() != self.buffers[name].data_ptr():
                self.buffers[name].copy_(buffer)
        self._update(gradients)
        detached: Tensor = losses.detach()
        return detached

    def _update(self, gradients: Stack) -> None:
        """Update the parameters by SGD, in place."""
        for name, parameter in self.parameters.items():
            gradient = gradients[name]
            if self.training.weight_decay:
                gradient = gradient.add(parameter, alpha=self.training.weight_decay)
            if self.training.momentum:
                gradient = self.momentum[name].mul_(self.training.momentum).add_(gradient)
            lrs = self.lrs.reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.addcmul_(gradient, lrs, value=-1)


class StackedTrainer(Trainer):
    """Trains all learning rates of a seed simultaneously, in stacks that fit in memory."""

    strategy = "stacked"

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        super().__init__(build, feed, training)
        check_stackable(training)
        self.size: int | None = None

    def group_size(self, seed: int) -> int:
        """See the base class."""
        if self.size is None:
            images, _ = next(self.feed.training_batches(seed, 1))
            self.size = _stack_size(self.model(seed), images)
        return self.size

    def group(self, lrs: Sequence[float], seed: int) -> StackedReplicas:
        """See the base class."""
        start = time.perf_counter()
        replicas = StackedReplicas(self.model(seed), self.feed, self.training, lrs, seed)
        replicas.add_time_since(start)
        return replicas


def check_stackable(training: Training) -> None:
    """Raise InputError unless stacks can be trained with these settings."""
    if not training.plain:
        raise InputError(
            "strategy 'stacked' is for SGD at a constant learning rate, without label smoothing and clipping",
            python="use strategy='loop' or 'auto'",
            option="use --set strategy=loop",
        )


def _stack_size(model: nn.Module, images: Tensor) -> int:
    """The number of replicas whose activations are within the limit; at least one."""
    bytes_per_replica = 2 * len(images) * activation_bytes(model, images)[1]
    limit = CPU_BYTES
    if images.device.type == "cuda":
        limit = int(GPU_SHARE * torch.cuda.mem_get_info(images.device)[0])
    return max(1, limit // bytes_per_replica)
