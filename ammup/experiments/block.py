"""A block of cells, run in a worker from the specification of its experiment alone."""

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
from ammup.models.device import default_device
from ammup.models.factory import Factory, architecture_of, named_factory
from ammup.provenance import versions
from ammup.training.precision import DTYPES
from ammup.training.replicas import TRAINERS, Choice, checked_build, choose_strategy, seconds_per_step
from ammup.training.runs import Run
from ammup.training.trainer import Build, Trainer


@dataclass(frozen=True, kw_only=True)
class Block:
    """Replicas of one depth and seed that are trained, and stored, together.

    Attributes:
        specification: the experiment as TOML.
        depth: L.
        seed: of every replica.
        lrs: learning rates of the replicas.
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
    """Result of a block: its runs, the cells that a search left out, the worker, and the digest of the data."""

    runs: tuple[Run, ...]
    worker: Worker
    data_digest: str
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Result of timing the strategies: the faster one, and the digest of the data."""

    choice: Choice
    data_digest: str


class WorkerContext:
    """An experiment's data on one device, and the trainers that use them."""

    def __init__(self, experiment: Experiment, device: str | None) -> None:
        self.experiment, self.device = experiment, device or default_device()
        source, training = experiment.data, experiment.training
        self.data = load_data(
            source.source,
            image_size=source.image_size,
            train=source.train,
            validation=source.validation,
            seed=source.seed,
        )
        self.feed = Feed(self.data, batch_size=training.batch_size, device=self.device, dtype=DTYPES[training.dtype])
        self.trainer = lru_cache(maxsize=1)(self._trainer)  # a trainer is made for one depth

    def build(self, depth: int) -> Build:
        """Seed -> the model of this depth."""
        return checked_build(self._factory, depth, self.experiment.grid.seed_numbers[0], self.feed, self.data)

    def architecture(self, depth: int) -> Architecture | None:
        """What the experiment's factory builds at this depth, where it is one of our families."""
        return architecture_of(self._factory, depth)

    @property
    def _factory(self) -> Factory:
        model = self.experiment.model
        arguments = {name: _as_argument(value) for name, value in model.arguments.items()}
        return named_factory(
            model.factory, arguments, image_shape=self.data.image_shape, classes=len(self.data.classes)
        )

    def choice(self, depth: int) -> Choice:
        """The faster strategy at this depth."""
        grid, training = self.experiment.grid, self.experiment.training
        return choose_strategy(
            self.build(depth), self.feed, training, lrs=grid.learning_rates, seed=grid.seed_numbers[0]
        )

    def seconds_a_cell(self, depth: int, strategy: str) -> float:
        """Seconds of one replica, from a few of its steps."""
        grid, training = self.experiment.grid, self.experiment.training
        lrs = grid.learning_rates if strategy == "stacked" else grid.learning_rates[:1]
        step = seconds_per_step(self.trainer(depth, strategy), lrs, grid.seed_numbers[0]) / len(lrs)
        validation = len(self.feed.val) / training.batch_size / 3  # a forward pass is a third of a step
        return step * (self.feed.steps(training.epochs) + validation)

    def _trainer(self, depth: int, strategy: str) -> Trainer:
        return TRAINERS[strategy](self.build(depth), self.feed, self.experiment.training)


@lru_cache(maxsize=1)
def worker_context(specification: str, device: str | None) -> WorkerContext:
    """The context of this worker, which gets jobs of one experiment, most of them of one depth."""
    return WorkerContext(Experiment.from_toml(specification), device)


def run_block(block: Block) -> Outcome:
    """Train the block's replicas.

    Raises:
        InputError: data or a factory that cannot be used, or a training step that raises.
    """
    context = worker_context(block.specification, block.device)
    with translate_errors(block):
        runs = context.trainer(block.depth, block.strategy).runs(block.depth, block.lrs, block.seed)
    return Outcome(runs=tuple(runs), worker=this_worker(context.device), data_digest=context.data.digest)


@contextmanager
def translate_errors(block: Block) -> Iterator[None]:
    """Raise an error of the user's module as InputError that names the cells."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a user's module raises anything
        cells = f"depth {block.depth}, seed {block.seed}, learning rates {', '.join(f'{lr:g}' for lr in block.lrs)}"
        raise InputError(f"training failed at {cells}: {type(error).__name__}: {error}") from error


def try_strategies(specification: str, depth: int, device: str | None) -> Trial:
    """Time the strategies on the first steps of one depth."""
    context = worker_context(specification, device)
    return Trial(choice=context.choice(depth), data_digest=context.data.digest)


def this_worker(device: str) -> Worker:
    """Host, device, threads and versions of this process."""
    shown = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return Worker(host=platform.node(), device=shown, threads=torch.get_num_threads(), versions=versions())


def _as_argument(value: object) -> object:
    """TOML has no tuples: [5, 3] is the tuple of a rectangle's sides, [[0, 0], [0, 1]] a list of offsets."""
    if not isinstance(value, list):
        return value
    items = [_as_argument(item) for item in value]
    return items if items and all(isinstance(item, tuple) for item in items) else tuple(items)


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  (read line by line)
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
