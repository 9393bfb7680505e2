"""The terms of S̄ in which the two backward signals leave a residual trunk at two different nodes (docs: wide_limit.md).

The pre-activations of two nodes k < m of the trunk have the covariance K of node k. All pairs (k, m) are therefore
computed at node k. Axes as in `mean_moment`.
"""

import numpy as np

from ammup.arrays import Array, Reals
from ammup.theory.diagonals import Diagonals, Key
from ammup.theory.pair_sums import Places
from ammup.theory.trace import Columns
from ammup.theory.wide_net import WideNet

Factors = tuple[Reals, Reals]  # Y, Z of a sum over k columns Y Zᵀ


class CrossGates:
    """The pairs of nodes of one residual net.

    Attributes:
        paths: Σ_(k<m) α_k diag(a_k) α_k at node m, of signals whose right one has no gate at node k; None at node 0.
    """

    def __init__(self, net: WideNet, places: Places, variances: dict[Key, Array], left: dict[Key, Array]) -> None:
        self.net, self.places = net, places
        self.paths: Reals | None = None
        n_blocks = len(net.blocks)
        gates = Diagonals(net, places.shape, places.n_samples).slopes
        self._variances = [variances[m, 0] for m in range(n_blocks + 1)]
        self._left = [left[m, 0] for m in range(n_blocks + 1)]
        self._gated = [weights * gates(variance) for weights, variance in zip(self._left, self._variances, strict=True)]
        self._later: list[list[Factors]] = [[] for _ in range(n_blocks + 1)]

    def unit_weights(self, m: int) -> Array:
        """The weights of positions p, shape (N,), for the tangent kernel of node m and right signals with its gates."""
        units = len(self.net.blocks) - max(m, 1) + 1
        return np.asarray(units / self.places.size + sum(self._gated[m:]))

    def pairs(self, m: int, covariance: Reals, tangent: Reals, columns: Columns) -> list[Factors]:
        """The terms with the gates of node m on the right, as factors; those of later nodes are computed and kept."""
        found, self._later[m] = self._later[m], []
        if self.net.activation == "linear" or m == len(self.net.blocks):
            return found
        places, dtype = self.places, covariance.dtype
        own = places.rows_and_columns(np.sqrt(self._variances[m]), dtype)
        correlated, product, total = np.empty_like(covariance), np.empty_like(covariance), np.zeros_like(covariance)
        for k in range(m + 1, len(self.net.blocks) + 1):
            other = places.rows_and_columns(np.sqrt(self._variances[k]), dtype)
            weights = self._left[k].reshape(*places.shape, places.n_samples).astype(dtype)

            def row(p: int, other: tuple[Reals, Reals] = other, weights: Reals = weights) -> None:
                np.arcsin(places.correlation(covariance, own, other, p), out=correlated[p])
                correlated[p] *= 1 / (2 * np.pi)
                np.multiply(correlated[p], tangent[p], out=product[p])
                correlated[p] *= weights
                total[p] += correlated[p]

            places.for_each(row)
            self._later[k].append((columns.of(places.square(product).T, 2 * self._left[m]), columns.Z))
        total *= tangent
        ones = np.full(places.size, 2.0)
        return [*found, (columns.of(places.square(total), ones), columns.Z)]

    def leave(self, m: int, columns: Columns) -> None:
        """Add node m to the paths."""
        weights = self._gated[m] + (1 / self.places.size if m else 0)
        added = self.places.matrix_of(columns.weighted(weights) @ columns.Z.T)
        self.paths = added if self.paths is None else self.paths + added
