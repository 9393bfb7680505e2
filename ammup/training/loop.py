"""The strategy "loop": one replica after another, by torch's own optimizers and schedules.

Axes: R replica (one), B batch, C channel, H and W position.
"""

import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.data.minibatches import Batch, Feed
from ammup.training.fused import fused_forward
from ammup.training.optimization import advance, build_optimizer, build_schedule, take_step
from ammup.training.plan import Plan, micro_batches
from ammup.training.precision import autocast
from ammup.training.replica import ReplicaGroup, TrainedReplica
from ammup.training.runs import Training
from ammup.training.trainer import Build, Trainer

# Called with (step, model, minibatch) before a training step; it must not change the model.
StepCallback = Callable[[int, nn.Module, Batch], None]


class SingleReplica(ReplicaGroup):
    """A group of one replica, trained by an optimizer of torch. ``plan`` sets how its model processes a minibatch."""

    def __init__(self, model: nn.Module, feed: Feed, training: Training, lr: float, seed: int, plan: Plan) -> None:
        super().__init__(model.to(memory_format=plan.memory_format), feed, training, [lr], seed)
        self.plan, self.validation_batch_size = plan, plan.micro_batch
        self.callback: StepCallback | None = None
        self.forward = fused_forward(self.model) or self.model
        self.optimizer = build_optimizer(self.model.parameters(), training, lr)
        self.schedule = build_schedule(self.optimizer, training, steps=len(self.losses))
        self.period = feed.steps(1) if training.schedule and training.schedule.per == "epoch" else 1

    def step(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " R"]:
        """See the base class."""
        if self.callback:
            self.callback(self.steps_done, self.model, (images, labels))
        self.optimizer.zero_grad()
        losses = self._backward(images, labels)
        if self.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        take_step(self.optimizer, self.training)
        if self.schedule is not None and (self.steps_done + 1) % self.period == 0:
            advance(self.schedule)
        return losses

    def score(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "2 R"]:
        """See the base class."""
        logits = self.forward(images.contiguous(memory_format=self.plan.memory_format))
        correct = (logits.argmax(1) == labels).sum()
        return torch.stack([correct, F.cross_entropy(logits, labels, reduction="sum")]).unsqueeze(1)

    def weights(self, index: int) -> dict[str, Tensor]:
        """See the base class; the tensors are those of the model."""
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    def _backward(self, images: Tensor, labels: Tensor) -> Float[Tensor, " R"]:
        """Add the gradient of the batch's mean loss to the parameters' gradients; returns the loss."""
        smoothing = self.training.label_smoothing or 0.0
        total = torch.zeros(1, dtype=torch.float64, device=images.device)
        for x, y in micro_batches(images, labels, self.plan.micro_batch):
            with autocast(self.training, images.device):
                logits = self.forward(x.contiguous(memory_format=self.plan.memory_format))
                loss = F.cross_entropy(logits, y, reduction="sum", label_smoothing=smoothing) / len(images)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


class LoopTrainer(Trainer):
    """Trains one replica after another."""

    strategy = "loop"

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        super().__init__(build, feed, training)
        self.plan: Plan | None = None

    def group_size(self, seed: int) -> int:
        """See the base class."""
        return 1

    def group(self, lrs: Sequence[float], seed: int) -> SingleReplica:
        """See the base class."""
        start = time.perf_counter()
        (lr,) = lrs
        model = self.model(seed)
        if self.plan is None:
            batch = next(self.feed.training_batches(seed, 1))
            self.plan = Plan.from_model(model, batch, self.training)
        replica = SingleReplica(model, self.feed, self.training, lr, seed, self.plan)
        replica.add_time_since(start)
        return replica

    def train_with_callback(self, lr: float, seed: int, *, steps: int, callback: StepCallback) -> TrainedReplica:
        """Train the first ``steps`` steps of a replica, without validation, and call ``callback`` before each step."""
        replica = self.group([lr], seed)
        replica.callback = callback
        replica.advance(min(self.steps, steps))
        return replica.results([lr], validate=False)[lr]
