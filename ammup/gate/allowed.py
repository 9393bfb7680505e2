"""What a check of the depth exponent allows, and how many weight draws it measures."""

from dataclasses import dataclass

import numpy as np

from ammup.errors import InputError, check_level, checked_integer
from ammup.stats.equivalence import Region

# Weight draws at each depth: of the first measurement, and at most.
PILOT, MOST_SEEDS = 8, 256
# Distance between the first seeds of two seed roots.
SEEDS_PER_ROOT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The slopes that pass.

    Attributes:
        expected: the expected slope; None stands for the slope of the baseline or, for recording one, of the
            measurement itself.
        margin: half the width of the allowed region.
        level: two-sided confidence level of the intervals.
        max_depth_drift: the largest allowed difference between the slope of the deeper half of the depths and that of
            the shallower half, or None for no limit.

    Raises:
        InputError: a value that is not allowed.
    """

    expected: float | None
    margin: float
    level: float = 0.95
    max_depth_drift: float | None = None

    def __post_init__(self) -> None:
        if self.expected is not None and not np.isfinite(self.expected):
            raise InputError(f"expected={self.expected} must be finite: the slope, with its sign, such as -1.5")
        for name, value in {"margin": self.margin, "max_depth_drift": self.max_depth_drift}.items():
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name}={value} must be positive and finite")
        check_level(self.level)

    def region(self, measured: float) -> Region:
        """The allowed slopes, centred on ``expected``, or on a measured slope if ``expected`` is None."""
        return Region.around(measured if self.expected is None else self.expected, self.margin)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How many weight draws a check measures at each depth, and from which seeds.

    Attributes:
        seeds: their number, at least 2; None measures ``first`` and adds as many as are needed, up to 256.
        first: the number of the first measurement if ``seeds`` is None.
        root: the seed root; the seeds of different roots differ.

    Raises:
        InputError: a value that is not allowed.
    """

    seeds: int | None = None
    first: int = PILOT
    root: int = 0

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 2:
            raise InputError(
                f"seeds={self.seeds}: expected at least 2, or None to choose the number; one draw gives no interval"
            )
        checked_integer("seed_root", self.root, at_least=0)

    @property
    def first_seed(self) -> int:
        """The first seed of the root."""
        return self.root * SEEDS_PER_ROOT

    def seed_range(self, start: int, stop: int) -> range:
        """The seeds of the draws from number ``start`` to number ``stop`` - 1."""
        return range(self.first_seed + start, self.first_seed + stop)

    def next_number(self, measured: int, needed: int) -> int:
        """The number of draws to measure next, when ``measured`` exist and ``needed`` would suffice."""
        if self.seeds is not None or not 1 < measured < min(needed, MOST_SEEDS):
            return measured
        return min(MOST_SEEDS, max(needed, -(-5 * measured // 4)))  # at least a quarter more: each stage has a cost
