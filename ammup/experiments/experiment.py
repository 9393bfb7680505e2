"""The definition of a sweep as frozen dataclasses that are read from and written to TOML, and the keys of its cells."""

import copy
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tomli_w
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ammup.data.names import CLASSES, NAMES
from ammup.errors import InputError, check_known
from ammup.experiments.changes import apply_change, name_suffix
from ammup.experiments.grid import Grid
from ammup.format import brief_repr, count_text, range_text
from ammup.parsing import parse_toml
from ammup.stats.segment import Segment
from ammup.training.runs import STRATEGIES, Training, check_grid
from ammup.validation import problems

SEARCHES = ("full", "adaptive")

# Part of every content key. Increase it when a change of the code changes the results of a cell.
KEY_VERSION = 1
# The tables of an experiment on which the results of its cells depend.
IDENTITY = ("model", "data", "training")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A factory and its arguments.

    Attributes:
        factory: "mlp", "cnn", "resnet", or "package.module:callable".
        arguments: keyword arguments of the factory, except depth and seed.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            json.dumps(self.arguments, allow_nan=False, default=str)
        except ValueError as error:
            raise InputError(f"arguments={self.arguments} contain NaN or infinity; expected finite numbers") from error


@dataclass(frozen=True, kw_only=True)
class Source:
    """Arguments of :func:`ammup.load_data`; ``train`` and ``validation`` are image counts.

    ``arguments`` are those of a source "package.module:function", ``columns`` the names of its inputs and labels.
    """

    source: str
    image_size: int | None = None
    train: int | None = None
    validation: int | None = None
    seed: int = 0
    columns: tuple[str, str] | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def chance(self) -> float | None:
        """Accuracy of a guess in data sets whose number of classes follows from their name, or None."""
        classes = CLASSES.get(str(self.identity["source"]))
        return None if classes is None else 1 / classes

    @property
    def identity(self) -> dict[str, Any]:
        """The arguments that are part of a cell's key. Of a path, only the last component is included.

        The other components may differ between machines. The store has a digest of the content of the data.
        """
        name = self.source if self.source in NAMES else Path(self.source).name
        return {**_to_plain(Source, self), "source": name}


