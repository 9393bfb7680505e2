"""`check_finite_step`, which compares the first-order moments with those of a true step of finite size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_repr, count_text
from ammup.measurement.difference import Difference, call_model, trainable
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.observation import checked_outputs
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import check_moved, measure_draws
from ammup.models.depth import Forward
from ammup.models.precision import in_double_precision
from ammup.models.state import check_initialized, preserved
from ammup.models.streams import random_stream, seeded
from ammup.models.wrappers import unwrapped

if TYPE_CHECKING:  # imported when a table is made
    import pandas as pd


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

    def __repr__(self) -> str:
        largest = float(np.abs(self.gap).max()) if len(self.gap) else 0.0
        return brief_repr(self, count_text(len(self.units), "unit"), lr=self.lr, largest_gap=largest)

    @property
    def gap(self) -> Array:
        """Relative difference of each unit."""
        return self.true / self.first_order - 1

    def to_frame(self) -> "pd.DataFrame":
        """One row for each depth unit: unit, its name; first_order, true and gap."""
        import pandas as pd

        columns = {"unit": self.units, "first_order": self.first_order, "true": self.true, "gap": self.gap}
        return pd.DataFrame(columns)


def check_finite_step(
    model: nn.Module,
    inputs: Any,
    targets: Targets | None = None,
    *,
    lr: float,
    loss: Loss | None = None,
    units: Sequence[str] | None = None,
    seed: int = 0,
    forward: Forward | None = None,
) -> FiniteStep:
    """Compare the first order in the learning rate with a true SGD step, by forwards before and after that step.

    Arguments and errors as in :func:`ammup.measure_updates`; without targets one label is drawn. The model runs in
    float64, because in float32 the difference of two forwards loses its digits at small steps; afterwards it is
    restored. A model that does not run in float64 is compared in its own precision.

    Example:
        >>> import ammup, torch
        >>> net = ammup.mlp(4, width=64, in_features=16)
        >>> step = ammup.check_finite_step(net, torch.ones(2, 16), torch.tensor([0, 1]), lr=1e-4, loss="mse")
        >>> bool(abs(step.gap).max() < 0.01)
        True
    """
    if not (np.isfinite(lr) and lr > 0):
        raise InputError(f"lr={lr} must be positive and finite")
    model = unwrapped(model)
    check_initialized(model)
    spec = MeasurementSpec(inputs=inputs, targets=targets, loss=loss, label_draws=1, units=units, forward=forward)
    return in_double_precision(model, lambda _problem: _compared(model, spec, lr, seed))


def _compared(model: nn.Module, spec: MeasurementSpec, lr: float, seed: int) -> FiniteStep:
    spec = _with_labels(model, spec, seed)
    (moments,) = measure_draws([model], spec, streams=[seed])
    check_moved(moments)
    with preserved(model):
        step = Difference(model, spec, moments.units, seed)
        before, (gradient,), _ = step.gradients()
        after = step.outputs_at(gradient, -lr)
    true = [float((z - z0).abs().square().mean()) for z0, z in zip(before, after, strict=True)]
    return FiniteStep(units=moments.units, lr=lr, first_order=lr**2 * moments.S, true=np.asarray(true))


def _with_labels(model: nn.Module, spec: MeasurementSpec, seed: int) -> MeasurementSpec:
    """The specification with one drawn label if it has no targets."""
    if spec.targets is not None or callable(spec.objective.loss):
        return spec
    like = next(iter(trainable(model).values()))
    with preserved(model), torch.enable_grad(), seeded("masks", seed):
        outputs = checked_outputs(call_model(model, spec.inputs_on(like), spec.forward), spec.inputs, spec.objective)
    labels = spec.objective.draw_labels(outputs.shape, outputs.detach(), random_stream("labels", seed))
    return replace(spec, targets=labels[0])
