"""The finite-depth law of plain nets over many samples and positions: dense layers and convolutions alike.

A position here is a pair (sample, place in it); N is their number, over the whole batch. A layer connects position p to
the positions p + Δ of its kernel's support, k offsets Δ within the same sample (a dense layer: k = 1, Δ = 0). With C
channels, gain g (Var[W] = g/(k C)), the loss 1/(2 M N) Σ (z - y)² over M outputs at every position, white labels of
variance σ_y² and many channels, scalars of `ammup.fitting.dense` become N×N matrices over pairs of positions:

    covariance  K[p, q] = E z_p z_q,           K' = (g/k) Σ_Δ F[p + Δ, q + Δ],    F = E φ(z_p) φ(z_q)
    new weights G[p, q] = Σ_Δ F[p + Δ, q + Δ]  (for the first layer F is the inputs' Gram matrix over C)
    mean step   α[p, q] = (1/C) Σ_i A_(ip, iq),                α' = (g/k) Σ_Δ (Γ∘α)[p + Δ, q + Δ] + G'
    the rest    Ω[p, q] = (1/C) Σ_(i≠j) A_(ip, jq)²,   Ω' = (g/k)² Σ_Δ Σ_Δ' (γ γᵀ ∘ Ω + Λ ∘ α²)[p + Δ, q + Δ']
    backward    r[q], the mean square of one label's gradient at unit l:  r = γ[q] (g/k) Σ_Δ r'[q - Δ]
    S_l = η² σ_y² (C/M) N⁻³ Σ_pq (Ω_l + α_l²)[p, q] r_l[q]

with A = J Jᵀ/C, Γ = E φ'(z_p) φ'(z_q), Λ = E φ'(z_p)² φ'(z_q)² and γ = E φ'(z_p)². Two different channels see
independent weights at their offsets Δ and Δ', which is why Ω sums over both; Wick pairings that cross are O(1/C). A
position outside an image (zero padding) contributes nothing. The kernel's cardinality k enters through G alone: with
one global learning rate η* ∝ 1/k on white noise.

Assumes labels drawn at every output (the field head of Lemma 2), so that what is propagated back stays white.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ammup.errors import InputError, check_known
from ammup.fitting.activations import READOUTS, Array, activation_moments, pair_moments, variance_gain

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


@dataclass(frozen=True, kw_only=True)
class PlainNet:
    """What the law of a plain net depends on, but for its depth and its batch; see :func:`finite_depth_law`.

    Attributes:
        width: C, features or channels of every layer.
        in_features: features of a sample, or channels at each position.
        out_features: M, outputs at each position.
        offsets: the support of the kernel; one empty offset for a dense net.
        padding: "circular" or "zero".
        activation: "relu", "gelu" or "linear".
        gain: the variance rule of layers behind an activation.
        readout: "he" or "mean-field".

    Raises:
        InputError: an unknown name.
    """

    width: int
    in_features: int
    out_features: int
    offsets: Offsets = ((),)
    padding: str = "circular"
    activation: str = "relu"
    gain: str = "forward"
    readout: str = "he"

    def __post_init__(self) -> None:
        check_known("padding", self.padding, PADDINGS)
        check_known("readout", self.readout, READOUTS)
        variance_gain(activation_moments(self.activation), self.gain)

    def lr_star(self, depth: int, inputs: Array, *, label_variance: float = 1.0) -> float:
        """η* at one depth for a batch (B, in_features, *positions).

        What a dense net or a 1D one flattens is flattened here too: a sample, or its positions in raster order.
        """
        axes = len(self.offsets[0])
        flattens = axes < 2 and inputs.ndim >= axes + 2
        batch = inputs.reshape(*inputs.shape[: axes + 1], -1) if flattens else inputs
        if batch.ndim != axes + 2 or batch.shape[1] != self.in_features:
            wanted = f"(batch, {self.in_features}) and {axes} position axes"
            raise InputError(f"inputs have shape {inputs.shape}; the law asks for {wanted}")
        columns = np.moveaxis(batch, 1, 0).reshape(self.in_features, -1)
        gram = columns.T @ columns / self.width
        return self._lr_star(depth, gram, len(batch), batch.shape[2:], label_variance)

    def lr_star_of_noise(self, depth: int, positions: tuple[int, ...], *, label_variance: float = 1.0) -> float:
        """η* at one depth for one sample of white noise of variance 1."""
        gram = np.eye(math.prod(positions)) * self.in_features / self.width
        return self._lr_star(depth, gram, 1, positions, label_variance)

    def _lr_star(
        self, depth: int, gram: Array, n_samples: int, positions: tuple[int, ...], label_variance: float
    ) -> float:
        gain = variance_gain(activation_moments(self.activation), self.gain)
        S = unit_moments(
            depth,
            gram,
            shifts(n_samples, positions, self.offsets, self.padding),
            activation=self.activation,
            gain=gain,
            first_variance=self.width / (len(self.offsets) * self.in_features),
            readout=gain if self.readout == "he" else 1 / self.width,
        )
        return float((label_variance * self.width / self.out_features * S.mean()) ** -0.5)


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


def _over_kernel(matrix: Array, neighbours: Indices) -> Array:
    """Σ_Δ X[p + Δ, q + Δ]."""
    padded = np.pad(matrix, ((0, 1), (0, 1)))
    return np.asarray(sum(padded[np.ix_(row, row)] for row in neighbours))


def _over_both(matrix: Array, neighbours: Indices) -> Array:
    """Σ_Δ Σ_Δ' X[p + Δ, q + Δ']."""
    padded = np.pad(matrix, ((0, 1), (0, 1)))
    rows = sum(padded[row] for row in neighbours)
    return np.asarray(sum(rows[:, column] for column in neighbours))


def unit_moments(
    depth: int, gram: Array, neighbours: Indices, *, activation: str, gain: float, first_variance: float, readout: float
) -> Array:
    """S_l at η = σ_y = 1 for l = 1..depth, but for the factor C/M; symbols as at the top.

    Args:
        depth: L.
        gram: Σ_c x_cp x_cq / C over all pairs of positions, shape (N, N).
        neighbours: what :func:`shifts` returns, shape (k, N).
        activation: "relu", "gelu" or "linear".
        gain: g.
        first_variance: C Var[W] of the first layer.
        readout: C Var[W] of the readout.
    """
    k, n = neighbours.shape
    fan = gain / k
    new = _over_kernel(gram, neighbours)
    covariance, alpha, omega = first_variance * new, new, np.zeros_like(new)
    totals, gates = [], []
    for unit in range(1, depth + 1):
        pairs = pair_moments(activation, covariance)
        gate = np.diag(pairs.derivative)
        totals.append(omega + alpha**2)
        gates.append(gate)
        if unit < depth:
            new = _over_kernel(pairs.value, neighbours)
            rest = np.outer(gate, gate) * omega + pairs.derivative_squared * alpha**2
            omega = fan**2 * _over_both(rest, neighbours)
            alpha = fan * _over_kernel(pairs.derivative * alpha, neighbours) + new
            covariance = fan * new
    backward, S = readout * gates[-1], []
    for unit in range(depth - 1, -1, -1):
        S.append(float((totals[unit] @ backward).sum()) / n**3)
        if unit:
            spread = np.zeros(n + 1)
            for row in neighbours:
                np.add.at(spread, row, fan * backward)
            backward = gates[unit - 1] * spread[:n]
    return np.asarray(S[::-1])
