"""Positions, and the sums over a kernel's support that connect them.

A position is a pair (sample, place within the sample); N is the number of positions in the batch. A layer connects
position p to the positions p + Δ of the same sample, for the k offsets Δ in its kernel's support. A dense layer has
k = 1 and Δ = 0.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ammup.architecture.kernels import Offsets
from ammup.arrays import Array

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Support:
    """Sums over a kernel's support, of values at positions or at pairs of positions.

    Attributes:
        neighbours: index of p + Δ for every offset and position, shape (k, N), as :func:`shifts` returns it.
        reversed_neighbours: the same for the offsets -Δ.
    """

    neighbours: Indices
    reversed_neighbours: Indices

    @classmethod
    def from_offsets(cls, n_samples: int, shape: tuple[int, ...], offsets: Offsets, padding: str) -> "Support":
        """The support of ``offsets`` on samples of this shape."""
        reversed_offsets = tuple(tuple(-step for step in offset) for offset in offsets)
        neighbours = shifts(n_samples, shape, offsets, padding)
        return cls(neighbours, shifts(n_samples, shape, reversed_offsets, padding))

    @property
    def cardinality(self) -> int:
        """The number k of offsets."""
        return len(self.neighbours)

    @cached_property
    def _is_identity(self) -> bool:
        return self.cardinality == 1 and bool(np.all(self.neighbours[0] == np.arange(self.neighbours.shape[1])))

    def gather_pairs(self, matrix: Array) -> Array:
        """Σ_Δ X[p + Δ, q + Δ] of a matrix X (N, N)."""
        return matrix if self._is_identity else _over_pairs(matrix, self.neighbours)

    def scatter_pairs(self, matrix: Array) -> Array:
        """The adjoint of :meth:`gather_pairs`, Σ_Δ X[p - Δ, q - Δ]."""
        return matrix if self._is_identity else _over_pairs(matrix, self.reversed_neighbours)

    def scatter(self, rows: Array) -> Array:
        """Σ_Δ x[p - Δ] of each row x of an array (..., N)."""
        padded = np.concatenate([rows, np.zeros_like(rows[..., :1])], axis=-1)
        return np.asarray(sum(padded[..., row] for row in self.reversed_neighbours))


def shifts(n_samples: int, shape: tuple[int, ...], offsets: Offsets, padding: str) -> Indices:
    """Index of position p + Δ for every offset and position, shape (k, N); the index N stands for zero padding."""
    places = np.indices(shape).reshape(len(shape), math.prod(shape))
    size = places.shape[1]
    rows = []
    for offset in offsets:
        moved = places + np.reshape(offset, (len(shape), 1)).astype(np.intp)
        within = (moved >= 0) & (moved < np.reshape(shape, (-1, 1)))
        inside = np.all(within, axis=0) | (padding == "circular")
        index = np.ravel_multi_index(tuple(moved), shape, mode="wrap") if shape else np.zeros(1, np.intp)
        rows.append([np.where(inside, index + b * size, n_samples * size) for b in range(n_samples)])
    return np.asarray(rows, dtype=np.intp).reshape(len(offsets), n_samples * size)


def _over_pairs(matrix: Array, neighbours: Indices) -> Array:
    padded = np.pad(matrix, ((0, 1), (0, 1)))
    return np.asarray(sum(padded[np.ix_(row, row)] for row in neighbours))
