"""The method "difference": one gradient step of any model that can be trained, by ordinary backward and forward passes.

An ordinary backward pass gives the gradient g, so every hook, detached statistic and custom backward has the same
effect as in training. Forward passes at the weights w + ε d and w - ε d, where d is the step for the gradient g, give
the change of every depth unit as a central difference. The weights are changed in place and restored from copies, in
float64 if the model runs in float64.

The relative curvature |z₊ + z₋ - 2 z₀| / |z₊ - z₋| of a unit estimates the relative error of its central difference. It
is proportional to ε if the unit is nonlinear in the weights, and to 1/ε if rounding errors dominate.
Several ε are tried, and the smallest curvature is reported as the relative error.

For training under autocast, only g is computed under autocast, in the precision of the model, because training takes
the step for this g. The change of the units along the step is measured without autocast: in bfloat16 it would be lost
in rounding. See :mod:`ammup.measurement.autocast`.

Weights that no pass changes get the data of another tensor instead of being changed in place, so that they are neither
copied nor compared.

Axes: R residual row, B batch, U depth unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_fields
from ammup.measurement.autocast import autocast_in, scaled_gradients
from ammup.measurement.backward import has_reentrant_checkpoints, weight_gradients
from ammup.measurement.first_step import FirstStep
from ammup.measurement.loss import Residuals
from ammup.measurement.norms import squared_norm
from ammup.measurement.observation import checked_outputs, checked_units, observed_units
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward, cannot_be_run
from ammup.models.eager import run_eagerly
from ammup.models.flow import check_outside_transforms
from ammup.models.purity import constant_weights
from ammup.models.state import ModelState
from ammup.models.streams import random_stream, seeded

Weights = dict[str, Tensor]
Gradients = tuple[list[Weights], list[Weights]]  # of the fixed and of the drawn residual rows

# The ε that are tried, given as relative change of the unit that changes most: 1e-7 for models in float64, where few
# units of a ReLU become active in the step, and larger ones for models that compute partly in float32, whose rounding
# errors are 1e-7 of a pre-activation.
RELATIVE_STEPS = (1e-7, 1e-4, 1e-3)
# The search for a better ε ends if no curvature is larger than this.
SMALL_CURVATURE = 1e-3
# The first ε assumes that the unit that changes most changes by this factor more than any weight, both relative to
# their size: 10 to 1000 in torchvision's nets. ε is corrected if the units change by more than LARGEST_RATIO times more
# or less than intended, which takes another forward pass.
AMPLIFICATION = 100.0
LARGEST_RATIO = 30.0


@dataclass(frozen=True, kw_only=True)
class RowMoments:
    """The contribution of one residual row.

    Attributes:
        S: mean square of every unit's change at learning rate 1, (U,).
        curvature: relative curvature of every unit, an estimate of the relative error of its change, (U,).
        squares: squared norm of the gradient of each weight.
    """

    S: Array
    curvature: Array
    squares: Array

    __repr__ = brief_fields


class Difference:
    """The measurement of one model, whose state is restored before every pass.

    Args:
        model: the module; the caller must preserve its state.
        spec: the specification of the measurement.
        units: names of the observed modules.
        stream: key of the random numbers for labels and dropout masks.

    Raises:
        InputError: the model has no trainable weights, a unit or a weight in ``spec.lr_factors`` is unknown, or the
            optimizer is invalid.
    """

    def __init__(self, model: nn.Module, spec: MeasurementSpec, units: Sequence[str], stream: object) -> None:
        self.model, self.spec, self.stream = model, spec, stream
        self.units = checked_units(model, units)
        self.weights = trainable(model)
        spec.check_factors(self.weights)
        constant = constant_weights(model) if spec.forward is None else []
        self.state = ModelState(model, constant=constant)
        self._constant = {id(w) for w in constant}
        # The user's code and attention may compute something else without gradients; other modules need less memory.
        self._record_gradients = not constant or _has_attention(model)
        self._moved: Weights = {}  # memory of the changed constant weights
        like = next(iter(self.weights.values()))
        self.inputs = spec.inputs_on(like)
        self.targets = spec.targets_on(like)
        parameters = dict(model.named_parameters())
        self.optimizer = None if spec.optimizer is None else FirstStep.from_optimizer(spec.optimizer, parameters)

    def rows(self, trained: Gradients | None = None) -> tuple[list[RowMoments], list[RowMoments]]:
        """The moments of every fixed and every drawn residual row; see :class:`ammup.measurement.loss.Residuals`.

        Args:
            trained: the gradients of these rows as training computes them; None computes them here.
        """
        if trained is None:
            z0, fixed, drawn = self.gradients()
        else:
            z0 = self.outputs_at({}, 0.0)
            fixed, drawn = ([self._cast(g) for g in rows] for rows in trained)
        return [self._row_moments(g, z0) for g in fixed], [self._row_moments(g, z0) for g in drawn]

    def gradients(self) -> tuple[list[Tensor], list[Weights], list[Weights]]:
        """(outputs of the units, gradients of the fixed rows, gradients of the drawn rows), from one forward pass.

        The forward and the loss are computed under the autocast of the specification.
        """
        z0: dict[str, Tensor] = {}
        autocast = self.spec.autocast
        self.state.restore()
        with torch.enable_grad(), seeded("masks", self.stream):
            with autocast_in(autocast, next(iter(self.weights.values())).device):
                with observed_units(self.model, self.units, partial(_record, z0)):
                    outputs = call_model(self.model, self.inputs, self.spec.forward)
                roots, n_fixed = self._roots(outputs)
            backward = scaled_gradients if autocast is torch.float16 else weight_gradients
            gradients = backward(roots, self.weights, accumulate=has_reentrant_checkpoints(outputs))
        return [z0[unit] for unit in self.units], gradients[:n_fixed], gradients[n_fixed:]

    def _roots(self, outputs: Any) -> tuple[list[tuple[Tensor, Tensor | None]], int]:
        """The outputs with each residual, or a callable loss without one, and the number of fixed residuals."""
        objective = self.spec.objective
        if callable(objective.loss):
            return [(objective.scalar(outputs, self.targets), None)], 1
        tensor = checked_outputs(outputs, self.inputs, objective)
        if self.spec.autocast is not None:  # autocast computes both losses in float32
            tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        residuals = self._residuals(tensor.detach())
        return [(tensor, row) for row in (*residuals.fixed, *residuals.drawn)], len(residuals.fixed)

    def _cast(self, gradient: Weights) -> Weights:
        """A gradient in the dtypes of the weights."""
        return {name: g.to(self.weights[name].dtype) for name, g in gradient.items()}

    def _residuals(self, outputs: Tensor) -> Residuals:
        """The residuals of the given targets or, without targets, of drawn labels."""
        objective = self.spec.objective
        if self.targets is not None:
            objective.check_targets(outputs, self.targets)
            return objective.residuals(outputs, self.targets, drawn=False)
        labels = objective.draw_labels(outputs.shape, outputs, random_stream("labels", self.stream))
        return objective.residuals(outputs, labels, drawn=True, per_label=self.optimizer is not None)

    def _row_moments(self, gradient: Weights, z0: list[Tensor]) -> RowMoments:
        """The moments of the step for one gradient; ``z0`` has the units' outputs before the step."""
        squares = np.array([float(squared_norm(g)) for g in gradient.values()])
        direction = gradient
        if self.optimizer is not None:
            current = {name: w.detach().clone() for name, w in self.weights.items()}
            direction = self.optimizer.direction(current, gradient)
        factors = self.spec.lr_factors
        direction = {name: d * factors[name] if name in factors else d for name, d in direction.items()}
        S, curvature = self._moments(direction, z0)
        return RowMoments(S=S, curvature=curvature, squares=squares)

    def _moments(self, direction: Weights, z0: list[Tensor]) -> tuple[Array, Array]:
        """(S_l, curvature) of every unit along a direction, each at the ε for which its curvature is smallest."""
        self.state.restore()
        change = self._relative_change(direction)
        if change == 0:
            return np.zeros(len(z0)), np.zeros(len(z0))
        epsilon, plus = self._first_step(direction, change, z0)
        best_S, best_curvature = np.zeros(len(z0)), np.full(len(z0), np.inf)
        for intended, larger in zip_longest(RELATIVE_STEPS, RELATIVE_STEPS[1:]):
            S, curvature = central_difference(plus, z0, self.outputs_at(direction, -epsilon), epsilon)
            better = (curvature < best_curvature) | np.isinf(best_curvature)
            best_S, best_curvature = np.where(better, S, best_S), np.where(better, curvature, best_curvature)
            if larger is None or (best_curvature <= SMALL_CURVATURE).all():
                break
            epsilon *= larger / (largest_change(plus, z0) or intended)
            plus = self.outputs_at(direction, epsilon)
        return best_S, np.where(best_S > 0, best_curvature, 0.0)

    def _first_step(self, direction: Weights, change: float, z0: list[Tensor]) -> tuple[float, list[Tensor]]:
        """The first ε, and every unit's output there; ``change`` is the relative change of the weights at ε = 1."""
        epsilon = RELATIVE_STEPS[0] / (change * AMPLIFICATION)
        plus = self.outputs_at(direction, epsilon)
        moved = largest_change(plus, z0)
        if moved == 0:  # the change may be smaller than a rounding error
            epsilon = RELATIVE_STEPS[-1] / change
            plus = self.outputs_at(direction, epsilon)
            moved = largest_change(plus, z0)
        if moved and not 1 / LARGEST_RATIO < moved / RELATIVE_STEPS[0] < LARGEST_RATIO:
            epsilon *= RELATIVE_STEPS[0] / moved
            plus = self.outputs_at(direction, epsilon)
        return epsilon, plus

    def _relative_change(self, direction: Weights) -> float:
        """The largest change of a weight in one step at learning rate 1, relative to its norm.

        If every weight that changes is zero, it is the norm of the step; if none changes, it is 0.
        """
        steps = {name: math.sqrt(float(squared_norm(d))) for name, d in direction.items()}
        sizes = {name: math.sqrt(float(squared_norm(self.weights[name]))) for name in steps}
        largest = max(steps[name] / sizes[name] if sizes[name] > 0 else 0.0 for name in steps)
        return largest or math.hypot(*steps.values())

    def outputs_at(self, direction: Weights, epsilon: float) -> list[Tensor]:
        """Every unit's output at the weights plus ε times the direction."""
        outputs: dict[str, Tensor] = {}
        self.state.restore()
        for name, d in direction.items():
            w = self.weights[name]
            if id(w) in self._constant:
                if name not in self._moved:
                    self._moved[name] = torch.empty_like(w.detach())
                w.data = torch.add(w.detach(), d, alpha=epsilon, out=self._moved[name])  # the state restores the data
            else:
                w.data.add_(d, alpha=epsilon)
        record = partial(_record, outputs)
        with (
            torch.set_grad_enabled(self._record_gradients),
            seeded("masks", self.stream),
            observed_units(self.model, self.units, record),
        ):
            call_model(self.model, self.inputs, self.spec.forward)
        return [outputs[unit] for unit in self.units]


