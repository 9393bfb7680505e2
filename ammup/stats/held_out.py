"""Accuracy of transferred learning rates out of sample: chosen on some seeds, measured on the others.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb

import numpy as np
import pandas as pd

from ammup.arrays import Array
from ammup.stats.peak import SeedCurves

# η* by depth, up to a factor, or a function that estimates it from runs with the given seeds only.
Law = Mapping[int, float]
Rules = Mapping[str, Law | Callable[[tuple[int, ...]], Law]]

# An additional rule, which predicts the swept optimum of each depth.
SWEPT = "swept"
# With more splits than this, that many are drawn at random (from a fixed seed).
MOST_SPLITS = 128
# With more splits than this, they are too many to be listed, and they are drawn without a list: 4 or more, such that
# the number of splits times that of the seeds is at most 4096.
MOST_LISTED = 200_000
FEWEST_SPLITS, MOST_SPLIT_SEEDS = 4, 4096
OFF_BY = 2.0
COLUMNS = ("rule", "depth", "held_out_accuracy", "held_out", "off_by_two")


def splits(seeds: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All divisions of the seeds into (seeds to choose on, seeds to measure on), of equal size or different by one.

    Example:
        >>> from ammup.stats.held_out import splits
        >>> splits([0, 1, 2])[:2]
        [((0,), (1, 2)), ((1,), (0, 2))]
    """
    n = len(seeds)
    sizes = sorted({n // 2, n - n // 2} - {0, n})
    every: Iterable[tuple[int, ...]] = chain.from_iterable(combinations(range(n), size) for size in sizes)
    total = sum(comb(n, size) for size in sizes)
    if total > MOST_LISTED:
        every = _random_halves(n)
    elif total > MOST_SPLITS:
        places = set(np.random.default_rng(0).choice(total, MOST_SPLITS, replace=False).tolist())
        every = (chosen for place, chosen in enumerate(every) if place in places)
    return [_division(seeds, set(chosen)) for chosen in every]


def _division(seeds: Sequence[int], chosen: set[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(The seeds at these places, the others)."""
    ordered = sorted(chosen)
    return tuple(seeds[i] for i in ordered), tuple(seed for i, seed in enumerate(seeds) if i not in chosen)


def _random_halves(n: int) -> Iterator[tuple[int, ...]]:
    """Random halves of many seeds. A division of many seeds has little noise, so fewer are needed."""
    rng = np.random.default_rng(0)
    for number in range(max(FEWEST_SPLITS, min(MOST_SPLITS, MOST_SPLIT_SEEDS // n))):
        size = (n + number % 2) // 2  # both sizes if n is odd
        yield tuple(sorted(rng.choice(n, size, replace=False).tolist()))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The settings of a comparison out of sample.

    Attributes:
        rules: for each rule η* by depth, or a function from seeds to it.
        base: the depth where the learning rate is tuned.
        kind: "smoothed" or "argmax", the optimum that is transferred.
    """

    rules: Rules
    base: int
    kind: str

    def table(self, curves: Mapping[int, SeedCurves]) -> pd.DataFrame:
        """One row for each rule and depth except the base, with means over all splits.

        Columns: rule; depth; held_out_accuracy, at the predicted rate; held_out, the accuracy lost relative to that of
        the rate that is tuned at this depth on the same seeds; off_by_two, the same if the prediction is wrong by a
        factor of two, the worse of both directions. There are no rows with fewer than two seeds.
        """
        seeds = sorted({int(seed) for one in curves.values() for seed in one.seeds})
        parts = [row for chosen, others in splits(seeds) for row in self._split(curves, chosen, others)]
        if not parts:
            return pd.DataFrame(columns=list(COLUMNS))
        columns = ["rule", "depth", "tuned", "here", "below", "above"]
        means = pd.DataFrame(parts, columns=columns).groupby(["rule", "depth"], sort=False).mean()
        table = pd.DataFrame(
            {
                "held_out_accuracy": means["here"],
                "held_out": _lost(means["here"], means["tuned"]),
                "off_by_two": _lost(means[["below", "above"]].min(axis=1), means["tuned"]),
            }
        )
        return table.reset_index()[list(COLUMNS)]

    def _split(
        self, curves: Mapping[int, SeedCurves], chosen: tuple[int, ...], others: tuple[int, ...]
    ) -> Iterator[tuple[str, int, float, float, float, float]]:
        """(Rule, depth, accuracy at the tuned rate, at the predicted one, at half of it, at twice it) of one split."""
        on = {depth: one.without(np.array(others)) for depth, one in curves.items()}
        if any(not _trained(one) for one in on.values()):
            return
        swept = {depth: one.tuned_lr(self.kind) for depth, one in on.items()}
        measured = {depth: (np.log(one.lrs), _accuracy(one.without(np.array(chosen)))) for depth, one in curves.items()}
        for rule, law in {**self.rules, SWEPT: swept}.items():
            values = law(chosen) if callable(law) else law
            for depth in curves:
                if depth == self.base or depth not in values:
                    continue
                lr = swept[depth] if rule == SWEPT else swept[self.base] * values[depth] / values[self.base]
                rates = np.log([swept[depth], lr, lr / OFF_BY, lr * OFF_BY])
                tuned, here, below, above = np.interp(rates, *measured[depth]).tolist()
                yield rule, depth, tuned, here, below, above


def _lost(accuracy: pd.Series, tuned: pd.Series) -> pd.Series:
    """The relative loss; 0 if nothing is trained."""
    return (1 - accuracy / tuned.where(tuned > 0)).fillna(0.0)


def _trained(curves: SeedCurves) -> bool:
    """Whether a learning rate trained without divergence on every seed."""
    return bool((np.isfinite(curves.accuracy) & ~curves.diverged.any(axis=0)).any())


def _accuracy(curves: SeedCurves) -> Array:
    """Mean accuracy over seeds at each learning rate, [P]; a diverged replica counts with the lowest mean."""
    known = np.isfinite(curves.accuracy) & ~curves.diverged
    sums = np.where(known, curves.accuracy, 0.0).sum(axis=0)
    clean = known.any(axis=0) & ~curves.diverged.any(axis=0)
    lowest = float((sums / np.maximum(known.sum(axis=0), 1))[clean].min()) if clean.any() else 0.0
    values = np.where(known, curves.accuracy, np.where(curves.diverged, lowest, np.nan))
    count = np.isfinite(values).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), lowest)
