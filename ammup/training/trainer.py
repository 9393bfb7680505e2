"""The base class of the strategies: it divides learning rates into groups, trains the groups and records the runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ammup.data.minibatches import Feed
from ammup.training.precision import DTYPES
from ammup.training.replica import ReplicaGroup, TrainedReplica
from ammup.training.runs import Run, Training

Build = Callable[[int], nn.Module]  # maps a seed to the model with the weights of that seed


class Trainer(ABC):
    """Trains the replicas of one depth; each strategy is a subclass.

    Args:
        build: maps a seed to the model with that seed's weights, on the device of the feed.
        feed: minibatches.
        training: settings of every replica.
    """

    strategy: ClassVar[str]

    def __init__(self, build: Build, feed: Feed, training: Training) -> None:
        self.build, self.feed, self.training = build, feed, training

    @abstractmethod
    def group_size(self, seed: int) -> int:
        """The largest number of replicas that are trained together."""

    @abstractmethod
    def group(self, lrs: Sequence[float], seed: int) -> ReplicaGroup:
        """Untrained replicas of a seed, at most ``group_size`` of them."""

    @property
    def steps(self) -> int:
        """Number of minibatches of the complete training."""
        return self.feed.steps(self.training.epochs)

    def parts(self, lrs: Sequence[float], seed: int) -> Iterator[Sequence[float]]:
        """The learning rates, divided into groups."""
        size = self.group_size(seed)
        return (lrs[i : i + size] for i in range(0, len(lrs), size))

    def begin(self, seed: int) -> "Session":
        """A session that trains replicas of a seed in several parts."""
        return Session(self, seed)

    def train(self, lrs: Sequence[float], seed: int, *, steps: int | None = None) -> list[TrainedReplica]:
        """One trained replica for each learning rate; ``steps`` ends training early, without validation."""
        return [trained for part in self.parts(lrs, seed) for trained in self._train_group(part, seed, steps)]

    def runs(self, depth: int, lrs: Sequence[float], seed: int) -> list[Run]:
        """Train every learning rate and return the records."""
        return [self.run(depth, lr, seed, trained) for lr, trained in zip(lrs, self.train(lrs, seed), strict=True)]

    def run(self, depth: int, lr: float, seed: int, trained: TrainedReplica) -> Run:
        """The record of a replica whose training is complete."""
        return trained.run(depth, lr, seed, training=self.training, steps=self.steps, strategy=self.strategy)

    def model(self, seed: int) -> nn.Module:
        """The model of a seed in the dtype of the weights, in training mode."""
        return self.build(seed).to(DTYPES[self.training.dtype]).train()

    def _train_group(self, lrs: Sequence[float], seed: int, steps: int | None) -> list[TrainedReplica]:
        """Train one group. This is a separate function so that the group is freed before the next one is built."""
        group = self.group(lrs, seed)
        group.advance(min(self.steps, steps or self.steps))
        results = group.results(lrs, validate=steps is None)
        return [results[lr] for lr in lrs]


class Session:
    """Trains replicas of one seed in several parts.

    The result equals that of one uninterrupted training: exactly if each replica is trained separately, and up to
    rounding in a stack, whose rounding errors depend on the other replicas in it.
    """

    def __init__(self, trainer: Trainer, seed: int) -> None:
        self.trainer, self.seed = trainer, seed
        self.groups: list[ReplicaGroup] = []

    def advance(self, lrs: Sequence[float], steps: int) -> list[Tensor]:
        """Continue the training of these learning rates up to this number of steps, and discard all others.

        Returns the losses of each learning rate, up to the first NaN.
        """
        started = {lr for group in self.groups for lr in group.rows}
        self.groups = [group for group in self.groups if any(lr in group.rows for lr in lrs)]
        for group in self.groups:
            group.keep(lrs)
        new = [lr for lr in lrs if lr not in started]
        self.groups += [self.trainer.group(part, self.seed) for part in self.trainer.parts(new, self.seed)]
        for group in self.groups:
            group.advance(steps)
            if len(self.groups) > 1:
                group.release_cache()  # the next group needs the memory
        losses = {lr: values for group in self.groups for lr, values in group.losses_before_nan().items()}
        return [losses[lr] for lr in lrs]

    def trained(self, lrs: Sequence[float], *, validate: bool) -> list[TrainedReplica]:
        """The current state of these replicas; diverged ones are not validated."""
        results: dict[float, TrainedReplica] = {}
        for group in self.groups:
            members = [lr for lr in lrs if lr in group.rows]
            if members:
                results |= group.results(members, validate=validate)
        return [results[lr] for lr in lrs]
