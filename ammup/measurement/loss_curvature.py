"""The loss as a function of the outputs, and products of its second derivative H with vectors.

Axes: B batch, M output unit (class or channel), P position of an output field.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ammup.errors import InputError
from ammup.measurement.loss import Objective
from ammup.measurement.observation import checked_outputs

Tensors = list[Tensor]
HessianProduct = Callable[[Tensors], Tensors]


class Outputs:
    """The outputs of one forward pass, with the tensors in them that depend on the weights.

    Args:
        outputs: what the model returned.
        inputs: the inputs of the pass.
        objective: the loss.

    Attributes:
        tensors: floating-point tensors in the outputs that require gradients.

    Raises:
        InputError: the loss is not a callable and the outputs are not a tensor (B, M, *P), or they do not depend on the
            weights.
    """

    def __init__(self, outputs: Any, inputs: Any, objective: Objective) -> None:
        if not callable(objective.loss):
            checked_outputs(outputs, inputs, objective)
        self.objective = objective
        self.leaves: list[Any]
        self.structure: TreeSpec
        self.leaves, self.structure = tree_flatten(outputs)
        self.positions = [n for n, x in enumerate(self.leaves) if isinstance(x, Tensor) and x.requires_grad]
        self.tensors: Tensors = [self.leaves[n] for n in self.positions]
        if not self.tensors:
            raise InputError("the outputs of the model do not depend on its trainable weights, so the matrix is zero")

    def loss(self, targets: Any, tensors: Sequence[Tensor] | None = None) -> Tensor:
        """The loss, as a function of other tensors in place of those that depend on the weights."""
        leaves = list(self.leaves)
        for position, tensor in zip(self.positions, self.tensors if tensors is None else tensors, strict=True):
            leaves[position] = tensor
        outputs = tree_unflatten(leaves, self.structure)
        if callable(self.objective.loss):
            return self.objective.scalar(outputs, targets)
        z: Tensor = outputs
        y = targets if targets.is_floating_point() else F.one_hot(targets, z.shape[1]).movedim(-1, 1)
        if self.objective.loss == "mse":
            return (z - y.to(z)).square().sum() / (2 * self.n_terms)
        return (z.logsumexp(1).sum() - (z * y.to(z)).sum()) / self.n_terms

    @property
    def n_terms(self) -> int:
        """The number of terms of which the loss is the mean: outputs for mse, else samples and positions."""
        z = self.tensors[0]
        if self.objective.loss == "mse":
            return z.numel()
        return len(z) if callable(self.objective.loss) else z.numel() // z.shape[1]

    def identity_product(self) -> HessianProduct:
        """Products with the identity divided by the number of terms, which makes the matrix JᵀHJ the NTK."""
        if len(self.tensors) > 1 or not self.tensors[0].ndim:
            raise InputError("matrix='ntk' needs outputs that are one tensor (batch, …); extract it with forward=")
        return lambda u: [u[0] / self.n_terms]

    def hessian_product(self, targets: Any) -> HessianProduct:
        """Products with H, the second derivative of the loss with respect to the outputs."""
        if callable(self.objective.loss):
            return self._callable_product(targets)
        z, n = self.tensors[0].detach(), self.n_terms
        if self.objective.loss == "mse":
            return lambda u: [u[0] / n]
        p = z.softmax(1)  # H = (diag(p) - p pᵀ) / n for each sample, whatever the labels are
        return lambda u: [p * (u[0] - (p * u[0]).sum(1, keepdim=True)) / n]

    def _callable_product(self, targets: Any) -> HessianProduct:
        with torch.enable_grad():
            z = [tensor.detach().requires_grad_() for tensor in self.tensors]
            value = self.loss(targets, z)
            gradient = torch.autograd.grad(value, z, create_graph=True, allow_unused=True)
        pairs = [(n, g) for n, g in enumerate(gradient) if g is not None and g.requires_grad]
        if not pairs:
            raise InputError(
                "the loss is linear in the outputs of the model, so its Gauss-Newton matrix is zero; return the "
                "outputs before the loss from forward=, or use matrix='hessian'"
            )

        def product(u: Tensors) -> Tensors:
            columns = torch.autograd.grad(
                [g for _, g in pairs], z, [u[n] for n, _ in pairs], retain_graph=True, allow_unused=True
            )
            return [torch.zeros_like(a) if b is None else b for a, b in zip(z, columns, strict=True)]

        return product
