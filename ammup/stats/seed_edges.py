"""The edges of any seeds of a sweep, from the edge of every seed at every depth.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_fields
from ammup.stats.edge import seed_edges
from ammup.stats.peak import ALL_DIVERGED, SeedCurves
from ammup.stats.runs import NO_RUNS


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedEdges:
    """A rule of a comparison out of sample: the edge at every depth, estimated from some seeds.

    With a given accuracy of a random guess, the edge of a seed does not depend on the other seeds, so it is computed
    once for all divisions of the seeds.

    Attributes:
        curves: the curves by depth.
        chance: accuracy of a random guess, or None for the lowest mean accuracy of the chosen seeds.
        positions: log10 of the edge of each seed by depth, [S], NaN without a fall; empty if ``chance`` is None.
        seeds: the seeds of all depths, ascending.
        places: the index of each seed of a depth in ``seeds``, by depth, [S].
        simple: the depths at which every seed has a run at every learning rate, and no seed diverged at one of them.
    """

    curves: Mapping[int, SeedCurves]
    chance: float | None
    positions: Mapping[int, Array]
    seeds: NDArray[np.int64]
    places: Mapping[int, NDArray[np.intp]]
    simple: frozenset[int]

    __repr__ = brief_fields

    @classmethod
    def from_curves(cls, curves: Mapping[int, SeedCurves], *, chance: float | None) -> "SeedEdges":
        """The edges of these curves."""
        positions = {} if chance is None else {depth: _positions(one, chance) for depth, one in curves.items()}
        simple = frozenset(depth for depth, one in curves.items() if _is_simple(one))
        seeds = np.unique(np.concatenate([one.seeds for one in curves.values()]))
        places = {depth: np.searchsorted(seeds, one.seeds) for depth, one in curves.items()}
        return cls(curves=curves, chance=chance, positions=positions, seeds=seeds, places=places, simple=simple)

    def __call__(self, seeds: Sequence[int]) -> dict[int, float]:
        """The edge by depth of these seeds, flagged or not, as ``fit_sweep(kind="edge")`` finds it in their runs.

        Raises:
            InputError: these seeds have no runs, or every learning rate of a depth has a diverged replica.
        """
        chosen = np.isin(self.seeds, np.array(seeds))
        members = {depth: chosen[place] for depth, place in self.places.items()}
        members = {depth: member for depth, member in members.items() if member.any()}
        if not members:
            raise InputError(NO_RUNS)
        for depth in members.keys() - self.simple:
            if not _is_trained(self.curves[depth], members[depth]):
                raise InputError(ALL_DIVERGED)
        positions = self.positions if self.chance is not None else self._positions_of(members)
        return {depth: self._edge(depth, member, positions[depth]) for depth, member in members.items()}

    def _positions_of(self, members: Mapping[int, NDArray[np.bool_]]) -> dict[int, Array]:
        """The edge of each seed, with the lowest mean accuracy of the chosen seeds as that of a random guess."""
        curves = {depth: self.curves[depth] for depth in members}
        chance = min(one.without(one.seeds[~members[depth]]).lowest for depth, one in curves.items())
        return {depth: _positions(one, chance) for depth, one in curves.items()}

    def _edge(self, depth: int, member: NDArray[np.bool_], positions: Array) -> float:
        """The geometric mean of the edges of the chosen seeds; without a fall, the largest learning rate they have."""
        curves = self.curves[depth]
        largest = curves.lrs[-1] if depth in self.simple else curves.lrs[_has_run(curves)[member].any(axis=0)][-1]
        chosen = positions[member]
        return float(10 ** float(np.where(np.isfinite(chosen), chosen, np.log10(largest)).mean()))


def _positions(curves: SeedCurves, chance: float) -> Array:
    return seed_edges(np.log10(curves.lrs), curves.accuracy, curves.diverged, chance=chance)


def _has_run(curves: SeedCurves) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(curves.accuracy) | curves.diverged)


def _is_simple(curves: SeedCurves) -> bool:
    every = np.ones(curves.seeds.size, dtype=bool)
    return bool(_has_run(curves).all()) and _is_trained(curves, every)


def _is_trained(curves: SeedCurves, member: NDArray[np.bool_]) -> bool:
    """Whether a learning rate has an accuracy and no diverged replica among these seeds."""
    trained = np.isfinite(curves.accuracy[member]).any(axis=0) & ~curves.diverged[member].any(axis=0)
    return bool(trained.any())
