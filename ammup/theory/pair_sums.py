"""Sums over a kernel's support of matrices over pairs of positions, laid out for slices instead of indices.

Axes: P places of a sample, B samples. A matrix over pairs of positions has the shape (P, B, *places, B): the places
come before the samples, so that a shift of both positions moves long contiguous pieces.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ammup.architecture.kernels import Offsets
from ammup.arrays import Reals

Region = tuple[tuple[slice, ...], tuple[slice, ...]]  # (where a piece is added, where it is read)
Row = list[tuple[int, list[Region]]]  # of one place p: (p + Δ, the regions of q) for every offset Δ
ForEach = Callable[[Callable[[int], Any]], None]  # calls a function with every place
_FEW_POSITIONS = 256  # below, threads cost more than they save


@dataclass(frozen=True, eq=False)
class PairSums:
    """Σ_Δ X[p + Δ, q + Δ] of a matrix X over pairs of positions, for the offsets Δ of a kernel.

    Attributes:
        stages: for each stage and place, the pieces that are added. A kernel that is a box is summed along one axis
            after the other, which takes fewer additions; any other kernel has one stage.
    """

    stages: tuple[tuple[Row, ...], ...]

    @classmethod
    def from_offsets(cls, shape: tuple[int, ...], offsets: Offsets, padding: str) -> "PairSums":
        """The sums over ``offsets`` on samples with places of this shape."""
        steps = [sorted({offset[axis] for offset in offsets}) for axis in range(len(shape))]
        groups: list[Offsets] = [offsets]
        if math.prod(map(len, steps)) == len(offsets):
            groups = [_along(axis, steps[axis], len(shape)) for axis in range(len(shape))]
        origin = ((0,) * len(shape),)
        return cls(tuple(_rows(shape, group, padding) for group in groups if group != origin))

    def __call__(self, matrix: Reals, out: Reals, scratch: Reals, for_each: ForEach) -> Reals:
        """The sum as an array (P, B, *places, B), which is ``out``, ``scratch`` or, without a shift, ``matrix``.

        Args:
            matrix: X, which stays unchanged.
            out: a buffer of the shape of the matrix, which is overwritten.
            scratch: another one.
            for_each: calls a function with every place p.
        """
        for rows in self.stages:
            for_each(partial(_add_row, rows, matrix, out))
            matrix, out, scratch = out, scratch, out
        return matrix


def _along(axis: int, steps: list[int], n_axes: int) -> Offsets:
    """Offsets along one axis."""
    return tuple((0,) * axis + (step,) + (0,) * (n_axes - axis - 1) for step in steps)


def _rows(shape: tuple[int, ...], offsets: Offsets, padding: str) -> tuple[Row, ...]:
    places = np.arange(math.prod(shape)).reshape(shape)
    rows: tuple[Row, ...] = tuple([] for _ in range(places.size))
    for offset in offsets:
        by_axis = [_moves(size, step, padding) for size, step in zip(shape, offset, strict=True)]
        regions: list[Region] = [
            (tuple(a for a, _ in moves), tuple(b for _, b in moves)) for moves in product(*by_axis)
        ]
        for target, source in regions:
            for p, moved in zip(places[target].flat, places[source].flat, strict=True):
                rows[p].append((int(moved), regions))
    return rows


def _moves(size: int, step: int, padding: str) -> list[tuple[slice, slice]]:
    """The pieces of an axis that a shift by ``step`` moves: (target, source)."""
    if padding == "circular":
        step %= size
        wrapped = [(slice(size - step, size), slice(0, step))] if step else []
        return [(slice(0, size - step), slice(step, size)), *wrapped]
    if abs(step) >= size:
        return []
    return [(slice(max(0, -step), size - max(0, step)), slice(max(0, step), size + min(0, step)))]


def _add_row(rows: tuple[Row, ...], matrix: Reals, out: Reals, p: int) -> None:
    target = out[p]
    target[...] = 0
    for moved, regions in rows[p]:
        source = matrix[moved]
        for into, read in regions:
            target[(slice(None), *into)] += source[(slice(None), *read)]


class Places:
    """The positions of a batch, with threads that each take some places p: NumPy computes without Python's lock."""

    def __init__(self, n_samples: int, shape: tuple[int, ...]) -> None:
        self.n_samples, self.shape = n_samples, shape
        self.n_places = math.prod(shape)
        self.size = n_samples * self.n_places
        self.matrix = (self.n_places, n_samples, *shape, n_samples)
        self._threads = ThreadPoolExecutor(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )

    def __enter__(self) -> "Places":
        return self

    def __exit__(self, *_error: object) -> None:
        self._threads.shutdown()

    def for_each(self, work: Callable[[int], Any]) -> None:
        """Call ``work`` with every place."""
        if self.size < _FEW_POSITIONS:
            for p in range(self.n_places):
                work(p)
        else:
            list(self._threads.map(work, range(self.n_places)))

    def square(self, matrix: Reals) -> Reals:
        """A matrix over pairs as (N, N)."""
        return matrix.reshape(self.size, self.size)

    def matrix_of(self, square: Reals) -> Reals:
        """A matrix (N, N) as one over pairs."""
        return square.reshape(self.matrix)

    def rows_and_columns(self, values: Reals, dtype: Any) -> tuple[Reals, Reals]:
        """Values (N,) that multiply the rows of a matrix over pairs, place by place, and its columns."""
        cast = values.astype(dtype)
        return cast.reshape(self.n_places, self.n_samples, *(1,) * (len(self.shape) + 1)), cast.reshape(self.matrix[2:])

    def correlation(self, covariance: Reals, rows: tuple[Reals, Reals], columns: tuple[Reals, Reals], p: int) -> Reals:
        """E x y / (σ_x σ_y) for the row p of a covariance, 0 where a variance is 0, shape (B, *places, B)."""
        size = rows[0][p] * columns[1]
        np.divide(covariance[p], size, out=size, where=size > 0)
        return np.asarray(np.clip(size, -1, 1, out=size))

    def diagonal(self, row: Reals, p: int) -> Reals:
        """A view of the elements (p, p) of the row p, shape (B,)."""
        place: tuple[Any, ...] = np.unravel_index(p, self.shape) if self.shape else ()
        at = row[(slice(None), *place)]
        return np.asarray(np.einsum("ii->i", at))
