"""Second moments of the loss gradient at the outputs, at initialization.

The readout's weights are Gaussian and independent of everything before it. So the backward pass depends on the loss
only through R[s, t] = Σ_o E r_o(s) r_o(t). Here r_o(s) is the derivative of the loss with respect to output o at
readout position s, which is a sample with head "pool" and a position with head "field". The outputs are Gaussian with
covariance K_out[s, t] and independent for different o.

Approximation: the outputs are treated as independent of the direction of the back-propagated gradient. This is accurate
for M ≪ width outputs, but not for the output part with as many outputs as channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError, check_known
from ammup.format import brief_fields

LOSSES = ("mse", "cross_entropy")
PARTS = ("total", "label", "output")
_LOGIT_DRAWS = 4096


@dataclass(frozen=True, kw_only=True)
class LossGradient:
    """A loss, the part of its gradient that is used, and the labels.

    Attributes:
        loss: "mse" (1/(2 M n) Σ (z - y)² over M outputs at n readout positions) or "cross_entropy" (mean).
        part: "label" (the terms with the labels), "output" (the terms with the model's outputs) or "total".
        label_variance: σ_y² of random labels under mse.
        classes: class indices in the order of the readout positions, which mse reads as one-hot targets. None for
            random labels: N(0, σ_y²) for mse, uniform classes for cross-entropy.

    Raises:
        InputError: a name is unknown.
    """

    loss: str = "mse"
    part: str = "label"
    label_variance: float = 1.0
    classes: NDArray[np.int64] | None = None

    __repr__ = brief_fields

    def __post_init__(self) -> None:
        check_known("loss", self.loss, LOSSES)
        check_known("part", self.part, PARTS)

    def second_moments(self, output_covariance: Array, n_outputs: int) -> Array:
        """R, shape (n, n), for ``n_outputs`` outputs at each of n readout positions, given their covariance (n, n)."""
        n = len(output_covariance)
        if self.classes is not None and self.classes.size != n:
            raise InputError(f"{self.classes.size} class indices for {n} outputs; give one for each")
        if self.loss == "mse":
            labels = self._mse_labels(n, n_outputs) if self.part != "output" else np.zeros((n, n))
            outputs = n_outputs * output_covariance if self.part != "label" else np.zeros((n, n))
            return np.asarray((labels + outputs) / (n_outputs * n) ** 2)
        return np.asarray(self._cross_entropy(output_covariance, n_outputs) / n**2)

    def _mse_labels(self, n: int, n_outputs: int) -> Array:
        """E Σ_o y_o(s) y_o(t) of random or one-hot labels."""
        if self.classes is None:
            return np.asarray(self.label_variance * n_outputs * np.eye(n))
        return self._same_class(n, n_outputs)

    def _same_class(self, n: int, n_outputs: int) -> Array:
        """E Σ_o y_o(s) y_o(t) of one-hot labels, given or uniform."""
        if self.classes is None:
            return np.asarray(np.eye(n) + (1 - np.eye(n)) / n_outputs)
        classes = self.classes.ravel()
        return np.asarray(classes[:, None] == classes, dtype=np.float64)

    def _cross_entropy(self, output_covariance: Array, n_outputs: int) -> Array:
        """E Σ_o r_o(s) r_o(t) of r = softmax(z) - y; y does not depend on z, and E softmax(z)_o = 1/M for every o."""
        labels = self._same_class(len(output_covariance), n_outputs)
        if self.part == "label":
            return labels
        probabilities = _mean_overlap_of_softmax(output_covariance, n_outputs)
        return probabilities if self.part == "output" else labels - 2 / n_outputs + probabilities


def _mean_overlap_of_softmax(covariance: Array, n_outputs: int) -> Array:
    """E Σ_o p_o(s) p_o(t) of p = softmax(z), z_o ~ N(0, covariance), by Monte Carlo with a fixed seed."""
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root is unique; the eigenvectors of equal eigenvalues, and the draws they give, are not.
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    draws = max(16, _LOGIT_DRAWS // max(1, len(covariance) // 64))
    rng, total = np.random.default_rng(0), np.zeros_like(covariance)
    for _ in range(draws // 16):
        z = np.einsum("st,dto->dso", root, rng.standard_normal((16, len(covariance), n_outputs)))
        p = np.exp(z - z.max(axis=2, keepdims=True))
        p /= p.sum(axis=2, keepdims=True)
        total += np.einsum("dso,dto->st", p, p)
    return total / (16 * (draws // 16))
