"""The variances of all pre-activations, and the coefficients ω of the left signal, which follow from them alone.

Axes: N = P B positions, place by place. The node (m, 0) is z_m, and (m, j) is the j-th node inside block m + 1.
"""

from dataclasses import dataclass

import numpy as np

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.theory.activations import closed_slope
from ammup.theory.positions import Support
from ammup.theory.wide_net import WideLayer, WideNet

Key = tuple[int, int]


def unit_squares(net: WideNet, batch: Array) -> Array:
    """E z² of every depth unit, the mean over channels, positions and samples; exact at any width.

    The sign of a channel's weights is symmetric, so that the gate of a ReLU is independent of z² at each position, and
    the branch of a residual block is uncorrelated with its trunk.

    Args:
        net: a ReLU or linear net.
        batch: inputs (B, channels, *positions) that fit the net.

    Returns:
        (number of depth units,)

    Raises:
        InputError: the activation is another one.
    """
    if net.activation not in ("relu", "linear"):
        raise InputError(f"activation {net.activation!r}: E z² is exact only for 'relu' and 'linear'")
    columns = np.moveaxis(batch, 0, -1).reshape(batch.shape[1], -1)
    found = Diagonals(net, batch.shape[2:], len(batch)).variances((columns**2).sum(axis=0))
    return np.array([found[m, 0].mean() for m in range(int(net.residual), len(net.blocks) + 1)])


@dataclass(frozen=True, eq=False)
class Diagonals:
    """Sums over a kernel's support at single positions, for ReLU or linear units.

    Attributes:
        net: the net.
        shape: the places of a sample.
        n_samples: B.
    """

    net: WideNet
    shape: tuple[int, ...]
    n_samples: int

    def variances(self, input_power: Array) -> dict[Key, Array]:
        """E z_p² at every node, each of shape (N,), from Σ x_p² of the inputs over their channels (N,)."""
        fraction = 0.5 if self.net.activation == "relu" else 1.0
        trunk = self.net.stem.variance * self._sum(self.net.stem, input_power)
        found = {(0, 0): trunk}
        for m, block in enumerate(self.net.blocks):
            value = trunk
            for j, layer in enumerate(block):
                found[m, j] = value
                value = layer.variance * layer.fan_in * self._sum(layer, fraction * value)
            trunk = trunk + value if self.net.residual else value
        return {**found, (len(self.net.blocks), 0): trunk}

    def left(self, variances: dict[Key, Array]) -> dict[Key, Array]:
        """Σ_l ω_l[p] at every node, each of shape (N,): the coefficient of a squared change of φ(z) in Σ_l S_l."""
        n_blocks = len(self.net.blocks)
        own = np.full(len(variances[0, 0]), 1 / len(variances[0, 0]))
        found = {(n_blocks, 0): np.zeros_like(own)}
        trunk = np.zeros_like(own)  # of z_m as the sum of a trunk, or as the node of a plain net
        for m in range(n_blocks - 1, -1, -1):
            trunk = weights = trunk + own
            for j, layer in reversed(list(enumerate(self.net.blocks[m]))):
                found[m, j] = layer.variance * layer.fan_in * self._sum(layer, weights, reverse=True)
                weights = found[m, j] * self.slopes(variances[m, j])
            trunk = trunk + weights if self.net.residual else weights
        return found

    def slopes(self, variance: Array) -> Array:
        """E φ'(z_p), which is also E φ'(z_p)², shape (N,)."""
        return closed_slope(self.net.activation, variance)

    def _sum(self, layer: WideLayer, values: Array, *, reverse: bool = False) -> Array:
        """Σ_Δ x[p + Δ], or Σ_Δ x[p - Δ]."""
        support = Support.from_offsets(1, self.shape, layer.offsets, self.net.padding)
        by_place = values.reshape(-1, self.n_samples)
        padded = np.concatenate([by_place, np.zeros((1, self.n_samples))])
        rows = support.reversed_neighbours if reverse else support.neighbours
        return np.asarray(padded[rows].sum(axis=0).ravel())
