"""The grid of a sweep: depths, learning rates and seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ammup.errors import InputError
from ammup.stats.depths import checked_depths
from ammup.training.runs import check_grid, seed_numbers

# A larger grid is rejected as a mistake, because the keys of its cells would not fit in memory.
MAX_CELLS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class LogSpace:
    """``points`` learning rates from ``low`` to ``high``, equally spaced in their logarithm."""

    low: float = 1e-4
    high: float = 1e1
    points: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf or self.points < 1 or (self.points == 1) != (self.low == self.high):
            raise InputError(
                f"lrs low={self.low}, high={self.high}, points={self.points}: expected 0 < low < high and points of at "
                "least 2, or low = high and points = 1"
            )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a sweep: all combinations of depth, learning rate and seed.

    Attributes:
        depths: distinct values of L.
        lrs: learning rates, log-spaced or as a list. The default is that of the paper, 40 values from 1e-4 to 1e1.
        seeds: number of seeds, which are then 0, 1, …, or a list of seeds.
    """

    depths: tuple[int, ...]
    lrs: LogSpace | tuple[float, ...] = LogSpace()
    seeds: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        checked_depths(self.depths)
        if self.size > MAX_CELLS:
            raise InputError(f"the grid has {self.size} cells; expected at most {MAX_CELLS}")
        check_grid(self.learning_rates, self.seed_numbers)

    @property
    def size(self) -> int:
        """Number of cells."""
        points = self.lrs.points if isinstance(self.lrs, LogSpace) else len(self.lrs)
        return len(self.depths) * points * (self.seeds if isinstance(self.seeds, int) else len(self.seeds))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Learning rates, rounded to 12 digits, so that equal points of different grids have the same key."""
        if isinstance(self.lrs, LogSpace):
            values: Sequence[float] = np.geomspace(self.lrs.low, self.lrs.high, self.lrs.points).tolist()
        else:
            values = self.lrs
        return tuple(float(f"{lr:.12g}") for lr in values)

    @property
    def axes(self) -> dict[str, list[float]]:
        """The values of each axis, ascending. Grids with the same cells have the same axes."""
        values = {"depths": self.depths, "lrs": self.learning_rates, "seeds": self.seed_numbers}
        return {name: sorted(numbers) for name, numbers in values.items()}

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """Seeds as numbers."""
        return seed_numbers(self.seeds)
