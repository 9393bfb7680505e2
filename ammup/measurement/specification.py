"""`MeasurementSpec`: what is measured of a model, checked once and handed through the functions that measure."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ammup.errors import InputError, check_known
from ammup.measurement.first_step import OptimizerLike
from ammup.measurement.loss import Loss, Objective, resolved_loss
from ammup.models.depth import Forward

METHODS = ("auto", "jvp", "difference")


@dataclass(frozen=True, kw_only=True)
class MeasurementSpec:
    """One batch, the gradient step that is taken on it, and the units that are observed.

    The public functions build it from their keyword arguments; see :func:`ammup.measure_updates` for each of them.

    Attributes:
        inputs: (B, …); with ``forward`` any structure of tensors.
        targets: class indices, floats shaped like the outputs, or None for drawn labels.
        loss: "mse", "cross_entropy" or a callable; None is "mse", unless the targets are class indices.
        part: "total", "label" or "output".
        label_draws: number of drawn labels.
        units: names of the observed modules; None finds the depth units.
        lr_factors: factor of the learning rate of some weights, by parameter name.
        forward: how the model is called; None calls it with the inputs.
        optimizer: whose step is measured; None for SGD.
        device: where models are measured that a factory builds; None leaves them where the factory put them.
        method: "auto", "jvp" or "difference", see :mod:`ammup.measurement.method`.
        methods_agree: whether both methods gave the same result on one draw of this net; "auto" then uses jvp for
            the other draws.

    Raises:
        InputError: an unknown loss or part, class indices without a loss, or inputs that are empty, not floating
            point or not finite.
    """

    inputs: Any
    targets: Tensor | None = None
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

    def __post_init__(self) -> None:
        objective = self.objective  # which checks loss and part
        if self.optimizer is not None and objective.part != "total":
            raise InputError(f"part={self.part!r} of an optimizer's step is not defined; use part='total'")
        check_known("method", self.method, METHODS)
        _check_inputs(self.inputs, any_kind=self.forward is not None)
        if not all(math.isfinite(factor) and factor >= 0 for factor in self.lr_factors.values()):
            raise InputError(f"lr_factors={dict(self.lr_factors)} must be finite and at least 0")

    @cached_property
    def objective(self) -> Objective:
        """The loss and the part of its gradient."""
        return Objective(loss=resolved_loss(self.loss, self.targets), part=self.part, label_draws=self.label_draws)

    def check_factors(self, weights: Collection[str]) -> None:
        """Raise InputError for a learning-rate factor of anything else than these weights."""
        if not set(self.lr_factors) <= set(weights):
            raise InputError(f"lr_factors={dict(self.lr_factors)} must be of trainable weights by name")

    def inputs_on(self, like: Tensor) -> Any:
        """The inputs on the device of ``like``, floating-point ones in its dtype."""
        return tree_map(lambda x: _moved(x, like) if isinstance(x, Tensor) else x, self.inputs)

    def targets_on(self, like: Tensor) -> Tensor | None:
        """The targets on the device of ``like``."""
        return self.targets.to(like.device) if isinstance(self.targets, Tensor) else self.targets


def _check_inputs(inputs: Any, *, any_kind: bool) -> None:
    if not any_kind and not isinstance(inputs, Tensor):
        raise InputError(f"inputs are a {type(inputs).__name__}; give a tensor (batch, …), or forward= that takes it")
    for x in tree_leaves(inputs):
        if not isinstance(x, Tensor):
            continue
        if not x.is_floating_point() and not any_kind:
            raise InputError(f"inputs have dtype {x.dtype}; give floats (images: normalised, not uint8)")
        if x.numel() == 0 or (x.ndim < 2 and not any_kind):
            raise InputError(f"inputs have shape {tuple(x.shape)}; give (batch, …) with at least one sample")
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise InputError("inputs hold NaN or infinite values")


def _moved(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like) if x.is_floating_point() else x.to(like.device)
