"""What a sweep is: frozen dataclasses, read from TOML and written as TOML, and the content key of each of its cells."""

import copy
import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tomli_w
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ammup.data.readers import NAMES
from ammup.errors import InputError, check_known
from ammup.parsing import parse_toml
from ammup.stats.power_law import checked_depths
from ammup.stats.segment import Segment
from ammup.training.runs import STRATEGIES, Training, check_grid, seed_numbers

SEARCHES = ("full", "adaptive")

# More than anybody trains; what is beyond is a slip, and would fill the memory with keys.
MOST_CELLS = 10_000_000

# Part of every key: a change of what a cell means makes all keys new.
KEY_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A factory and its arguments.

    Attributes:
        factory: "mlp", "cnn", "resnet", or a user's own "package.module:callable".
        arguments: of the factory, beside depth and seed.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            json.dumps(self.arguments, allow_nan=False, default=str)
        except ValueError as error:
            raise InputError(f"arguments={self.arguments} hold a number that is not finite") from error


@dataclass(frozen=True, kw_only=True)
class Source:
    """Arguments of :func:`ammup.load_data`; ``train`` and ``validation`` are image counts."""

    source: str
    image_size: int | None = None
    train: int | None = None
    validation: int | None = None
    seed: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What goes into a cell's key: of a path its last part only, since the same data lie elsewhere elsewhere.

        That the content is the same as well is checked with the digest that the store keeps.
        """
        name = self.source if self.source in NAMES else Path(self.source).name
        return {**_plain(Source, self), "source": name}


@dataclass(frozen=True, kw_only=True)
class LogSpace:
    """``points`` learning rates from ``low`` to ``high``, equally spaced in their logarithm."""

    low: float = 1e-4
    high: float = 1e1
    points: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf or self.points < 1 or (self.points == 1) != (self.low == self.high):
            raise InputError(f"lrs from low={self.low} to high={self.high} with points={self.points} are no grid")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is trained: every depth at every learning rate from every seed.

    Attributes:
        depths: L, distinct.
        lrs: log-spaced, or listed. The default is the paper's: 40 from 1e-4 to 1e1.
        seeds: how many (0, 1, …), or which.
    """

    depths: tuple[int, ...]
    lrs: LogSpace | tuple[float, ...] = LogSpace()
    seeds: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        checked_depths(self.depths)
        if self.size > MOST_CELLS:
            raise InputError(f"a grid of {self.size} cells; at most {MOST_CELLS} are allowed")
        check_grid(self.learning_rates, self.seed_numbers)

    @property
    def size(self) -> int:
        """How many cells there are."""
        points = self.lrs.points if isinstance(self.lrs, LogSpace) else len(self.lrs)
        return len(self.depths) * points * (self.seeds if isinstance(self.seeds, int) else len(self.seeds))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates, rounded to 12 digits, so that a point has one name in every grid that holds it."""
        if isinstance(self.lrs, LogSpace):
            values: Sequence[float] = np.geomspace(self.lrs.low, self.lrs.high, self.lrs.points).tolist()
        else:
            values = self.lrs
        return tuple(float(f"{lr:.12g}") for lr in values)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return seed_numbers(self.seeds)


@dataclass(frozen=True, kw_only=True)
class ShortRun:
    """S̄ measured along the first steps of some runs of each depth, for the rules "measured" and "measured-late".

    Attributes:
        lr: of the runs, one for all depths, at which none of them diverges.
        steps: training steps before each measurement; 0 is initialization.
        seeds: how many runs a depth, of seeds from 0 on; the grid's seeds play no part.
        draws: seeds from 0 on that are measured at initialization, where no training has to be paid for.
    """

    lr: float
    steps: tuple[int, ...]
    seeds: int = 2
    draws: int = 16

    def __post_init__(self) -> None:
        check_grid((self.lr,), (0,))
        if not self.steps or min(self.steps) < 0 or len(set(self.steps)) < len(self.steps):
            raise InputError(f"short_run.steps={list(self.steps)} must be distinct step numbers from 0 on")
        if self.seeds < 0 or self.draws < 0:
            raise InputError(f"short_run.seeds={self.seeds} and short_run.draws={self.draws} must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One replica of an experiment, and the key under which its run is stored."""

    key: str
    depth: int
    lr: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A learning-rate sweep.

    Attributes:
        name: by which people find it in a store.
        model: factory and arguments.
        data: what it is trained on.
        grid: depths, learning rates, seeds.
        training: batch size, epochs, dtype, momentum and weight decay; the defaults are the paper's.
        strategy: "auto", "loop" or "stacked", see :func:`ammup.train_replicas`; it changes rounding only and is no part
            of a key.
        search: "full" trains the whole grid; "adaptive" begins around the measured η* of each depth and seed, and drops
            learning rates that will not be the best, see :func:`ammup.stats.search.adaptive_search`. What it trains
            to the end are cells of the same keys.
        segments: depths whose optimum predicts that of others, for `ammup fit`.
        short_run: what is measured beside the grid, if anything; no part of a key.
        paper_slope: slope that the paper reports for it, if it does; no part of a key.

    Example:
        >>> from ammup.experiments.experiment import Experiment
        >>> experiment = Experiment.from_toml('''
        ... name = "demo"
        ... [model]
        ... factory = "cnn"
        ... arguments = {width = 16}
        ... [data]
        ... source = "synthetic"
        ... [grid]
        ... depths = [3, 4]
        ... seeds = 2
        ... ''')
        >>> len(list(experiment.cells()))
        160
        >>> Experiment.from_toml(experiment.to_toml()) == experiment
        True
    """

    # Of this class and of those inside it.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    model: Model
    data: Source
    grid: Grid
    training: Training = field(default_factory=Training)
    strategy: str = "auto"
    search: str = "full"
    segments: tuple[Segment, ...] = ()
    short_run: ShortRun | None = None
    paper_slope: float | None = None

    def __post_init__(self) -> None:
        check_known("strategy", self.strategy, STRATEGIES)
        check_known("search", self.search, SEARCHES)
        if not self.name:
            raise InputError("name is empty; give the experiment a name")

    @classmethod
    def from_toml(cls, text: str, *, changes: Sequence[str] = ()) -> "Experiment":
        """The experiment that the text says, each change ("grid.seeds=3", the value in TOML) put into it first.

        Raises:
            InputError: not TOML, an unknown or missing name, a value of the wrong type or out of range: all of them, a
                line each.
        """
        return cls.from_dict(parse_toml(text), changes=changes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, changes: Sequence[str] = ()) -> "Experiment":
        """The experiment that the tables of a TOML say; arguments and errors as of :meth:`from_toml`."""
        changed = copy.deepcopy(dict(content))
        for change in changes:
            _put(changed, change)
        try:
            # In pydantic's JSON mode a list is a tuple and a whole number a float; a word is never a number.
            return TypeAdapter(cls).validate_json(json.dumps(changed, default=str))
        except ValidationError as error:
            raise InputError("; ".join(_problems(error))) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain tables, lists and values, without None and without a default that an earlier ammup does not know."""
        plain = _plain(Experiment, self)
        return plain if self.search != "full" else {name: value for name, value in plain.items() if name != "search"}

    def to_toml(self) -> str:
        """TOML that :meth:`from_toml` reads as the same experiment."""
        return tomli_w.dumps(self.to_dict())

    @cached_property
    def key(self) -> str:
        """What all cells of the experiment share: it does not depend on its name or on its grid."""
        return _digest(
            {
                "version": KEY_VERSION,
                "model": _plain(Model, self.model),
                "data": self.data.identity,
                "training": _plain(Training, self.training),
            }
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell of the grid, deeper nets first: what takes longest is not left for the end."""
        for depth in sorted(self.grid.depths, reverse=True):
            for seed in self.grid.seed_numbers:
                for lr in self.grid.learning_rates:
                    yield Cell(key=self.cell_key(depth, lr, seed), depth=depth, lr=lr, seed=seed)

    def cell_key(self, depth: int, lr: float, seed: int) -> str:
        """The content key of one cell: it does not change when the grid grows."""
        return _digest({"experiment": self.key, "depth": depth, "lr": lr, "seed": seed})

    def missing(self, done: Collection[str]) -> list[Cell]:
        """The cells whose keys are not among those that are done."""
        return [cell for cell in self.cells() if cell.key not in done]


def _plain(kind: type[Any], value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = TypeAdapter(kind).dump_python(value, mode="json", exclude_none=True)
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _put(content: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    *tables, name = path.strip().split(".")
    if not equals or not name:
        raise InputError(f"{change!r} is not of the form TABLE.NAME=VALUE, such as grid.seeds=3")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except InputError:
        value = text  # a word without its quotes, which a shell takes away
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise InputError(f"{change!r}: {table} is no table")
    content[name] = value


def _problems(error: ValidationError) -> Iterator[str]:
    """One line for each thing that is wrong, where it is first."""
    for problem in error.errors(include_url=False):
        # Of a union pydantic names the branch as well, a type's name; people look for the place in their file.
        where = ".".join(
            str(part) for part in problem["loc"] if "[" not in str(part) and part not in ("int", "LogSpace")
        )
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "unexpected_keyword_argument":
            message = "there is no such setting"
        elif problem["type"] == "missing":
            message = "is missing"
        elif "input" in problem and not isinstance(problem["input"], dict):
            message = f"{message} ({problem['input']!r} was given)"
        yield f"{where}: {message}" if where else message
