"""The grid of a sweep: depths, learning rates and seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ammup.errors import InputError
from ammup.stats.power_law import checked_depths
from ammup.training.runs import check_grid, seed_numbers

# Larger grids are a mistake, and their keys would fill the memory.
MOST_CELLS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class LogSpace:
    """``points`` learning rates from ``low`` to ``high``, equally spaced in their logarithm."""

    low: float = 1e-4
    high: float = 1e1
    points: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf or self.points < 1 or (self.points == 1) != (self.low == self.high):
            raise InputError(
                f"lrs from low={self.low} to high={self.high} with points={self.points} are not a grid; give "
                "0 < low < high, or low = high with points = 1"
            )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is trained: every depth at every learning rate from every seed.

    Attributes:
        depths: L, distinct.
        lrs: log-spaced, or listed. The default is the paper's: 40 from 1e-4 to 1e1.
        seeds: their number (0, 1, …), or a list.
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
        """Number of cells."""
        points = self.lrs.points if isinstance(self.lrs, LogSpace) else len(self.lrs)
        return len(self.depths) * points * (self.seeds if isinstance(self.seeds, int) else len(self.seeds))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates, rounded to 12 digits, so that equal points of different grids have the same key."""
        if isinstance(self.lrs, LogSpace):
            values: Sequence[float] = np.geomspace(self.lrs.low, self.lrs.high, self.lrs.points).tolist()
        else:
            values = self.lrs
        return tuple(float(f"{lr:.12g}") for lr in values)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return seed_numbers(self.seeds)
