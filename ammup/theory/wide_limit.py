"""S_l of plain and residual nets in the wide limit, at initialization; docs/explanation/wide_limit.md derives it.

Axes: N positions (of all samples), L depth units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ammup.architecture.architecture import Activation
from ammup.arrays import Array
from ammup.errors import InputError
from ammup.theory.activations import Gaussians
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.positions import Support
from ammup.theory.wide_net import WideLayer, WideNet


@dataclass(frozen=True, eq=False)
class Node:
    """The pre-activations at one place of the net, z_0 … z_K or inside a block, with the symbols of wide_limit.md.

    Attributes:
        activation: φ.
        covariance: K[p, q] = E z_p z_q of one channel, shape (N, N).
        tangent: α[p, q] = E A_(ip, iq), the channel diagonal of the tangent kernel A = J Jᵀ of all earlier weights.
        own: G[p, q], the part of α that is due to the weights of the layer that computes the node.
    """

    activation: Activation
    covariance: Array
    tangent: Array
    own: Array

    def __add__(self, other: "Node") -> "Node":
        tangent = self.tangent + other.tangent
        return Node(self.activation, self.covariance + other.covariance, tangent, other.own)

    @cached_property
    def gaussians(self) -> Gaussians:
        """The expectations of the activation at these pre-activations."""
        return Gaussians(self.activation, np.sqrt(np.clip(np.diag(self.covariance), 0, None)))

    @cached_property
    def slope_pairs(self) -> Array:
        """Γ[p, q] = E φ'(z_p) φ'(z_q)."""
        return self.gaussians.slope_pairs(self.covariance)

    @cached_property
    def value_pairs(self) -> Array:
        """F[p, q] = E φ(z_p) φ(z_q)."""
        return self.gaussians.value_pairs(self.covariance)


@dataclass(frozen=True, eq=False)
class Passage:
    """One passage of the two backward signals through the gates φ' of a node.

    The left signal comes from a unit l, and the right signal from the loss.

    Attributes:
        node: the node.
        left: ω_l[p], the contribution of a squared change of φ(z) at position p to the mean square of unit l, (L, N).
        right: U[p, q], the covariance of the gradient with respect to φ(z), (N, N).
    """

    node: Node
    left: Array
    right: Array


def unit_moments(net: WideNet, inputs: ArrayLike, gradient: LossGradient) -> Array:
    """S_l at learning rate 1 for every depth unit, on a batch of inputs (B, channels, *positions).

    The inputs are flattened as in the net: each complete sample for a dense net, and the positions of each sample in
    raster order for a 1D net.

    Raises:
        InputError: the inputs have another shape.
    """
    limit, gram = _on_batch(net, inputs)
    return limit.unit_moments(gram, gradient)


def gradient_squares(net: WideNet, inputs: ArrayLike, gradient: LossGradient) -> Array:
    """E ‖∂loss/∂W_l‖² of every layer of a plain net without groups; arguments as in :func:`unit_moments`.

    For dense ReLU and linear nets on one sample it is exact at any width, not only in the limit, because a ReLU's gate
    is 0 or 1 with probability 1/2, independently of everything else.

    Raises:
        InputError: the net is residual, or the inputs have another shape.
    """
    if net.residual:
        raise InputError("squared gradients are derived for plain nets only; give a net without residual blocks")
    limit, gram = _on_batch(net, inputs)
    return limit.gradient_squares(gram, gradient)


def last_node(net: WideNet, inputs: ArrayLike) -> Node:
    """The node that the readout reads; arguments and errors as in :func:`unit_moments`."""
    limit, gram = _on_batch(net, inputs)
    return limit.last_node(gram)


def checked_batch(net: WideNet, inputs: ArrayLike) -> Array:
    """Inputs as an array (B, channels, *positions) in float64, flattened as in :func:`unit_moments`.

    Raises:
        InputError: the inputs do not fit the net.
    """
    batch = np.asarray(inputs, dtype=np.float64)
    if batch.size and net.axes < 2 and batch.ndim >= net.axes + 2:
        batch = batch.reshape(*batch.shape[: net.axes + 1], -1)
    if batch.ndim != net.axes + 2 or batch.shape[1] != net.stem.fan_in or not batch.size:
        expected = f"(batch, {net.stem.fan_in}) and {net.axes} position axes"
        raise InputError(f"inputs have shape {np.shape(inputs)}; expected {expected}")
    return batch


def _on_batch(net: WideNet, inputs: ArrayLike) -> tuple["_WideLimit", Array]:
    """(The computation for the positions of a batch, the Gram matrix of its inputs (N, N))."""
    batch = checked_batch(net, inputs)
    columns = np.moveaxis(batch, 1, 0).reshape(net.stem.fan_in, -1)
    return _WideLimit(net, len(batch), batch.shape[2:]), columns.T @ columns


def unit_moments_of_noise(net: WideNet, shape: tuple[int, ...], gradient: LossGradient, *, power: float = 1.0) -> Array:
    """S_l on one sample of white noise of variance ``power``, with positions ``shape`` (() in a dense net)."""
    if len(shape) != net.axes:
        raise InputError(f"positions={shape} do not fit a net with {net.axes} position axes")
    gram = power * net.stem.fan_in * np.eye(math.prod(shape))
    return _WideLimit(net, 1, shape).unit_moments(gram, gradient)


class _WideLimit:
    """The forward pass, which computes the nodes; the backward pass, which computes the passages; and their sum S_l."""

    def __init__(self, net: WideNet, n_samples: int, shape: tuple[int, ...]) -> None:
        self.net = net
        self.n_samples = n_samples
        self.shape = shape
        self.size = n_samples * math.prod(shape)
        self._supports: dict[object, Support] = {}

    def last_node(self, gram: Array) -> Node:
        """The node that the readout reads."""
        trunk, _ = self._forward(gram)
        return trunk[-1]

    def unit_moments(self, gram: Array, gradient: LossGradient) -> Array:
        """S_l for l = 1..L."""
        trunk, inner = self._forward(gram)
        return self._sum(*self._backward(trunk, inner, gradient))

    def gradient_squares(self, gram: Array, gradient: LossGradient) -> Array:
        """E ‖∂loss/∂W_l‖² for l = 1..L of a plain net."""
        trunk, inner = self._forward(gram)
        passages, _ = self._backward(trunk, inner, gradient)
        layers = [self.net.stem, *(block[0] for block in self.net.blocks)]
        sums = [(passage.node.own * passage.node.slope_pairs * passage.right).sum() for passage in passages]
        return np.array([layer.fan_out * total for layer, total in zip(layers, sums, strict=True)])

    def _support(self, layer: WideLayer) -> Support:
        if layer.offsets not in self._supports:
            support = Support.from_offsets(self.n_samples, self.shape, layer.offsets, self.net.padding)
            self._supports[layer.offsets] = support
        return self._supports[layer.offsets]

    def _after(self, layer: WideLayer, node: Node) -> Node:
        """The node whose pre-activations a layer computes from φ(z) of this node."""
        support = self._support(layer)
        own = layer.fan_in * support.gather_pairs(node.value_pairs)
        carried = layer.fan_in * layer.variance * support.gather_pairs(node.slope_pairs * node.tangent)
        return Node(self.net.activation, layer.variance * own, carried + own, own)

    def _forward(self, gram: Array) -> tuple[list[Node], list[list[Node]]]:
        """The nodes z_0 … z_K, and the nodes inside each block."""
        own = self._support(self.net.stem).gather_pairs(gram)
        trunk, inner = [Node(self.net.activation, self.net.stem.variance * own, own, own)], []
        for block in self.net.blocks:
            nodes = [trunk[-1]]
            for layer in block:
                nodes.append(self._after(layer, nodes[-1]))
            inner.append(nodes[1:-1])
            trunk.append(trunk[-1] + nodes[-1] if self.net.residual else nodes[-1])
        return trunk, inner

    def _backward(
        self, trunk: list[Node], inner: list[list[Node]], gradient: LossGradient
    ) -> tuple[list[Passage], list[Passage]]:
        """(Passages through the gates of z_0 … z_K, passages through the gates of the nodes inside the blocks)."""
        n_units = len(trunk) - self.net.residual
        left = np.zeros((n_units, self.size))
        own = np.full(self.size, 1 / self.size)
        U = self._from_readout(trunk[-1], gradient)
        passages = [Passage(trunk[-1], np.zeros_like(left), U)]
        within: list[Passage] = []
        right = trunk[-1].slope_pairs * U
        for number in range(len(self.net.blocks), 0, -1):
            left[number - self.net.residual] = own
            weights, signal = left, right
            nodes = [trunk[number - 1], *inner[number - 1]]
            for layer, node in zip(reversed(self.net.blocks[number - 1]), reversed(nodes), strict=True):
                support = self._support(layer)
                passage = Passage(
                    node,
                    layer.variance * layer.fan_in * support.scatter(weights),
                    layer.variance * layer.fan_out * support.scatter_pairs(signal),
                )
                (passages if node is trunk[number - 1] else within).append(passage)
                weights = passage.left * node.gaussians.square
                signal = passage.right * node.slope_pairs
            left = left + weights if self.net.residual else weights
            right = right + signal if self.net.residual else signal
        return passages[::-1], within

    def _from_readout(self, last: Node, gradient: LossGradient) -> Array:
        """U of the last node: the covariance of the gradient that one channel receives from the readout."""
        readout, values = self.net.readout, last.value_pairs
        if self.net.head == "field" or not self.shape:
            R = gradient.second_moments(readout.variance * readout.fan_in * values, readout.fan_out)
            return np.asarray(readout.variance * R)
        size = self.size // self.n_samples
        pooled = values.reshape(self.n_samples, size, self.n_samples, size).mean(axis=(1, 3))
        R = gradient.second_moments(readout.variance * readout.fan_in * pooled, readout.fan_out)
        return np.asarray(readout.variance * np.kron(R, np.ones((size, size))) / size**2)

    def _sum(self, passages: list[Passage], within: list[Passage]) -> Array:
        S = np.zeros(len(passages) - self.net.residual)
        for passage in within:
            S += passage.left @ _TangentSums(passage, passage.node).gated(passage.node)
        return S + (_residual_sum(passages) if self.net.residual else _plain_sum(passages))


def _plain_sum(passages: Sequence[Passage]) -> Array:
    """S_l of a plain net, in which both signals pass through the gates of every node together."""
    tangent_sums = [_TangentSums(passage, passage.node) for passage in passages]
    S = np.array([float(sums.ungated.mean()) for sums in tangent_sums])
    for passage, sums in zip(passages[:-1], tangent_sums, strict=False):
        S += passage.left @ sums.gated(passage.node)
    return S


def _residual_sum(passages: Sequence[Passage]) -> Array:
    """S_l without the passages inside the blocks: the two signals leave the trunk at any two nodes.

    For each pair of nodes, the tangent kernel is that of the earlier one.
    """
    S = np.zeros(len(passages) - 1)
    for m, right in enumerate(passages):
        # The tangent kernel is that of the earlier of node m and the left node, so nodes up to m are enough.
        tangent_sums = [_TangentSums(right, passage.node) for passage in passages[: m + 1]]
        for unit in range(1, len(passages)):
            S[unit - 1] += tangent_sums[min(unit, m)].ungated.mean()
        for k, left in enumerate(passages[:-1]):
            S += left.left @ tangent_sums[min(k, m)].gated(left.node)
    return S


@dataclass(frozen=True, eq=False)
class _TangentSums:
    """The sums over q and q' in the formula for S_l, for one passage of the right signal (see wide_limit.md).

    Attributes:
        right: the passage of the right signal, with the pre-activations y and the covariance U.
        node: the earlier of the nodes that the two signals pass, with α and the covariance of x and y.
    """

    right: Passage
    node: Node

    @cached_property
    def ungated(self) -> Array:
        """The sum without the factor φ'(x_p)²: Σ_qq' α[p, q] α[p, q'] U[q, q'] Γ[q, q'], shape (N,)."""
        alpha, signal = self.node.tangent, self.right.right * self.right.node.slope_pairs
        return np.asarray(((alpha @ signal) * alpha).sum(axis=1))

    @cached_property
    def _through(self) -> Array:
        """α[p, q] Σ_q' α[p, q'] E φ'(y_q') U[q', q], shape (N, N)."""
        alpha = self.node.tangent
        slopes = self.right.node.gaussians.slope
        return np.asarray(alpha * ((alpha * slopes) @ self.right.right))

    def gated(self, left: Node) -> Array:
        """Σ_qq' α[p, q] α[p, q'] U[q, q'] E φ'(x_p)² φ'(y_q) φ'(y_q'), x the pre-activations of ``left``, shape (N,).

        The three-point expectation is approximated by E φ'(x_p)² E φ'(y_q) φ'(y_q') plus two terms, each the covariance
        of φ'(x_p)² with one of the two φ'(y) times the mean of the other. This is exact for ReLU (φ' - 1/2 is odd) and
        linear units. For other activations, the terms with q = q' are corrected to their exact values; if U is
        diagonal, there are no other terms.
        """
        x, y = left.gaussians, self.right.node.gaussians
        correlated = x.square_slope_covariance(y, self.node.covariance)
        total = x.square * self.ungated + 2 * (correlated * self._through).sum(axis=1)
        if left.activation in ("relu", "linear"):
            return np.asarray(total)
        approximated = np.outer(x.square, y.square)
        missing = x.square_pairs(y, self.node.covariance) - approximated - 2 * correlated * y.slope
        correction = self.node.tangent**2 * np.diag(self.right.right) * missing
        return np.asarray(total + correction.sum(axis=1))
