"""S̄ of ReLU and linear nets in the wide limit: what `wide_limit` computes for every unit, much faster for their mean.

S̄ is linear in the covariance U of the gradient at the readout: S̄ = Σ_qq' E[q, q'] U[q, q']. E is carried forward
together with K and α, so plain nets with the same first layers share the computation, and no earlier layer is stored.

Axes: P places, B samples, N = P B positions, place by place (see `pair_sums`); a matrix over pairs of positions is
(P, B, *places, B).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ammup.arrays import Array, Reals
from ammup.theory.cross_gates import CrossGates
from ammup.theory.diagonals import Diagonals, Key
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.pair_sums import PairSums, Places
from ammup.theory.trace import Trace
from ammup.theory.wide_net import WideLayer, WideNet


def mean_unit_moments(
    nets: Sequence[WideNet], inputs: Array, gradient: LossGradient, *, trace: Trace | None = None
) -> list[float]:
    """S̄ at learning rate 1 of each net; plain nets that begin with the same layers share their computation.

    Args:
        nets: ReLU or linear nets.
        inputs: a batch (B, channels, *places) that fits the nets.
        gradient: the loss and its labels.
        trace: how sums over a third position are computed; by default exactly for few positions.
    """
    found: dict[int, float] = {}
    remaining = sorted(range(len(nets)), key=lambda i: -len(nets[i].blocks))
    while remaining:
        deepest = nets[remaining[0]]
        group = [i for i in remaining if _begins(nets[i], deepest)]
        remaining = [i for i in remaining if i not in group]
        with Places(len(inputs), inputs.shape[2:]) as places:
            sweep = _Sweep(deepest, places, trace or Trace.for_positions(places.size))
            found.update(zip(group, sweep.run([nets[i] for i in group], inputs, gradient), strict=True))
    return [found[i] for i in range(len(nets))]


def _begins(net: WideNet, deepest: WideNet) -> bool:
    """Whether the layers of a net are the first ones of the deepest; blocks of residual nets depend on the depth."""
    if net is deepest:
        return True
    same = (net.stem, net.activation, net.padding) == (deepest.stem, deepest.activation, deepest.padding)
    return same and not deepest.residual and net.blocks == deepest.blocks[: len(net.blocks)]


@dataclass(eq=False)
class _Gates:
    """A node: K and α over pairs of positions, with the expectations Γ, F and Γ∘α of its gates."""

    covariance: Reals
    tangent: Reals
    slopes: Reals
    values: Reals
    carried: Reals


@dataclass(eq=False)
class _End:
    """A net of the group: its coefficients Σ_l ω_l at every node, and E of the nodes so far (None at the input)."""

    net: WideNet
    left: dict[Key, Array]
    E: Reals | None = None


class _Sweep:
    """One pass through the layers of the deepest net of a group."""

    def __init__(self, net: WideNet, places: Places, trace: Trace) -> None:
        self.net, self.places, self.trace = net, places, trace
        self.diagonals = self._diagonals(net)
        self.variances: dict[Key, Array] = {}
        self._range: Reals | None = None
        self._sums: dict[object, PairSums] = {}

    def run(self, nets: Sequence[WideNet], inputs: Array, gradient: LossGradient) -> list[float]:
        """S̄ of the nets."""
        columns = np.moveaxis(inputs, 0, -1).reshape(inputs.shape[1], -1)
        self.variances = self.diagonals.variances((columns**2).sum(axis=0))
        ends = [_End(net, self._diagonals(net).left(self.variances)) for net in nets]
        gram: Reals = (columns.T @ columns).astype(self.trace.dtype).reshape(self.places.matrix)
        tangent: Reals = self._gather(self.net.stem, gram)
        covariance: Reals = tangent * tangent.dtype.type(self.net.stem.variance)
        cross = CrossGates(self.net, self.places, self.variances, ends[0].left) if self.net.residual else None
        found: dict[int, float] = {}
        for m in range(len(self.net.blocks) + 1):
            node = self._gates((m, 0), covariance, tangent)
            for i, end in enumerate(ends):
                if len(end.net.blocks) == m:
                    E = self._through((m, 0), node, end, cross)
                    found[i] = self._at_readout(end.net, E, node.values, gradient)
            if m < len(self.net.blocks):
                open_ends = [end for end in ends if len(end.net.blocks) > m]
                covariance, tangent = self._block(m, node, open_ends, cross)
        return [found[i] for i in range(len(ends))]

    def _diagonals(self, net: WideNet) -> Diagonals:
        return Diagonals(net, self.places.shape, self.places.n_samples)

    def _block(self, m: int, node: _Gates, ends: list[_End], cross: CrossGates | None) -> tuple[Reals, Reals]:
        """K and α of z_(m+1); E of each end becomes that of z_(m+1)."""
        skips = [end.E for end in ends]
        current, covariance, tangent = node, node.covariance, node.tangent
        for j, layer in enumerate(self.net.blocks[m]):
            if j:
                current = self._gates((m, j), covariance, tangent)
            for end in ends:
                D = self._through((m, j), current, end, cross if j == 0 else None)
                end.E = _scaled(self._gather(layer, D), layer.variance * layer.fan_out)
            values, carried = self._gather(layer, current.values), self._gather(layer, current.carried)
            tangent = _scaled(carried, layer.fan_in * layer.variance)
            tangent += _scaled(values, layer.fan_in)
            covariance = _scaled(values, layer.variance)
        if self.net.residual:
            covariance += node.covariance
            tangent += node.tangent
            for end, skip in zip(ends, skips, strict=True):
                if skip is not None and end.E is not None:
                    end.E += skip
        return covariance, tangent

    def _gates(self, key: Key, covariance: Reals, tangent: Reals) -> _Gates:
        if self.net.activation == "linear":
            return _Gates(covariance, tangent, np.ones(1, covariance.dtype), covariance, tangent)
        scale = self.places.rows_and_columns(np.sqrt(self.variances[key]), covariance.dtype)
        slopes, values, carried = (np.empty_like(covariance) for _ in range(3))

        def row(p: int) -> None:
            correlation = self.places.correlation(covariance, scale, scale, p)
            self.places.diagonal(correlation, p)[...] = self.variances[key].reshape(-1, self.places.n_samples)[p] > 0
            np.arccos(correlation, out=slopes[p])
            slopes[p] *= -1 / (2 * np.pi)
            slopes[p] += 0.5
            value = np.subtract(1, np.multiply(correlation, correlation, out=values[p]), out=values[p])
            np.sqrt(value, out=value)
            value *= 1 / (2 * np.pi)
            correlation *= slopes[p]
            value += correlation
            value *= scale[0][p]
            value *= scale[1]
            np.multiply(slopes[p], tangent[p], out=carried[p])

        self.places.for_each(row)
        return _Gates(covariance, tangent, slopes, values, carried)

    def _through(self, key: Key, node: _Gates, end: _End, cross: CrossGates | None) -> Reals:
        """The coefficients of U at a node: what it contributes itself, and E through its gates."""
        matrix, variance = self.places.square(node.tangent), self.variances[key]
        columns = self.trace.columns(matrix, self._range)
        self._range = columns.range
        gates, left = self.diagonals.slopes(variance), end.left[key]
        weights = left * gates
        if cross is not None:
            weights = cross.unit_weights(key[0])
        elif not self.net.residual:
            weights = weights + 1 / len(left)
        D: Reals = self.places.matrix_of(columns.weighted(weights) @ columns.Z.T)
        if cross is not None and cross.paths is not None:
            D += cross.paths
        if end.E is not None:
            D += end.E
        D *= node.slopes
        second = [] if cross is None else cross.pairs(key[0], node.covariance, node.tangent, columns)
        if self.net.activation == "relu" and np.any(left):
            own = columns.of(self.places.square(node.carried).T, 2 * left)
            own -= gates.astype(own.dtype)[:, None] * columns.weighted(2 * left * gates)
            second.append((own, columns.Z))
        for Y, Z in second:
            D += self.places.matrix_of(Y @ (gates.astype(Z.dtype)[:, None] * Z).T)
        if cross is not None:
            cross.leave(key[0], columns)
        return D

    def _gather(self, layer: WideLayer, matrix: Reals) -> Reals:
        if layer.offsets not in self._sums:
            self._sums[layer.offsets] = PairSums.from_offsets(self.places.shape, layer.offsets, self.net.padding)
        out, scratch = np.empty_like(matrix), np.empty_like(matrix)
        total = self._sums[layer.offsets](matrix, out, scratch, self.places.for_each)
        return matrix.copy() if total is matrix else total

    def _at_readout(self, net: WideNet, E: Reals, values: Reals, gradient: LossGradient) -> float:
        """Σ_qq' E[q, q'] U[q, q'] over the number of depth units, U of the node that the readout reads."""
        readout, B = net.readout, self.places.n_samples
        n_places = self.places.n_places
        blocks, field = (self.places.square(matrix).reshape(n_places, B, n_places, B) for matrix in (values, E))
        if net.head == "pool" and self.places.shape:
            covariance, coefficients = (matrix.mean(axis=(0, 2), dtype=np.float64) for matrix in (blocks, field))
        else:  # sample by sample, as the labels are
            covariance, coefficients = (
                matrix.transpose(1, 0, 3, 2).reshape(self.places.size, -1).astype(np.float64)
                for matrix in (blocks, field)
            )
        R = gradient.second_moments(readout.variance * readout.fan_in * covariance, readout.fan_out)
        n_units = len(net.blocks) + (not net.residual)
        return float((coefficients * R).sum() * readout.variance / n_units)


def _scaled(matrix: Reals, factor: float) -> Reals:
    matrix *= factor
    return matrix
