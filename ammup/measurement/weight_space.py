"""Trainable weights as one real vector in float64, the form in which SciPy's eigensolvers need them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ammup.arrays import Array

Weights = dict[str, Tensor]


class WeightSpace:
    """The space of all elements of some weights; a complex weight has a real and an imaginary part per element.

    Args:
        weights: leaf tensors by name.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.sizes = [w.numel() * (2 if w.is_complex() else 1) for w in weights.values()]

    @property
    def size(self) -> int:
        """The number of real elements."""
        return sum(self.sizes)

    def vector(self, tensors: Sequence[Tensor]) -> Array:
        """The vector of tensors shaped like the weights."""
        real = [torch.view_as_real(t) if t.is_complex() else t for t in (t.detach().resolve_conj() for t in tensors)]
        return np.concatenate([t.cpu().double().numpy().reshape(-1) for t in real])

    def tensors(self, vector: Array) -> list[Tensor]:
        """The inverse of :meth:`vector`, in the dtypes and on the devices of the weights."""
        parts = np.split(vector, np.cumsum(self.sizes)[:-1])
        found = []
        for part, w in zip(parts, self.weights.values(), strict=True):
            values = torch.from_numpy(np.ascontiguousarray(part))
            if w.is_complex():
                values = torch.view_as_complex(values.reshape(-1, 2))
            found.append(values.reshape(w.shape).to(w.device, w.dtype))
        return found

    def constant(self, values: Mapping[str, float | Tensor], default: float) -> Array:
        """The vector with a number for each weight, or a tensor with one for each element or each part of it."""
        parts = []
        for (name, w), size in zip(self.weights.items(), self.sizes, strict=True):
            value = values.get(name, default)
            if isinstance(value, Tensor):
                part = value.detach().cpu().double().numpy().reshape(-1)
                parts.append(np.repeat(part, size // part.size) if w.numel() else part)
            else:
                parts.append(np.full(size, float(value)))
        return np.concatenate(parts)