@dataclass(frozen=True, kw_only=True)
class ShortRun:
    """Measurements of S̄ along short runs of each depth, for the rules "measured" and "measured-late".

    Attributes:
        lr: learning rate of all short runs; choose one at which none of them diverges.
        steps: numbers of training steps before each measurement; 0 is initialization.
        seeds: number of short runs at each depth. Their seeds are 0, 1, …, independent of the grid.
        draws: number of seeds 0, 1, … that are measured at initialization, which needs no training.
    """

    lr: float
    steps: tuple[int, ...]
    seeds: int = 2
    draws: int = 16

    def __post_init__(self) -> None:
        check_grid((self.lr,), (0,))
        if not self.steps or min(self.steps) < 0 or len(set(self.steps)) < len(self.steps):
            raise InputError(f"short_run.steps={list(self.steps)}: expected distinct step numbers of at least 0")
        if self.seeds < 0 or self.draws < 0:
            raise InputError(f"short_run.seeds={self.seeds}, short_run.draws={self.draws}: expected at least 0")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One replica of an experiment, and the content key of its run in a store."""

    key: str
    depth: int
    lr: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A learning-rate sweep.

    Attributes:
        name: identifies the experiment in a store.
        model: the factory and its arguments.
        data: the training and validation data.
        grid: depths, learning rates and seeds.
        training: batch size, epochs, dtype, optimizer, schedule, augmentation, …, see
            :class:`ammup.training.runs.Training`; the defaults are those of the paper.
        strategy: "auto", "loop" or "stacked", see :func:`ammup.train_replicas`. It affects results only by rounding and
            is not part of the cells' keys.
        search: "full" trains all cells of the grid. "adaptive" starts around the measured η* of each depth and seed,
            and stops learning rates that are unlikely to be the best, see
            :func:`ammup.stats.search.adaptive_search`. It is not part of the cells' keys.
        segments: depths whose optima predict those of other depths, for `ammup fit`.
        short_run: measurements in addition to the grid, or None. It is not part of the cells' keys.
        paper_slope: the slope that the paper reports, or None. It is not part of the cells' keys.

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

    # Also applies to the dataclasses of the fields.
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

    def __repr__(self) -> str:
        rates = self.grid.learning_rates
        return brief_repr(
            self,
            repr(self.name),
            f"{self.model.factory} on {self.data.source}",
            f"depths {range_text(self.grid.depths)}",
            f"lrs {range_text(rates)}",
            count_text(len(self.grid.seed_numbers), "seed"),
            count_text(self.training.epochs, "epoch"),
            arguments=self.model.arguments,
            search=self.search,
        )

    def __post_init__(self) -> None:
        check_known("strategy", self.strategy, STRATEGIES)
        check_known("search", self.search, SEARCHES)
        if not self.name:
            raise InputError("name is empty; give the experiment a name")
        optimizer = self.training.optimizer
        if self.strategy == "stacked" and not self.training.plain:
            raise InputError("strategy='stacked' is for SGD at a constant learning rate; use 'loop' or 'auto'")
        if self.short_run is not None and optimizer is not None and optimizer.name != "SGD":
            raise InputError(
                f"short_run measures steps of SGD, and training.optimizer is {optimizer.name}; remove one of them"
            )

    @classmethod
    def from_toml(cls, text: str, *, changes: Sequence[str] = ()) -> "Experiment":
        """Create an experiment from TOML text.

        Args:
            text: TOML.
            changes: settings that override those of the text, such as "grid.seeds=3". The value is TOML. Changes on
                which the results of cells depend are added to the name, such as "demo+width=32", unless a change sets
                the name.

        Raises:
            InputError: the text is not TOML, a setting is unknown or missing, or a value has the wrong type or is out
                of range. All invalid settings are listed, in one line.
        """
        return cls.from_dict(parse_toml(text), changes=changes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, changes: Sequence[str] = ()) -> "Experiment":
        """Create an experiment from parsed TOML; the other argument and the errors are those of :meth:`from_toml`."""
        changed = copy.deepcopy(dict(content))
        for change in changes:
            apply_change(changed, change)
        experiment = cls._validated(changed)
        if not changes or changed.get("name") != content.get("name"):
            return experiment
        try:
            before, after = cls._validated(content).identity, experiment.identity
        except InputError:  # the text is an experiment only with the changes
            before, after = ({name: table[name] for name in IDENTITY if name in table} for table in (content, changed))
        return replace(experiment, name=experiment.name + name_suffix(before, after, key=experiment.key[:8]))

    @classmethod
    def _validated(cls, content: Mapping[str, Any]) -> "Experiment":
        try:
            # pydantic's strict JSON mode accepts lists as tuples and integers as floats, but never strings as numbers.
            return TypeAdapter(cls).validate_json(json.dumps(content, default=str))
        except ValidationError as error:
            raise InputError("; ".join(problems(error))) from error

    def to_dict(self) -> dict[str, Any]:
        """Convert the experiment to dicts, lists and values for TOML.

        Settings that are None are omitted. ``search`` is omitted if it is "full", because earlier versions reject it.
        """
        plain = _to_plain(Experiment, self)
        if self.search == "full":
            del plain["search"]
        return plain

    def to_toml(self) -> str:
        """Convert the experiment to TOML text, from which :meth:`from_toml` creates an equal experiment."""
        return tomli_w.dumps(self.to_dict())

    @property
    def identity(self) -> dict[str, Any]:
        """The settings on which the results of a cell depend, as dicts, lists and values for JSON."""
        values = (_to_plain(Model, self.model), self.data.identity, _to_plain(Training, self.training))
        return dict(zip(IDENTITY, values, strict=True))

    @cached_property
    def key(self) -> str:
        """The part of the content key that all cells share. It does not depend on the name or the grid."""
        return _digest({"version": KEY_VERSION, **self.identity})

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of the grid, deeper nets first, so that the longest jobs do not start last."""
        for depth in sorted(self.grid.depths, reverse=True):
            for seed in self.grid.seed_numbers:
                for lr in self.grid.learning_rates:
                    yield Cell(key=self.cell_key(depth, lr, seed), depth=depth, lr=lr, seed=seed)

    def cell_key(self, depth: int, lr: float, seed: int) -> str:
        """Return the content key of one cell. It does not depend on the other cells of the grid."""
        return _digest({"experiment": self.key, "depth": depth, "lr": lr, "seed": seed})

    def missing(self, done: Collection[str]) -> list[Cell]:
        """Return the cells of the grid whose keys are not in ``done``."""
        return [cell for cell in self.cells() if cell.key not in done]


def _to_plain(kind: type[Any], value: Any) -> dict[str, Any]:
    """Convert a dataclass to dicts, lists and JSON values, without values that are None."""
    plain: dict[str, Any] = TypeAdapter(kind).dump_python(value, mode="json", exclude_none=True)
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
