"""Checks of the gate on draws that are resampled from pools, by the code that decides real checks.

Axes: draw, depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from gate_parts.pools import CORRECT, DEPTHS, Pool

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.gate.allowed import MOST_SEEDS, Allowed, Draws
from ammup.gate.curve import Curve, StoredCurve
from ammup.gate.decision import decide
from ammup.gate.enough_draws import measure_enough

SAME, OTHER = "same seeds", "other seeds"
INVALID = "invalid input"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a synthetic check returned.

    Attributes:
        outcome: "holds", "does not hold", "moved", "inconclusive", or "invalid input" (exit code 2).
        draws: weight draws at each depth.
        slope: the measured slope; NaN for invalid input.
    """

    outcome: str
    draws: int
    slope: float


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Draws of a pool in a random order.

    Attributes:
        pool: the pool.
        order: numbers of its draws, at least as many as a check may measure.
        root: the seed root that the draws stand for. A check and a baseline with the same root must have the same
            order: their draws are compared with each other.
    """

    pool: Pool
    order: Array
    root: int

    def curve(self, seeds: range, level: float) -> Curve:
        """The curve of the draws from the first seed of the root to the last of ``seeds``."""
        first = Draws(root=self.root).first_seed
        rows = self.pool.S_bar[self.order[: seeds.stop - first]]
        columns = dict(zip(DEPTHS, rows.T, strict=True))
        return Curve.from_draws(columns, first_seed=first, units=self.pool.units, level=level)


def record(rows: Rows, allowed: Allowed) -> tuple[StoredCurve, Outcome]:
    """A baseline, as it is recorded, and the outcome of the recording."""
    draws = Draws(root=rows.root)
    curve, _ = measure_enough(lambda seeds: rows.curve(seeds, allowed.level), allowed, draws, None)
    return curve.stored(), _outcome(curve, allowed, None)


def compare(rows: Rows, allowed: Allowed, stored: StoredCurve) -> Outcome:
    """The outcome of a check against a baseline; draws without a curve, such as infinite S̄, are invalid input."""
    draws = Draws(first=stored.draws, root=rows.root)
    try:
        curve, _ = measure_enough(lambda seeds: rows.curve(seeds, allowed.level), allowed, draws, stored)
    except InputError:
        return Outcome(outcome=INVALID, draws=stored.draws, slope=float("nan"))
    return _outcome(curve, allowed, stored)


def _outcome(curve: Curve, allowed: Allowed, stored: StoredCurve | None) -> Outcome:
    outcome = decide(curve, allowed, stored).outcome
    return Outcome(outcome=outcome, draws=curve.draws, slope=curve.power_law.slope)


def order(size: int, rng: np.random.Generator) -> Array:
    """The numbers of a pool in random order; numbers are repeated only where a check needs more than there are."""
    rounds = 1 + MOST_SEEDS // size
    return np.concatenate([rng.permutation(size) for _ in range(rounds)])


def correct_checks(pool: Pool, allowed: Allowed, number: int, seed: int) -> Iterator[tuple[Outcome, Outcome]]:
    """Recordings of a correct model, each with a check of the same model with other draws.

    The draws of the check are those of the pool that the baseline does not have, as long as there are enough.
    """
    rng = np.random.default_rng(seed)
    for _ in range(number):
        mixed = order(pool.size, rng)
        stored, recorded = record(Rows(pool=pool, order=mixed, root=0), allowed)
        first = mixed[: pool.size]
        others = np.resize(first[::-1], len(mixed))  # from the end: disjoint from those of the baseline
        yield recorded, compare(Rows(pool=pool, order=others, root=1), allowed, stored)


def fault_checks(
    variants: dict[str, Pool], fault: str, allowed: Allowed, number: int, seed: int
) -> Iterator[tuple[Outcome, Outcome]]:
    """Checks of a faulty model against baselines of the correct one: with the same seeds, and with other ones."""
    correct, faulty = variants[CORRECT], variants[fault]
    if faulty.error:
        for _ in range(number):
            yield (Outcome(outcome=INVALID, draws=0, slope=float("nan")),) * 2
        return
    rng = np.random.default_rng(seed)
    for _ in range(number):
        paired = order(min(correct.size, faulty.size), rng)
        stored, _ = record(Rows(pool=correct, order=paired, root=0), allowed)
        same = compare(Rows(pool=faulty, order=paired, root=0), allowed, stored)
        stored, _ = record(Rows(pool=correct, order=order(correct.size, rng), root=0), allowed)
        other = compare(Rows(pool=faulty, order=order(faulty.size, rng), root=1), allowed, stored)
        yield same, other
