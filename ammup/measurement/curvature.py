"""Products of the curvature matrix of a loss with vectors, for any model that can be trained.

The matrix is JᵀHJ for matrix="gauss-newton" and "ntk", where J is the Jacobian of the outputs with respect to the
trainable weights, and the Hessian of the loss for "hessian". It is never stored.

:class:`BackwardCurvature` runs the model once and differentiates its backward pass: g = Jᵀc is linear in c, so its
derivative with respect to c along v is Jv. Every product uses the graph of the same forward pass, so that dropout masks
and batch statistics are the same in all of them, and the matrix is exactly symmetric. :class:`DifferenceCurvature`
serves models whose backward pass cannot be differentiated: Jv is a central difference of outputs, and a column of the
Hessian one of gradients, by the same passes as in training.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ammup.arrays import Array
from ammup.measurement.backward import has_reentrant_checkpoints, weight_gradients
from ammup.measurement.difference import call_model, trainable
from ammup.measurement.forward_mode import attention_with_forward_rule
from ammup.measurement.loss_curvature import HessianProduct, Outputs, Tensors
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.weight_space import WeightSpace
from ammup.models.state import ModelState
from ammup.models.streams import random_stream, seeded

Shift = tuple[Tensors, float]
MATRICES = ("gauss-newton", "hessian", "ntk")
# The step of central differences, as a fraction of the norm of the weights.
RELATIVE_STEP = {torch.float64: 1e-6, torch.complex128: 1e-6}
SINGLE_STEP = 1e-3


class NotDifferentiableError(Exception):
    """The backward pass of a model cannot be differentiated."""


class Curvature:
    """A model, a batch and a loss, and ordinary passes through the model.

    Args:
        model: the module; the caller must preserve its state.
        spec: the specification of the measurement.
        matrix: "gauss-newton", "hessian" or "ntk".
        stream: key of the random numbers for drawn labels and dropout masks.

    Attributes:
        passes: the number of forward and backward passes through the model until now.
    """

    def __init__(self, model: nn.Module, spec: MeasurementSpec, matrix: str, stream: object) -> None:
        self.model, self.spec, self.matrix, self.stream = model, spec, matrix, stream
        self.space = WeightSpace(trainable(model))
        spec.check_factors(self.space.weights)
        self.state = ModelState(model)
        like = next(iter(self.space.weights.values()))
        self.inputs, self.targets = spec.inputs_on(like), spec.targets_on(like)
        self.passes = 0

    def run(self, shift: Shift | None = None) -> Outputs:
        """The outputs of one forward pass from the recorded state, with the graph for backward passes.

        Args:
            shift: a direction and the step along it by which the weights are changed before the pass; they keep that
                change until the next pass.
        """
        self.state.restore()
        self.passes += 1
        if shift is not None:
            for w, d in zip(self.space.weights.values(), shift[0], strict=True):
                w.data.add_(d, alpha=shift[1])
        with torch.enable_grad(), seeded("masks", self.stream):
            outputs = call_model(self.model, self.inputs, self.spec.forward)
        return Outputs(outputs, self.inputs, self.spec.objective)

    def labels(self, outputs: Outputs) -> Any:
        """The given targets, or one drawn label for each sample."""
        objective = self.spec.objective
        z = outputs.tensors[0].detach()
        if self.targets is not None:
            objective.check_targets(z, self.targets)
        elif not callable(objective.loss):
            return objective.draw_labels(z.shape, z, random_stream("labels", self.stream))[0]
        return self.targets

    def output_product(self, outputs: Outputs) -> HessianProduct:
        """Products with the matrix H between Jᵀ and J."""
        targets = self.labels(outputs)
        return outputs.identity_product() if self.matrix == "ntk" else outputs.hessian_product(targets)

    def product(self, vector: Array) -> Array:
        """The matrix times a vector."""
        raise NotImplementedError

    def gradient(self, shift: Shift | None = None) -> dict[str, Tensor]:
        """The gradient of the loss with respect to every weight, by a forward and a backward pass; see :meth:`run`."""
        outputs = self.run(shift)
        targets = self.labels(outputs)
        with torch.enable_grad():
            return self._weight_gradient(outputs.loss(targets))

    def _weight_gradient(self, root: Tensor) -> dict[str, Tensor]:
        self.passes += 1
        accumulate = has_reentrant_checkpoints(root)
        return weight_gradients([(root, None)], self.space.weights, accumulate=accumulate)[0]


class BackwardCurvature(Curvature):
    """Products by backward passes through the graph of one forward pass; arguments as in the base class.

    Raises:
        NotDifferentiableError: the backward pass of the model cannot be differentiated.
    """

    def __init__(self, model: nn.Module, spec: MeasurementSpec, matrix: str, stream: object) -> None:
        super().__init__(model, spec, matrix, stream)
        with attention_with_forward_rule():  # the fused kernels have no second derivative
            self.outputs = self.run()
        self.leaves = list(self.space.weights.values())
        if matrix == "hessian":
            with torch.enable_grad():
                loss = self.outputs.loss(self.labels(self.outputs))
            self.loss_gradient = self._differentiated(lambda: self._gradients([loss], create_graph=True))
        else:
            self.H = self.output_product(self.outputs)

    @cached_property
    def _pull_back(self) -> tuple[Tensors, Tensors]:
        """(cotangents c of the outputs, gradients Jᵀc with a graph); Jv is the derivative of v · Jᵀc along c."""
        cotangents = [torch.zeros_like(z).requires_grad_() for z in self.outputs.tensors]
        gradients = self._differentiated(lambda: self._gradients(self.outputs.tensors, cotangents, create_graph=True))
        if not any(g.requires_grad for g in gradients):
            raise NotDifferentiableError("no gradient of a weight depends on the gradient of the outputs")
        return cotangents, gradients

    def product(self, vector: Array) -> Array:
        """The matrix times a vector."""
        if self.matrix == "hessian":
            return self.space.vector(self._derivative(self.loss_gradient, self.leaves, self.space.tensors(vector)))
        u = self.H(self.jacobian(vector))
        return self.space.vector(self._differentiated(lambda: self._gradients(self.outputs.tensors, u)))

    def jacobian(self, vector: Array) -> Tensors:
        """Jv, one tensor for each tensor of the outputs."""
        cotangents, gradients = self._pull_back
        return self._derivative(gradients, cotangents, self.space.tensors(vector))

    def quadratic_form(self, vector: Array) -> float:
        """The number v · M v, computed for matrices JᵀHJ as Jv · H Jv, which does not use Jᵀ."""
        if self.matrix == "hessian":
            return float(vector @ self.product(vector))
        u = self.jacobian(vector)
        return sum(float((a.double() * b.double()).sum()) for a, b in zip(u, self.H(u), strict=True))

    def _derivative(self, gradients: Tensors, variables: Tensors, v: Tensors) -> Tensors:
        """The derivative of gradients · v with respect to some variables."""
        used = [n for n, g in enumerate(gradients) if g.requires_grad]
        if not used:  # the gradient does not depend on them
            return [torch.zeros_like(x) for x in variables]
        roots, weights = [gradients[n] for n in used], [v[n] for n in used]

        def derivative() -> Tensors:
            found = torch.autograd.grad(roots, variables, weights, retain_graph=True, allow_unused=True)
            return [torch.zeros_like(x) if d is None else d for x, d in zip(variables, found, strict=True)]

        return self._differentiated(derivative)

    def _gradients(self, roots: Tensors, cotangents: Tensors | None = None, *, create_graph: bool = False) -> Tensors:
        found = torch.autograd.grad(
            roots, self.leaves, cotangents, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        return [torch.zeros_like(w) if g is None else g for w, g in zip(self.leaves, found, strict=True)]

    def _differentiated(self, compute: Callable[[], Tensors]) -> Tensors:
        self.passes += 1
        try:
            with torch.enable_grad():
                return compute()
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate" in str(error):
                raise
            raise NotDifferentiableError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


class DifferenceCurvature(Curvature):
    """Products by central differences of ordinary passes; arguments as in the base class.

    The matrix is symmetric only if the backward pass is the transpose of the forward's derivative. Gradient hooks and
    detached statistics have the same effect as in training.
    """

    step_factor = 1.0  # changes the step of the differences, to estimate their error

    def product(self, vector: Array) -> Array:
        """The matrix times a vector."""
        if self.matrix == "hessian":
            v, epsilon = self._step(vector)
            ahead, behind = (self.space.vector(list(self.gradient((v, e)).values())) for e in (epsilon, -epsilon))
            return (ahead - behind) / (2 * epsilon)
        u = self.jacobian(vector)
        outputs = self.run()
        with torch.enable_grad():
            rows = self.output_product(outputs)(u)
            root = torch.stack([(z * row).sum() for z, row in zip(outputs.tensors, rows, strict=True)]).sum()
            return self.space.vector(list(self._weight_gradient(root).values()))

    def jacobian(self, vector: Array) -> Tensors:
        """Jv, one tensor for each tensor of the outputs."""
        v, epsilon = self._step(vector)
        ahead, behind = ([z.detach() for z in self.run((v, e)).tensors] for e in (epsilon, -epsilon))
        return [(a - b) / (2 * epsilon) for a, b in zip(ahead, behind, strict=True)]

    def _step(self, vector: Array) -> Shift:
        """(the vector as weights, the factor by which they are changed)."""
        weights = self.space.vector(list(self.space.weights.values()))
        dtype = next(iter(self.space.weights.values())).dtype
        relative = self.step_factor * RELATIVE_STEP.get(dtype, SINGLE_STEP)
        size, length = float(np.linalg.norm(weights)), float(np.linalg.norm(vector))
        return self.space.tensors(vector), relative * (size or 1.0) / (length or 1.0)
