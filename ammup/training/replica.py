"""A group of replicas (learning rates of one seed) that take each training step together, and their results.

Axes: R replica, B batch.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from ammup.data.minibatches import Feed
from ammup.format import brief_fields
from ammup.models.streams import RandomState
from ammup.training.precision import precision
from ammup.training.runs import Run, Training

CURVE_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class TrainedReplica:
    """A replica after training.

    Attributes:
        weights: parameters and buffers by name.
        losses: minibatch losses (steps,), up to the first NaN.
        val_accuracy: fraction of validation images classified correctly; NaN if not validated.
        val_loss: mean cross-entropy of the validation images; NaN if not validated.
        seconds: wall time.
    """

    weights: dict[str, Tensor]
    losses: Tensor
    val_accuracy: float
    val_loss: float
    seconds: float

    __repr__ = brief_fields

    def run(self, depth: int, lr: float, seed: int, *, training: Training, steps: int, strategy: str) -> Run:
        """The record of this replica; ``steps`` is the number of steps of a replica that does not diverge."""
        diverged = len(self.losses) < steps or math.isnan(self.val_loss)
        last_tenth = self.losses[-math.ceil(steps / 10) :]
        return Run(
            depth=depth,
            lr=lr,
            seed=seed,
            val_accuracy=math.nan if diverged else self.val_accuracy,
            val_loss=math.nan if diverged else self.val_loss,
            train_loss=math.nan if diverged else float(last_tenth.mean()),
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


class ReplicaGroup(ABC):
    """Replicas of one seed that use the same minibatches and dropout masks.

    A group can be trained in several parts. Each part continues with the losses, the random state and the minibatches
    where the previous part ended. A replica whose loss becomes NaN is not trained any further, because its loss would
    stay NaN. Each subclass implements one strategy: how a step and an evaluation are computed.

    Args:
        model: built from the seed, in the dtype of the weights and in training mode.
        feed: minibatches.
        training: settings of every replica.
        lrs: learning rates, one for each replica.
        seed: seed of the weights, the minibatch order and the dropout masks.

    Attributes:
        rows: index on axis R of each learning rate that has not been discarded, including diverged ones.
        active: indices on axis R of the replicas that are still trained.
        losses: (steps, R); NaN for steps that have not been taken.
        steps_done: number of steps taken.
        validation_batch_size: images in one forward pass of the evaluation.
    """

    def __init__(self, model: nn.Module, feed: Feed, training: Training, lrs: Sequence[float], seed: int) -> None:
        self.model, self.feed, self.training, self.seed = model, feed, training, seed
        self.rows = {lr: row for row, lr in enumerate(lrs)}
        self.active: Int64[Tensor, " R"] = torch.arange(len(lrs), device=feed.device)
        shape = (feed.steps(training.epochs), len(lrs))
        self.losses = torch.full(shape, math.nan, dtype=torch.float64, device=feed.device)
        self.steps_done = 0
        self.validation_batch_size = training.batch_size
        self._seconds = dict.fromkeys(lrs, 0.0)
        self._random = RandomState("training", seed)
        self._diverged: dict[int, dict[str, Tensor]] = {}  # weights by row

    @abstractmethod
    def step(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " R"]:
        """Take one SGD step with the active replicas, and return their losses before the step."""

    @abstractmethod
    def score(self, images: Shaped[Tensor, "B *item"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "2 R"]:
        """(correct images, sum of cross-entropies) of the active replicas; the model is in evaluation mode."""

    @abstractmethod
    def weights(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers of one active replica, by name."""

    def select(self, mask: Bool[Tensor, " R"]) -> None:
        """Train only the active replicas in the mask from now on."""
        self.active = self.active[mask]

    def release_cache(self) -> None:  # noqa: B027  (only some groups have a cache)
        """Free memory that is needed only to make further steps faster."""

    def advance(self, steps: int) -> None:
        """Train up to this number of steps, or until every replica has diverged."""
        if steps <= self.steps_done or not len(self.active):
            return
        start, device = time.perf_counter(), self.feed.device
        interval = _nan_check_interval(device)
        batches = self.feed.training_batches(self.seed, self.training.epochs, start=self.steps_done)
        with precision(device, tf32=self.training.tf32), self._random.restored(), closing(batches):
            for images, labels in islice(batches, steps - self.steps_done):
                losses = self.step(images, labels).double()
                self.losses[self.steps_done].index_copy_(0, self.active, losses)
                self.steps_done += 1
                if self.steps_done % interval == 0 or self.steps_done == steps:
                    self._retire_diverged(losses.isnan())
                    if not len(self.active):
                        break
        self.add_time_since(start)

    def keep(self, lrs: Sequence[float]) -> None:
        """Discard the replicas of all other learning rates."""
        self.rows = {lr: row for lr, row in self.rows.items() if lr in lrs}
        rows = list(self.rows.values())
        self._diverged = {row: weights for row, weights in self._diverged.items() if row in rows}
        wanted = torch.isin(self.active.cpu(), torch.tensor(rows, dtype=torch.int64))
        if not wanted.all():
            self.select(wanted.to(self.feed.device))

    def losses_before_nan(self) -> dict[float, Tensor]:
        """Losses up to the first NaN, by learning rate."""
        losses = self.losses.cpu()
        return {lr: losses[: _steps_before_nan(losses[:, row]), row] for lr, row in self.rows.items()}

    def results(self, lrs: Sequence[float], *, validate: bool) -> dict[float, TrainedReplica]:
        """The current state of these replicas, by learning rate; diverged ones are not validated."""
        start = time.perf_counter()
        scores = torch.full((2, self.losses.shape[1]), math.nan, dtype=torch.float64)
        if validate and len(self.active):
            scores[:, self.active.cpu()] = self._validate()
        self.add_time_since(start)
        losses = self.losses_before_nan()
        index = {row: i for i, row in enumerate(self.active.tolist())}

        def result(lr: float, row: int) -> TrainedReplica:
            return TrainedReplica(
                weights=self.weights(index[row]) if row in index else self._diverged[row],
                losses=losses[lr],
                val_accuracy=float(scores[0, row]),
                val_loss=float(scores[1, row]),
                seconds=self._seconds[lr],
            )

        return {lr: result(lr, self.rows[lr]) for lr in lrs}

    def add_time_since(self, start: float) -> None:
        """Add the wall time since ``start`` (from ``time.perf_counter``) to the replicas' times in equal parts."""
        share = (time.perf_counter() - start) / len(self.rows)
        for lr in self.rows:
            self._seconds[lr] += share

    def _retire_diverged(self, nan: Bool[Tensor, " R"]) -> None:
        """Store the weights of the active replicas whose loss is NaN, and train only the others."""
        if nan.any():
            for i in nan.nonzero().flatten().tolist():
                self._diverged[int(self.active[i])] = self.weights(i)
            self.select(~nan)

    @torch.no_grad()
    def _validate(self) -> Float[Tensor, "2 R"]:
        """(accuracies, mean cross-entropies) on the validation images, in the precision of the weights."""
        self.model.eval()
        totals = torch.zeros(2, len(self.active), dtype=torch.float64, device=self.feed.device)
        with precision(self.feed.device, tf32=False):
            for images, labels in self.feed.validation_batches(self.validation_batch_size):
                totals += self.score(images, labels).double()
        self.model.train()
        return (totals / len(self.feed.val)).cpu()


def _nan_check_interval(device: torch.device) -> int:
    """Steps between checks for NaN: more on a GPU, where a check waits for pending kernels.

    A late check finds the same replicas, because a loss that is NaN stays NaN.
    """
    return 32 if device.type == "cuda" else 1


def _steps_before_nan(losses: Float[Tensor, " steps"]) -> int:
    """Number of losses before the first NaN."""
    nan = losses.isnan().nonzero()
    return int(nan[0]) if len(nan) else len(losses)
