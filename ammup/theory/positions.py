"""Kernels and the positions that they connect.

A position is a pair (sample, place in it); N is their number, over the whole batch. A layer connects position p to the
positions p + Δ of its kernel's support, k offsets Δ within the same sample; a dense layer has k = 1 and Δ = 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError

Indices = NDArray[np.intp]
Offsets = tuple[tuple[int, ...], ...]
Kernel = int | tuple[int, ...] | Sequence[int | tuple[int, ...]]
PADDINGS = ("circular", "zero")


def kernel_offsets(kernel: Kernel, dims: int, *, dilation: int = 1) -> Offsets:
    """The support of a kernel: an int (equal sides), a tuple of ``dims`` ints (a rectangle), or a list of offsets.

    A side of s taps reaches from -⌊(s - 1)/2⌋ to ⌈(s - 1)/2⌉, times the dilation, as torch's "same" padding has it.

    Raises:
        InputError: a kernel of another form.
    """
    if isinstance(kernel, list):
        return _listed_offsets(kernel, dims)
    reach = [dilation * (side - 1) for side in kernel_sides(kernel, dims)]
    return tuple(product(*(range(-(r // 2), r - r // 2 + 1, dilation) for r in reach)))


def kernel_sides(kernel: object, dims: int) -> tuple[int, ...]:
    """Sides of a kernel given as an int or a tuple."""
    sides = (kernel,) * dims if isinstance(kernel, int) else kernel
    if not isinstance(sides, tuple) or len(sides) != dims or not all(isinstance(s, int) and s > 0 for s in sides):
        raise InputError(f"kernel={kernel!r} must be a positive int, a tuple of {dims} of them, or a list of offsets")
    return sides


def _listed_offsets(kernel: list[object], dims: int) -> Offsets:
    offsets = [(o,) if isinstance(o, int) else o for o in kernel]
    checked = [tuple(o) for o in offsets if isinstance(o, tuple | list) and len(o) == dims]
    whole = all(isinstance(i, int) for o in checked for i in o)
    if not offsets or len(checked) < len(offsets) or not whole or len(set(checked)) < len(checked):
        raise InputError(f"kernel={kernel!r} must list distinct offsets of {dims} whole numbers each")
    return tuple(checked)


@dataclass(frozen=True, eq=False)
class Support:
    """The sums over a kernel's support of things that live on positions or on pairs of them.

    Attributes:
        neighbours: index of p + Δ for every offset and position, shape (k, N), as :func:`shifts` gives it.
        reversed_neighbours: the same for the offsets -Δ.
    """

    neighbours: Indices
    reversed_neighbours: Indices

    @classmethod
    def of(cls, n_samples: int, shape: tuple[int, ...], offsets: Offsets, padding: str) -> "Support":
        """The support of ``offsets`` on samples of this shape."""
        back = tuple(tuple(-step for step in offset) for offset in offsets)
        return cls(shifts(n_samples, shape, offsets, padding), shifts(n_samples, shape, back, padding))

    @property
    def cardinality(self) -> int:
        """The number k of offsets."""
        return len(self.neighbours)

    @cached_property
    def _is_identity(self) -> bool:
        return self.cardinality == 1 and bool(np.all(self.neighbours[0] == np.arange(self.neighbours.shape[1])))

    def gather_pairs(self, matrix: Array) -> Array:
        """Σ_Δ X[p + Δ, q + Δ] of a matrix (N, N)."""
        return matrix if self._is_identity else _over_pairs(matrix, self.neighbours)

    def scatter_pairs(self, matrix: Array) -> Array:
        """The adjoint, Σ_Δ X[p - Δ, q - Δ]."""
        return matrix if self._is_identity else _over_pairs(matrix, self.reversed_neighbours)

    def scatter(self, rows: Array) -> Array:
        """Σ_Δ x[p - Δ] of each row of (..., N)."""
        padded = np.concatenate([rows, np.zeros_like(rows[..., :1])], axis=-1)
        return np.asarray(sum(padded[..., row] for row in self.reversed_neighbours))


def shifts(n_samples: int, shape: tuple[int, ...], offsets: Offsets, padding: str) -> Indices:
    """Index of position p + Δ for every offset and position, shape (k, N); N stands for a position outside."""
    places = np.indices(shape).reshape(len(shape), math.prod(shape))
    size = places.shape[1]
    rows = []
    for offset in offsets:
        moved = places + np.reshape(offset, (len(shape), 1)).astype(np.intp)
        inside = np.all((moved >= 0) & (moved < np.reshape(shape, (-1, 1))), axis=0) | (padding == "circular")
        index = np.ravel_multi_index(tuple(moved), shape, mode="wrap") if shape else np.zeros(1, np.intp)
        rows.append([np.where(inside, index + b * size, n_samples * size) for b in range(n_samples)])
    return np.asarray(rows, dtype=np.intp).reshape(len(offsets), n_samples * size)


def _over_pairs(matrix: Array, neighbours: Indices) -> Array:
    padded = np.pad(matrix, ((0, 1), (0, 1)))
    return np.asarray(sum(padded[np.ix_(row, row)] for row in neighbours))
