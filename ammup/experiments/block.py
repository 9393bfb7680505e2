"""A block of cells that a worker trains; the worker only needs the TOML specification of the experiment."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch

from ammup.architecture.architecture import Architecture
from ammup.data.dataset import load_data
from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.schema import LeftOut, Worker
from ammup.measurement.depth_law import PASSES_PER_STEP
from ammup.models.device import default_device
from ammup.models.factory import Factory, architecture_of, named_factory
from ammup.provenance import versions
from ammup.training.augmentation import build_augmentation
from ammup.training.precision import DTYPES
from ammup.training.replicas import TRAINERS, Choice, checked_build, choose_strategy, seconds_per_step
from ammup.training.runs import Run
from ammup.training.trainer import Build, Trainer


@dataclass(frozen=True, kw_only=True)
class Block:
    """Replicas of one depth and seed that are trained and stored together.

    Attributes:
        specification: the experiment as TOML.
        depth: L.
        seed: seed of every replica.
        lrs: learning rate of each replica.
        strategy: "loop" or "stacked".
        device: None uses a GPU if there is one.
    """

    specification: str
    depth: int
    seed: int
    lrs: tuple[float, ...]
    strategy: str
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a block: its runs, the worker, the digest of the data, and the cells that a search left out."""

    runs: tuple[Run, ...]
    worker: Worker
    data_digest: str
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StrategyTiming:
    """Result of timing the strategies: the faster one, and the digest of the data."""

    choice: Choice
    data_digest: str


class WorkerContext:
    """The data of an experiment on one device, and the trainers that use these data."""

    def __init__(self, experiment: Experiment, device: str | None) -> None:
        self.experiment, self.device = experiment, device or default_device()
        source, training = experiment.data, experiment.training
        self.data = load_data(
            source.source,
            image_size=source.image_size,
            train=source.train,
            validation=source.validation,
            seed=source.seed,
            columns=source.columns,
            arguments=source.arguments,
        )
        self.feed = Feed(
            self.data,
            batch_size=training.batch_size,
            device=self.device,
            dtype=DTYPES[training.dtype],
            augment=build_augmentation(training.augmentation),
        )
        self.trainer = lru_cache(maxsize=1)(self._trainer)  # only the trainer of the current depth is cached

    def build(self, depth: int) -> Build:
        """Return a function that builds the model of this depth from a seed."""
        return checked_build(self._factory, depth, self.experiment.grid.seed_numbers[0], self.feed, self.data)

    def architecture(self, depth: int) -> Architecture | None:
        """Return the architecture at this depth, or None if the factory is not one of the families of ammup."""
        return architecture_of(self._factory, depth)

    @property
    def _factory(self) -> Factory:
        model = self.experiment.model
        arguments = {name: _to_tuples(value) for name, value in model.arguments.items()}
        return named_factory(
            model.factory, arguments, image_shape=self.data.image_shape, classes=len(self.data.classes)
        )

    def choose_strategy(self, depth: int) -> Choice:
        """Time the strategies at this depth and return the faster one."""
        grid, training = self.experiment.grid, self.experiment.training
        return choose_strategy(
            self.build(depth), self.feed, training, lrs=grid.learning_rates, seed=grid.seed_numbers[0]
        )

    def seconds_per_cell(self, depth: int, strategy: str) -> float:
        """Estimate the seconds to train and validate one replica, by timing a few training steps."""
        training = self.experiment.training
        validation = len(self.feed.val) / training.batch_size / PASSES_PER_STEP
        return self.seconds_per_step(depth, strategy) * (self.feed.steps(training.epochs) + validation)

    def seconds_per_step(self, depth: int, strategy: str) -> float:
        """Estimate the seconds of one training step of one replica, by timing a few steps."""
        grid = self.experiment.grid
        lrs = grid.learning_rates if strategy == "stacked" else grid.learning_rates[:1]
        return seconds_per_step(self.trainer(depth, strategy), lrs, grid.seed_numbers[0]) / len(lrs)

    def _trainer(self, depth: int, strategy: str) -> Trainer:
        return TRAINERS[strategy](self.build(depth), self.feed, self.experiment.training)


@lru_cache(maxsize=1)
def worker_context(specification: str, device: str | None) -> WorkerContext:
    """Return the context of this worker; it is cached, because successive jobs usually have the same experiment."""
    return WorkerContext(Experiment.from_toml(specification), device)


def run_block(block: Block) -> Outcome:
    """Train the replicas of a block.

    Raises:
        InputError: the data or the factory cannot be used, or a training step raises.
    """
    context = worker_context(block.specification, block.device)
    with translate_errors(block):
        runs = context.trainer(block.depth, block.strategy).runs(block.depth, block.lrs, block.seed)
    return Outcome(runs=tuple(runs), worker=this_worker(context.device), data_digest=context.data.digest)


@contextmanager
def translate_errors(block: Block) -> Iterator[None]:
    """Raise an InputError that names the cells instead of any error of the user's module."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a user's module may raise any exception
        cells = f"depth {block.depth}, seed {block.seed}, learning rates {', '.join(f'{lr:g}' for lr in block.lrs)}"
        raise InputError(f"training failed at {cells}: {type(error).__name__}: {error}") from error


def time_strategies(specification: str, depth: int, device: str | None) -> StrategyTiming:
    """Time the strategies on the first training steps at one depth."""
    context = worker_context(specification, device)
    return StrategyTiming(choice=context.choose_strategy(depth), data_digest=context.data.digest)


def this_worker(device: str) -> Worker:
    """Describe the current process: host, device, number of threads and versions."""
    device_name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor_name()
    return Worker(host=platform.node(), device=device_name, threads=torch.get_num_threads(), versions=versions())


def _to_tuples(value: object) -> object:
    """Convert the innermost lists of a TOML value to tuples, because TOML has only lists.

    [5, 3] becomes (5, 3), the sides of a kernel; [[0, 0], [0, 1]] becomes [(0, 0), (0, 1)], a list of offsets.
    """
    if not isinstance(value, list):
        return value
    items = [_to_tuples(item) for item in value]
    return items if items and all(isinstance(item, tuple) for item in items) else tuple(items)


def _processor_name() -> str:
    """Return the name of the processor as the operating system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  (read line by line)
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
