"""Accuracy of transferred learning rates out of sample: chosen on some seeds, measured on the others.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from math import comb

import numpy as np
import pandas as pd

from ammup.arrays import Array
from ammup.stats.peak import SeedCurves
from ammup.stats.subsets import mean_accuracies, trained, tuned_lrs

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
    return [_division(seeds, set(chosen)) for chosen in _chosen(len(seeds))]


@lru_cache(8)  # every jackknife replicate has the same number of seeds
def _chosen(n: int) -> tuple[tuple[int, ...], ...]:
    """The places of the seeds to choose on, for each division of ``n`` seeds."""
    sizes = sorted({n // 2, n - n // 2} - {0, n})
    every: Iterable[tuple[int, ...]] = chain.from_iterable(combinations(range(n), size) for size in sizes)
    total = sum(comb(n, size) for size in sizes)
    if total > MOST_LISTED:
        every = _random_halves(n)
    elif total > MOST_SPLITS:
        places = set(np.random.default_rng(0).choice(total, MOST_SPLITS, replace=False).tolist())
        every = (chosen for place, chosen in enumerate(every) if place in places)
    return tuple(every)


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
        seeds = np.unique(np.concatenate([one.seeds for one in curves.values()]))
        divisions = [chosen for chosen, _ in splits(seeds.tolist())]
        subsets = np.array([np.isin(seeds, chosen) for chosen in divisions], dtype=bool).reshape(-1, seeds.size)
        members = {depth: subsets[:, np.searchsorted(seeds, one.seeds)] for depth, one in curves.items()}
        usable = np.logical_and.reduce([trained(one, members[depth]) for depth, one in curves.items()])
        if not usable.any():
            return pd.DataFrame(columns=list(COLUMNS))
        chosen = [division for division, known in zip(divisions, usable, strict=True) if known]
        members = {depth: member[usable] for depth, member in members.items()}
        swept = {depth: tuned_lrs(one, members[depth], self.kind) for depth, one in curves.items()}
        measured = {depth: (np.log(one.lrs), mean_accuracies(one, ~members[depth])) for depth, one in curves.items()}
        rows = [
            (rule, depth, *_accuracies(swept[depth], lr, *measured[depth]))
            for rule, lrs in self._predictions(swept, chosen).items()
            for depth, lr in lrs.items()
            if depth != self.base and np.isfinite(lr).any()
        ]
        means = pd.DataFrame(rows, columns=["rule", "depth", "tuned", "here", "below", "above"])
        return means.assign(
            held_out_accuracy=means["here"],
            held_out=_lost(means["here"], means["tuned"]),
            off_by_two=_lost(means[["below", "above"]].min(axis=1), means["tuned"]),
        )[list(COLUMNS)]

    def _predictions(
        self, swept: Mapping[int, Array], chosen: Sequence[tuple[int, ...]]
    ) -> dict[str, dict[int, Array]]:
        """Predicted learning rates by rule and depth, one for each division; NaN where a rule has no value."""
        predictions = {}
        for rule, law in self.rules.items():
            laws = [law(seeds) for seeds in chosen] if callable(law) else [law] * len(chosen)
            base = np.array([one[self.base] for one in laws])
            predictions[rule] = {
                depth: swept[self.base] * np.array([one.get(depth, np.nan) for one in laws]) / base for depth in swept
            }
        return {**predictions, SWEPT: dict(swept)}


def _accuracies(tuned: Array, lr: Array, u: Array, accuracy: Array) -> tuple[float, float, float, float]:
    """Mean accuracies over the divisions at the tuned rate, the predicted one, half of it and twice it.

    Args:
        tuned: the tuned rate of each division, [K].
        lr: the predicted rate of each division, [K]; a division without one is ignored.
        u: logarithms of the learning rates, [P].
        accuracy: measured on the other seeds of each division, [K, P].
    """
    known = np.isfinite(lr)
    rates = np.log([rate[known] for rate in (tuned, lr, lr / OFF_BY, lr * OFF_BY)])
    one, two, three, four = _interpolate(rates, u, accuracy[known]).mean(axis=1).tolist()
    return one, two, three, four


def _interpolate(x: Array, u: Array, values: Array) -> Array:
    """np.interp for many curves: x is [R, K], u is [P], values are [K, P]; the result is [R, K]."""
    inside = np.clip(x, u[0], u[-1])
    left = np.clip(np.searchsorted(u, inside, side="right") - 1, 0, max(u.size - 2, 0))
    right = np.minimum(left + 1, u.size - 1)
    curve = np.arange(len(values))
    start, end = values[curve, left], values[curve, right]
    share = (inside - u[left]) / np.where(right > left, u[right] - u[left], 1.0)
    return np.asarray(start + (end - start) * share)


def _lost(accuracy: pd.Series, tuned: pd.Series) -> pd.Series:
    """The relative loss; 0 if nothing is trained."""
    return (1 - accuracy / tuned.where(tuned > 0)).fillna(0.0)
