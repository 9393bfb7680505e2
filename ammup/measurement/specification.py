"""`MeasurementSpec`: the specification of a measurement, which is checked once and passed to all functions."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset

from ammup.errors import InputError, check_known
from ammup.format import brief_fields
from ammup.measurement.first_step import OptimizerLike
from ammup.measurement.loss import Loss, Objective, Targets, resolved_loss
from ammup.models.array_input import tensor_if_array
from ammup.models.depth import Forward

METHODS = ("auto", "jvp", "difference")


@dataclass(frozen=True, kw_only=True)
class MeasurementSpec:
    """One batch, the gradient step on it, and the units that are observed.

    The public functions build it from their keyword arguments, which :func:`ammup.measure_updates` describes in detail.

    Attributes:
        inputs: (B, …); with ``forward``, any structure of tensors.
        targets: class indices, floats shaped like the outputs, or None for drawn labels.
        loss: "mse", "cross_entropy" or a callable; None is "mse", unless the targets are class indices.
        part: "total", "label" or "output".
        label_draws: number of drawn labels.
        units: names of the observed modules; None finds the depth units.
        lr_factors: factor of the learning rate of some weights, by parameter name.
        forward: ``forward(model, inputs)`` -> outputs; None calls the model with the inputs.
        optimizer: the optimizer whose step is measured; None for SGD.
        device: device to which models built by a factory are moved; None does not move them.
        method: "auto", "jvp" or "difference"; see :mod:`ammup.measurement.method`.
        methods_agree: whether both methods gave the same result on one draw of this net, so that "auto" can use jvp for
            the other draws.
        autocast: the dtype of the autocast in which the gradient is computed; None computes it without autocast.

    NumPy arrays are converted to tensors.

    Raises:
        InputError: the loss, part or method is unknown, they cannot be combined, the targets are class indices and
            there is no loss, a factor is negative, or the inputs are empty, not floating-point or not finite.
    """

    inputs: Any
    targets: Targets | None = None
    loss: Loss | None = None
    part: str = "total"
    label_draws: int = 4
    units: Sequence[str] | None = None
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    forward: Forward | None = None
    optimizer: OptimizerLike | None = None
    device: torch.device | str | None = None
    method: str = "auto"
    methods_agree: bool = False
    autocast: torch.dtype | None = None

    __repr__ = brief_fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tensor_if_array("targets", self.targets))
        if self.forward is None:
            object.__setattr__(self, "inputs", tensor_if_array("inputs", self.inputs))
        objective = self.objective  # checks loss and part
        if self.optimizer is not None and objective.part != "total":
            raise InputError(f"part={self.part!r} of an optimizer's step is not defined; use part='total'")
        check_known("method", self.method, METHODS)
        if self.autocast is not None and self.method == "jvp":
            raise InputError("method='jvp' computes without autocast; use method='auto' or 'difference' with autocast=")
        _check_inputs(self.inputs, any_structure=self.forward is not None)
        if not all(math.isfinite(factor) and factor >= 0 for factor in self.lr_factors.values()):
            raise InputError(f"lr_factors={dict(self.lr_factors)} must be finite and at least 0")

    @cached_property
    def objective(self) -> Objective:
        """The loss and the measured part of its gradient."""
        return Objective(loss=resolved_loss(self.loss, self.targets), part=self.part, label_draws=self.label_draws)

    def check_factors(self, weights: Collection[str]) -> None:
        """Raise InputError if there is a learning-rate factor for a name that is not in ``weights``."""
        if not set(self.lr_factors) <= set(weights):
            raise InputError(f"lr_factors={dict(self.lr_factors)}: expected names of trainable weights")

    def inputs_on(self, like: Tensor) -> Any:
        """The inputs on the device of ``like``; floating-point tensors are converted to its (real) dtype."""

        def moved(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return _moved(x, like.device, like.dtype.to_real() if x.is_floating_point() else x.dtype)

        return tree_map(moved, self.inputs)

    def targets_on(self, like: Tensor) -> Tensor | None:
        """The targets on the device of ``like``."""
        targets: Any = self.targets
        return _moved(targets, like.device) if isinstance(targets, Tensor) else targets


def _check_inputs(inputs: Any, *, any_structure: bool) -> None:
    if not any_structure and not isinstance(inputs, Tensor):
        kind = type(inputs).__name__
        if isinstance(inputs, DataLoader | Dataset):
            raise InputError(f"inputs are a {kind}; give the inputs of one batch, a tensor or array (batch, …)")
        raise InputError(
            f"inputs are a {kind}", python="give a tensor or array (batch, …), or a forward= that accepts these inputs"
        )
    for x in tree_leaves(inputs):
        if not isinstance(x, Tensor):
            continue
        if not x.is_floating_point() and not any_structure:
            raise InputError(f"inputs have dtype {x.dtype}; give floats (images: normalized, not uint8)")
        if x.numel() == 0 or (x.ndim < 2 and not any_structure):
            raise InputError(f"inputs have shape {tuple(x.shape)}; give (batch, …) with at least one sample")
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise InputError("inputs contain NaN or infinite values")


def _moved(x: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    moved = x.to(device, dtype)
    # Tensors from inference mode cannot be saved for a backward, except as a copy.
    return moved.clone() if moved.is_inference() and not torch.is_inference_mode_enabled() else moved
