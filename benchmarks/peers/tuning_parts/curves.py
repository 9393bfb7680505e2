"""Stored full grids as curves over the learning rate: the families that methods are replayed on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ammup.tuning.settings import RunSetting

from .real_runs import BATCH, PARTS, RANGE, RUNGS, STEPS
from .recipes import RECIPES, Recipe
from .records import GRID, RANGE_TEST, Record, read

if TYPE_CHECKING:  # tests import this package by another path
    from benchmarks.tracked.search import Grids

CHANCE = 0.1
# Weights of neighbouring rates in a smoothed curve, for both spacings about 0.2 decades wide (standard deviation).
SMOOTH = {True: (0.2, 0.2, 0.2, 0.2, 0.2), False: (0.25, 0.5, 0.25)}
FINE = 0.2  # decades; grids with less between neighbours are smoothed over five rates
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The stored runs of one family, depth and seed. Values between two rates are interpolated in log η.

    Attributes:
        u: log10 of the learning rates, [R].
        accuracy: what a method sees after a complete run, chance where a run diverged, [R].
        test: what a method is evaluated by, [R]; in families without test images, the accuracy.
        losses: mean training loss of each part of a run, infinite after divergence, [R, P].
        scores: what a pruner sees at each rung, [R, K]: validation accuracy or, if it is not stored, minus the loss.
        steps: steps of a complete run.
    """

    u: Array
    accuracy: Array
    test: Array
    losses: Array
    scores: Array
    steps: int

    def accuracy_at(self, lr: float) -> float:
        """Accuracy at any learning rate; outside the grid, that of its end."""
        return float(np.interp(math.log10(lr), self.u, self.accuracy))

    def test_at(self, lr: float) -> float:
        """Test accuracy at any learning rate; outside the grid, that of its end."""
        return float(np.interp(math.log10(lr), self.u, self.test))

    def losses_at(self, lr: float) -> Array:
        """Losses at any learning rate; infinite where a neighbour diverged."""
        return np.where(np.isnan(mixed := self._between(self.losses, lr)), np.inf, mixed)

    def scores_at(self, lr: float) -> Array:
        """Scores at any learning rate; minus infinity where a neighbour diverged."""
        return np.where(np.isnan(mixed := self._between(self.scores, lr)), -np.inf, mixed)

    def _between(self, rows: Array, lr: float) -> Array:
        place = float(np.interp(math.log10(lr), self.u, np.arange(self.u.size)))
        low = min(int(place), self.u.size - 2)
        weight = place - low
        if weight == 0:
            return rows[low]
        with np.errstate(invalid="ignore"):
            return (1 - weight) * rows[low] + weight * rows[low + 1]

    def smoothed(self, values: Array) -> Array:
        """A moving mean over neighbouring rates, [R]."""
        weights = np.array(SMOOTH[float(np.diff(self.u).mean()) < FINE])
        return np.convolve(np.pad(values, weights.size // 2, mode="edge"), weights, "valid")

    @property
    def best(self) -> float:
        """The optimum of the smoothed accuracy."""
        return float(10 ** self.u[int(np.argmax(self.smoothed(self.accuracy)))])


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family that methods are replayed on.

    Attributes:
        name: of the family.
        group: families of a group are averaged.
        seeds: curves by seed and depth.
        setting: how it is trained, as a user states it.
        others: runs that are no curves, by kind, seed and depth: range tests and optimizers without a learning rate.
    """

    name: str
    group: str
    seeds: Mapping[int, Mapping[int, Curves]]
    setting: RunSetting | None
    others: Mapping[tuple[str, int, int], Record]

    @property
    def depths(self) -> tuple[int, ...]:
        """The base depth and the targets."""
        return tuple(sorted(next(iter(self.seeds.values()))))


def families(grids: "Grids") -> tuple[Family, ...]:
    """All families of plain SGD with two seeds or more, and those of users' recipes with a complete seed.

    Users' recipes have test images, so that one seed can be evaluated by what no method sees.
    """
    users = [family_of(recipe, runs) for recipe in RECIPES.values() if (runs := read(recipe.name))]
    return (*(f for f in _plain(grids) if len(f.seeds) > 1), *(f for f in users if f.seeds))


def _plain(grids: "Grids") -> list[Family]:
    """The families of baselines/sweeps: 16 channels, one epoch of plain SGD at a constant rate."""
    found = dict[str, dict[int, dict[int, Curves]]]()
    for row, name in enumerate(grids.experiment.tolist()):
        stored = grids.losses[row].astype(np.float64)
        losses = np.where(np.isfinite(stored), stored, np.inf)
        accuracy = np.where(grids.accuracy[row] < 0, CHANCE, grids.accuracy[row])
        curves = Curves(
            u=np.log10(grids.lrs[row]), accuracy=accuracy, test=accuracy, losses=losses, scores=-losses,
            steps=int(grids.steps[row].max()),
        )  # fmt: skip
        found.setdefault(name, {}).setdefault(int(grids.seed[row]), {})[int(grids.depth[row])] = curves
    return [
        Family(name=name.removesuffix("-cifar10-small"), group="plain SGD", seeds=seeds, setting=None, others={})
        for name, seeds in found.items()
    ]


def family_of(recipe: Recipe, records: Iterable[Record]) -> Family:
    """The family of a recipe: seeds with complete grids at both ends, and the depths complete in all of them."""
    cells: dict[tuple[int, int], list[Record]] = {}
    others: dict[tuple[str, int, int], Record] = {}
    for record in records:
        if record.kind == GRID:
            cells.setdefault((record.seed, record.depth), []).append(record)
        else:
            others[record.kind, record.seed, record.depth] = record
    complete = {cell for cell, runs in cells.items() if len(runs) == len(recipe.lrs)}
    ends = recipe.depths[0], recipe.depths[-1]
    numbers = [seed for seed in sorted({seed for seed, _ in cells}) if all((seed, depth) in complete for depth in ends)]
    depths = [depth for depth in recipe.depths if all((seed, depth) in complete for seed in numbers)]
    seeds = {seed: {depth: _curves(cells[seed, depth]) for depth in depths} for seed in numbers}
    setting = RunSetting(
        optimizer=recipe.optimizer, momentum=recipe.momentum if recipe.optimizer == "sgd" else None,
        weight_decay=recipe.weight_decay, schedule="cosine", batch_size=BATCH,
    )  # fmt: skip
    return Family(name=recipe.name, group=recipe.name, seeds=seeds, setting=setting, others=others)


def _curves(records: Sequence[Record]) -> Curves:
    rows = sorted(records, key=lambda record: record.lr)
    finals = [row.scores[-1] if row.test is not None else CHANCE for row in rows]
    return Curves(
        u=np.log10([row.lr for row in rows]),
        accuracy=np.array(finals),
        test=np.array([CHANCE if row.test is None else row.test for row in rows]),
        losses=np.array([row.losses + (math.inf,) * (PARTS - len(row.losses)) for row in rows]),
        scores=np.array([row.scores + (-math.inf,) * (RUNGS - len(row.scores)) for row in rows]),
        steps=STEPS,
    )


def range_curve(family: Family, seed: int, depth: int) -> tuple[Array, Array] | None:
    """(Learning rates, smoothed losses) of a range test, or None if it was not made."""
    record = family.others.get((RANGE_TEST, seed, depth))
    if record is None:
        return None
    low, high = RANGE
    share = np.arange(len(record.losses)) / (record.steps - 1)
    return low * (high / low) ** share, np.array(record.losses)