def largest_change(plus: list[Tensor], z0: list[Tensor]) -> float:
    """The largest relative change of a unit; it is not defined for a unit that starts at zero."""
    sizes = [float(squared_norm(middle)) for middle in z0]
    changes = [float(squared_norm(ahead - middle)) for ahead, middle in zip(plus, z0, strict=True)]
    return max((math.sqrt(change / size) for change, size in zip(changes, sizes, strict=True) if size > 0), default=0.0)


def central_difference(
    plus: list[Tensor], z0: list[Tensor], minus: list[Tensor], epsilon: float
) -> tuple[Array, Array]:
    """(S_l, curvature) of the units, from their outputs at ε, 0 and -ε; a unit that does not change has curvature ∞."""
    S, curvature = [], []
    for ahead, middle, behind in zip(plus, z0, minus, strict=True):
        first = float(squared_norm(ahead - behind))
        second = float(squared_norm((ahead - middle) + (behind - middle)))
        S.append(first / (4 * epsilon**2) / max(1, ahead.numel()))
        curvature.append(math.sqrt(second / first) if first > 0 else math.inf)
    return np.array(S), np.array(curvature)


def call_model(model: nn.Module, inputs: Any, forward: Forward | None) -> Any:
    """The outputs of the model, or of ``forward``, without compilation.

    Raises:
        InputError: the forward fails.
    """
    try:
        with run_eagerly():
            return model(inputs) if forward is None else forward(model, inputs)
    except InputError:
        raise
    except Exception as error:  # the user's forward may raise anything
        raise cannot_be_run(model, inputs, error) from error


def _has_attention(model: nn.Module) -> bool:
    """Whether the model has a module of torch with other kernels if no gradients are recorded."""
    return any(isinstance(m, nn.MultiheadAttention | nn.TransformerEncoderLayer) for m in model.modules())


def trainable(model: nn.Module) -> Weights:
    """The trainable weights by name, including complex ones.

    Raises:
        InputError: the model has no trainable weights.
    """
    weights: Weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        raise InputError(f"{type(model).__name__} has no trainable weights, so a step changes nothing")
    return weights


def _record(outputs: dict[str, Tensor], name: str, z: Tensor) -> None:
    """Store a copy of a unit's output."""
    check_outside_transforms(name, z)
    outputs[name] = z.detach().clone()  # a copy, because a later activation may change z in place
