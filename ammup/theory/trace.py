"""Sums over a third position, Σ_p w[p] A[p, q] α[p, q'], exact or as a trace over a few columns.

Columns Q, found by iteration, span most of the range of the tangent kernel α. The rest of the space is represented by
random columns, so that the trace is unbiased (Hutch++, Meyer, Musco, Musco and Woodruff, 2021). On images and on white
noise, η* differs from the exact one by less than 0.1 %: by 0.001 to 0.01 % on images of 8×8.

Axes: N positions, k columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ammup.arrays import Reals

EXACT_POSITIONS = 512  # up to here the exact sum takes less than a second
RANGE, NEW, RANDOM = 64, 16, 32


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Whether sums over positions are exact (in float64) or a trace over ``RANGE + RANDOM`` columns (in float32)."""

    exact: bool

    @classmethod
    def for_positions(cls, n_positions: int) -> "Trace":
        """Exact for few positions."""
        return cls(exact=n_positions <= EXACT_POSITIONS)

    @property
    def dtype(self) -> Any:
        """The type of the matrices over pairs of positions."""
        return np.float64 if self.exact else np.float32

    def columns(self, tangent: Reals, guess: Reals | None) -> "Columns":
        """The columns X of one tangent kernel α (N, N).

        Args:
            tangent: α.
            guess: an approximate range of α, such as the range at the previous layer; None for a random one.
        """
        if self.exact:
            return Columns(None, tangent, tangent)
        rng, n = np.random.default_rng(0), len(tangent)
        # A part of the guess is new at every layer, because the rank of α grows from layer to layer.
        old = tangent[:, :0] if guess is None else guess[:, : RANGE - NEW]
        new = rng.standard_normal((n, RANGE - old.shape[1])).astype(self.dtype)
        Q = _orthonormal(tangent @ np.concatenate([old, tangent @ new], axis=1))
        rest = rng.choice([-1.0, 1.0], size=(n, RANDOM))
        rest -= Q @ (Q.T @ rest)
        X = np.concatenate([Q, rest / np.sqrt(RANDOM)], axis=1).astype(self.dtype)
        return Columns(X, tangent, tangent @ X)


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns X (N, k) of a trace, Σ_x x xᵀ ≈ 1; None for the identity.

    Attributes:
        X: the columns.
        tangent: α, shape (N, N).
        Z: α X, shape (N, k).
    """

    X: Reals | None
    tangent: Reals
    Z: Reals

    def weighted(self, weights: Reals) -> Reals:
        """α diag(w) X, shape (N, k)."""
        if np.ptp(weights) <= 1e-12 * np.max(np.abs(weights)):
            return self.Z * self.Z.dtype.type(weights[0])
        return self.of(self.tangent, weights)

    def of(self, matrix: Reals, weights: Reals) -> Reals:
        """A diag(w) X of a matrix A (N, N), shape (N, k)."""
        scaled = weights.astype(matrix.dtype)
        return matrix * scaled if self.X is None else matrix @ (scaled[:, None] * self.X)

    @property
    def range(self) -> Reals | None:
        """The columns that span the range of α."""
        return None if self.X is None else self.X[:, :-RANDOM]


def _orthonormal(columns: Reals) -> Reals:
    """An orthonormal basis of the columns' span, from matrix products: LAPACK's QR is slow in several threads."""
    basis = columns.astype(np.float64)
    for _ in range(2):
        values, vectors = np.linalg.eigh(basis.T @ basis)
        kept = np.flatnonzero(values > 1e-13 * values[-1])[::-1]  # the largest first
        basis = basis @ (vectors[:, kept] / np.sqrt(values[kept]))
    return basis
