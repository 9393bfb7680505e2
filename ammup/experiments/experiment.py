"""The definition of a sweep as frozen dataclasses, read from and written to TOML, and the content key of each cell."""

import copy
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tomli_w
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ammup.data.readers import NAMES
from ammup.errors import InputError, check_known
from ammup.experiments.grid import Grid
from ammup.parsing import parse_toml
from ammup.stats.segment import Segment
from ammup.training.runs import STRATEGIES, Training, check_grid
from ammup.validation import problems

SEARCHES = ("full", "adaptive")

# Part of every key; a change of the meaning of a cell needs a new version.
KEY_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A factory and its arguments.

    Attributes:
        factory: "mlp", "cnn", "resnet", or "package.module:callable".
        arguments: of the factory, except depth and seed.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            json.dumps(self.arguments, allow_nan=False, default=str)
        except ValueError as error:
            raise InputError(
                f"arguments={self.arguments} contain a number that is not finite; give a finite one"
            ) from error


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
        """The part of a cell's key: only the last part of a path, which differs between machines.

        The content of the data is compared with the digest in the store.
        """
        name = self.source if self.source in NAMES else Path(self.source).name
        return {**_plain(Source, self), "source": name}


@dataclass(frozen=True, kw_only=True)
class ShortRun:
    """S̄ measured along the first steps of some runs of each depth, for the rules "measured" and "measured-late".

    Attributes:
        lr: of the runs, one for all depths, at which none of them diverges.
        steps: training steps before each measurement; 0 is initialization.
        seeds: number of runs at each depth, with seeds from 0 on, independent of the grid's seeds.
        draws: number of seeds, from 0 on, that are measured at initialization, which needs no training.
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
        name: by which it is found in a store.
        model: factory and arguments.
        data: what it is trained on.
        grid: depths, learning rates, seeds.
        training: batch size, epochs, dtype, momentum and weight decay; the defaults are the paper's.
        strategy: "auto", "loop" or "stacked", see :func:`ammup.train_replicas`; it changes only rounding and is not
            part of a key.
        search: "full" trains the whole grid; "adaptive" begins around the measured η* of each depth and seed, and stops
            learning rates that will not be the best, see :func:`ammup.stats.search.adaptive_search`. Cells that
            it trains to the end have the same keys.
        segments: depths whose optimum predicts that of others, for `ammup fit`.
        short_run: what is measured in addition to the grid, or None; not part of a key.
        paper_slope: slope that the paper reports, or None; not part of a key.

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
        """The experiment of a TOML text, after changes such as "grid.seeds=3" (the value is TOML).

        Raises:
            InputError: not TOML, an unknown or missing name, or a value of the wrong type or out of range: all of
                them, in one line.
        """
        return cls.from_dict(parse_toml(text), changes=changes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, changes: Sequence[str] = ()) -> "Experiment":
        """The experiment of parsed TOML; arguments and errors as of :meth:`from_toml`."""
        changed = copy.deepcopy(dict(content))
        for change in changes:
            _apply(changed, change)
        try:
            # In pydantic's JSON mode a list is a tuple and an integer a float; a word is never a number.
            return TypeAdapter(cls).validate_json(json.dumps(changed, default=str))
        except ValidationError as error:
            raise InputError("; ".join(problems(error))) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain tables, lists and values, without None and without defaults that an earlier ammup rejects."""
        plain = _plain(Experiment, self)
        return plain if self.search != "full" else {name: value for name, value in plain.items() if name != "search"}

    def to_toml(self) -> str:
        """TOML that :meth:`from_toml` reads as the same experiment."""
        return tomli_w.dumps(self.to_dict())

    @cached_property
    def key(self) -> str:
        """The part of the key that all cells share; it does not depend on the name or the grid."""
        return _digest(
            {
                "version": KEY_VERSION,
                "model": _plain(Model, self.model),
                "data": self.data.identity,
                "training": _plain(Training, self.training),
            }
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell of the grid, deeper nets first, so that the longest jobs are not the last ones."""
        for depth in sorted(self.grid.depths, reverse=True):
            for seed in self.grid.seed_numbers:
                for lr in self.grid.learning_rates:
                    yield Cell(key=self.cell_key(depth, lr, seed), depth=depth, lr=lr, seed=seed)

    def cell_key(self, depth: int, lr: float, seed: int) -> str:
        """The content key of one cell: it does not change when the grid grows."""
        return _digest({"experiment": self.key, "depth": depth, "lr": lr, "seed": seed})

    def missing(self, done: Collection[str]) -> list[Cell]:
        """The cells whose keys are not in ``done``."""
        return [cell for cell in self.cells() if cell.key not in done]


def _plain(kind: type[Any], value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = TypeAdapter(kind).dump_python(value, mode="json", exclude_none=True)
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _apply(content: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    *tables, name = path.strip().split(".")
    if not equals or not name:
        raise InputError(f"{change!r} is not of the form TABLE.NAME=VALUE, such as grid.seeds=3")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except InputError:
        value = text  # text without quotes, which a shell removes
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise InputError(f"{change!r}: {table} is not a table; use a path such as grid.seeds")
    content[name] = value
