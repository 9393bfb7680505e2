"""The largest eigenvalue of the NTK and of the Gauss-Newton matrix in the wide limit.

docs/explanation/sharpness_limit.md derives it.

Axes: N outputs of one channel in the batch, which are samples with a pooled head and positions with head "field"; M
output channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ammup.arrays import Array
from ammup.errors import check_known
from ammup.theory.loss_gradient import LOSSES
from ammup.theory.wide_limit import last_node
from ammup.theory.wide_net import WideNet


@dataclass(frozen=True, eq=False)
class OutputKernels:
    """The two kernels of a net's outputs at initialization, in the wide limit; they are the same for every channel.

    Attributes:
        covariance: K_out[s, t] = E f(s) f(t) of an output channel f, shape (N, N).
        tangent: Θ[s, t] = ∂f(s)/∂W · ∂f(t)/∂W over all weights W, shape (N, N). Between different output channels it
            is 0.
        n_outputs: M, the number of output channels.
    """

    covariance: Array
    tangent: Array
    n_outputs: int


def output_kernels(net: WideNet, inputs: ArrayLike) -> OutputKernels:
    """The kernels of the outputs on a batch of inputs (B, channels, *positions).

    Raises:
        InputError: the inputs do not fit the net.
    """
    node, readout = last_node(net, inputs), net.readout
    values = readout.fan_in * node.value_pairs
    tangent = readout.fan_in * readout.variance * node.slope_pairs * node.tangent + values
    covariance = readout.variance * values
    if net.head == "pool":  # the mean over the places of a sample
        n_samples = len(np.asarray(inputs))
        places = len(values) // n_samples
        shape = (n_samples, places, n_samples, places)
        covariance, tangent = (kernel.reshape(shape).mean(axis=(1, 3)) for kernel in (covariance, tangent))
    return OutputKernels(covariance=covariance, tangent=tangent, n_outputs=readout.fan_out)


def largest_ntk_eigenvalue(net: WideNet, inputs: ArrayLike, *, loss: str = "mse") -> float:
    """The largest eigenvalue of the NTK JᵀJ / n on a batch (B, channels, *positions), in the wide limit.

    n is the number of terms of which the loss is the mean: N M outputs for "mse", for which the NTK is also the
    Gauss-Newton matrix, and N for "cross_entropy". The limit is that of wide layers and a fixed number M of outputs.

    Raises:
        InputError: the name of the loss is unknown, or the inputs do not fit the net.

    Example:
        >>> import numpy as np
        >>> from ammup.architecture.architecture import Architecture
        >>> from ammup.theory.wide_net import wide_net
        >>> def at(depth):
        ...     fields = {"in_features": 64, "out_features": 1, "width": 64, "readout": "he"}
        ...     return wide_net(Architecture(family="mlp", depth=depth, **fields))
        >>> [round(largest_ntk_eigenvalue(at(depth), np.ones((1, 64))) / 64, 6) for depth in (2, 4, 8)]  # 1 + L/2
        [2.0, 3.0, 5.0]
    """
    check_known("loss", loss, LOSSES)
    kernels = output_kernels(net, inputs)
    n_terms = len(kernels.tangent) * (kernels.n_outputs if loss == "mse" else 1)
    return float(np.linalg.eigvalsh(kernels.tangent)[-1] / n_terms)


def largest_gauss_newton_eigenvalues(net: WideNet, inputs: ArrayLike, *, draws: int = 256, seed: int = 0) -> Array:
    """The largest eigenvalue of the Gauss-Newton matrix of the mean cross-entropy, for random outputs of wide nets.

    In the wide limit, the tangent kernel of the outputs does not depend on the weights, but the softmax probabilities
    do: the outputs are Gaussian. The labels do not enter.

    Args:
        net: the net.
        inputs: a batch (B, channels, *positions).
        draws: the number of independent draws of the outputs.
        seed: seed of the draws.

    Returns:
        The eigenvalue for each draw, shape (draws,).

    Raises:
        InputError: the inputs do not fit the net.
    """
    kernels = output_kernels(net, inputs)
    n, M = len(kernels.tangent), kernels.n_outputs
    root = _square_root(kernels.tangent)
    outputs = _square_root(kernels.covariance) @ np.random.default_rng(seed).standard_normal((draws, n, M))
    eigenvalues = [np.linalg.eigvalsh(_gauss_newton(root, z))[-1] for z in outputs]
    return np.array(eigenvalues)


def _gauss_newton(root: Array, outputs: Array) -> Array:
    """(R ⊗ I) H (R ⊗ I) / N, which has the nonzero eigenvalues of JᵀHJ / N, for R = √Θ and the outputs (N, M)."""
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    H = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]
    product = np.einsum("su,uab,ut->satb", root, H, root, optimize=True)
    return np.asarray(product.reshape(outputs.size, outputs.size) / len(outputs))


def _square_root(matrix: Array) -> Array:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
