"""`check_finite_step`, which compares the first-order moments with those of a true step of finite size."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.loss import Loss
from ammup.measurement.moments import to_numpy
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.models.state import ModelState, check_initialized


@dataclass(frozen=True, kw_only=True)
class FiniteStep:
    """Moments to first order and of the true step, at one learning rate. Every array has one value for each unit.

    Attributes:
        units: names of the depth units.
        lr: learning rate of the step.
        first_order: η² S_l.
        true: mean of (z(θ - ηg) - z(θ))².
        gap: true / first_order - 1, the relative difference.
    """

    units: tuple[str, ...]
    lr: float
    first_order: Array
    true: Array

    @property
    def gap(self) -> Array:
        """Relative difference of each unit."""
        return self.true / self.first_order - 1


def check_finite_step(
    model: nn.Module,
    inputs: Shaped[Tensor, "B *shape"],
    targets: Tensor | None = None,
    *,
    lr: float,
    loss: Loss = "mse",
    units: Sequence[str] | None = None,
    seed: int = 0,
) -> FiniteStep:
    """Compare the first-order moments with a true SGD step at ``lr``, by a forward pass before and one after the step.

    Arguments and errors as in :func:`measure_updates`; without targets, one label is drawn. The step is taken on a copy
    of the model in float64, because in float32 the difference of the two passes loses its digits at small steps.

    Example:
        >>> import ammup, torch
        >>> net = ammup.mlp(4, width=64, in_features=16)
        >>> step = ammup.check_finite_step(net, torch.ones(2, 16), torch.tensor([0, 1]), lr=1e-4)
        >>> bool(abs(step.gap).max() < 0.01)
        True
    """
    if not (np.isfinite(lr) and lr > 0):
        raise InputError(f"lr={lr} must be positive and finite")
    spec = MeasurementSpec(inputs=inputs, targets=targets, loss=loss, label_draws=1, units=units)
    double = _copied(model).double()
    step = Step.from_model(double, spec, state=ModelState(double))
    outputs, pull_back = step.backward(seed)
    labels = step.labels(outputs, seed)
    if labels is not None:
        step = replace(step, targets=labels[0])
    (gradient,) = pull_back(step.residuals(outputs, None).fixed[0])
    first_order = step.tangent_moments(step.weights, gradient, seed)[:-1]
    stepped = {name: w - lr * gradient[name] for name, w in step.weights.items()}
    with torch.no_grad():
        before = step.pre_activations(step.weights, seed)
        after = step.pre_activations(stepped, seed)
    true = [float((z - z0).square().mean()) for z0, z in zip(before, after, strict=True)]
    return FiniteStep(units=step.units, lr=lr, first_order=lr**2 * to_numpy(first_order), true=np.asarray(true))


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy of a model that may store tensors with an autograd graph, which torch does not copy."""
    check_initialized(model)
    with_graph = [tensor for tensor in ModelState(model, record=False).tensors if not tensor.is_leaf]
    try:
        return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in with_graph})
    except Exception as error:  # copying the user's attributes may raise anything
        reason = str(error) or type(error).__name__
        raise InputError(f"{type(model).__name__} cannot be copied: {reason}") from error
