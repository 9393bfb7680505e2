"""`Step`: one gradient step of a module, as pure functions of its weights.

Axes: B batch, U depth unit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
import torch.autograd.forward_ad as fwad
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp
from torch.utils._pytree import tree_map

from ammup.errors import InputError
from ammup.format import brief_fields
from ammup.measurement.first_step import FirstStep
from ammup.measurement.forward_mode import (
    attention_with_forward_rule,
    channels_last,
    load_forward_rules,
    supports_channels_last,
)
from ammup.measurement.jvp_error import PassComparison, perturbed_inputs
from ammup.measurement.loss import Objective, Residuals
from ammup.measurement.norms import squared_norm
from ammup.measurement.observation import check_runs, checked_outputs, observed_units, resolved_units
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward, cannot_be_run
from ammup.models.eager import run_eagerly
from ammup.models.state import ModelState, check_initialized
from ammup.models.streams import random_stream, seeded
from ammup.models.substitution import substituted

Weights = dict[str, Tensor]
PullBack = Callable[..., tuple[Weights]]
OUTPUT = ""  # the name of the model itself among its modules, and of its outputs in `Step.shapes`


def _call_module(model: nn.Module, inputs: Any) -> Any:
    return model(inputs)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A module, a batch and an objective. The methods do not change the global random generators.

    All passes with the same ``stream`` start from the same state of the model and use the same random numbers, such as
    dropout masks. Changes that the forward of the last pass makes to the model remain; see
    :func:`ammup.models.state.preserved`.

    Attributes:
        model: the module that is called with the weights below.
        units: names of the observed modules.
        weights: trainable parameters by name, detached.
        frozen: the other parameters by name.
        inputs: (B, …) on the device and in the dtype of the weights, or any inputs of ``forward``.
        targets: targets on the same device; None if labels are drawn.
        objective: the loss and the measured part of its gradient.
        lr_factors: factor of the learning rate of some weights, by name; 1 for the others.
        optimizer: computes the step for a gradient; None for SGD.
        forward: ``forward(model, inputs)`` -> outputs.
        state: the state of the model that is restored before every pass; None if the forward does not change it.
    """

    model: nn.Module
    units: tuple[str, ...]
    weights: Weights
    frozen: Weights
    inputs: Any
    targets: Tensor | None
    objective: Objective
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    optimizer: FirstStep | None = None
    forward: Forward = _call_module
    state: ModelState | None = None

    __repr__ = brief_fields

    @classmethod
    def from_model(cls, model: nn.Module, spec: MeasurementSpec, *, state: ModelState | None = None) -> "Step":
        """The step of a model for a specification, checked as far as possible without a pass.

        Args:
            model: the module.
            spec: the specification of the measurement.
            state: the state that is restored before every pass; None if that is not necessary.

        Raises:
            InputError: the model has no trainable weights, or a unit or a weight in ``spec.lr_factors`` is unknown.
        """
        load_forward_rules()
        check_initialized(model)
        parameters = dict(model.named_parameters())
        weights = {name: p.detach() for name, p in parameters.items() if p.requires_grad and p.is_floating_point()}
        if not weights:
            raise InputError(f"{type(model).__name__} has no trainable weights, so a step changes nothing")
        spec.check_factors(weights)
        like = next(iter(weights.values()))
        inputs = spec.inputs_on(like)
        units = resolved_units(model, spec, inputs, state)
        layout = channels_last if supports_channels_last(model) else _identity
        return cls(
            model=model,
            units=units,
            weights={name: layout(w) for name, w in weights.items()},
            frozen={name: p.detach() for name, p in parameters.items() if name not in weights},
            inputs=tree_map(lambda x: layout(x) if isinstance(x, Tensor) else x, inputs),
            targets=spec.targets_on(like),
            objective=spec.objective,
            lr_factors=spec.lr_factors,
            optimizer=None if spec.optimizer is None else FirstStep.from_optimizer(spec.optimizer, parameters),
            forward=_call_module if spec.forward is None else spec.forward,
            state=state,
        )

    def spec_for_draws(self, spec: MeasurementSpec) -> MeasurementSpec:
        """The specification for other weight draws of this model, with its units and with the batch on its device."""
        return replace(spec, inputs=self.inputs, targets=self.targets, units=self.units)

    def run(self, weights: Weights) -> Tensor:
        """The model's outputs (B, M, *P) at ``weights``."""
        buffers = {name: b.detach().clone() for name, b in self.model.named_buffers()}  # batch norm updates them
        return self._call({**weights, **self.frozen, **buffers}, self.inputs)

    def _call(self, tensors: Weights, inputs: Any) -> Tensor:
        try:
            with run_eagerly(), attention_with_forward_rule(), substituted(self.model, tensors):
                outputs = self.forward(self.model, inputs)
        except InputError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise cannot_be_run(self.model, inputs, error) from error
        return checked_outputs(outputs, inputs, self.objective)

    def backward(self, stream: object) -> tuple[Tensor, PullBack]:
        """(outputs, function that maps a residual to the gradients of all weights)."""
        outputs, pull_back, _ = self.backward_and_units(stream, observe=False)
        return outputs, pull_back

    def backward_and_units(
        self, stream: object, *, observe: bool = True
    ) -> tuple[Tensor, PullBack, dict[str, Tensor] | None]:
        """As :meth:`backward`, and every unit's output, or None without ``observe``."""
        self.restore_model()
        if not observe:
            with seeded("masks", stream):
                outputs, pull_back = self.linearize(self.weights)
            return outputs.detach(), pull_back, None

        def observed(weights: Weights) -> tuple[Tensor, Weights]:
            values: Weights = {}

            def record(name: str, z: Tensor) -> None:
                values[name] = z.detach().clone()  # a later activation may change z in place

            with observed_units(self.model, self.units, record):
                return self.run(weights), values

        with seeded("masks", stream):
            outputs, pull_back, values = cast(
                tuple[Tensor, PullBack, Weights], vjp(observed, self.weights, has_aux=True)
            )
        return outputs.detach(), pull_back, values

    def linearize(self, weights: Weights) -> tuple[Tensor, PullBack]:
        """(outputs at ``weights``, function that maps a residual to the gradients at ``weights``)."""
        return cast(tuple[Tensor, PullBack], vjp(self.run, weights))

    def labels(self, outputs: Tensor, stream: object, *, like: Tensor | None = None) -> Tensor | None:
        """Labels drawn for outputs of this shape, with the dtype and device of ``like``; None for given targets."""
        if self.targets is not None:
            return None
        generator = random_stream("labels", stream)
        return self.objective.draw_labels(outputs.shape, outputs if like is None else like, generator)

    def residuals(self, outputs: Tensor, labels: Tensor | None) -> Residuals:
        """The residual rows of the given targets or, without targets, of the drawn ``labels``."""
        if self.targets is None:
            assert labels is not None
            return self.objective.residuals(outputs, labels, drawn=True, per_label=self.optimizer is not None)
        self.objective.check_targets(outputs, self.targets)
        return self.objective.residuals(outputs, self.targets, drawn=False)

    def direction(self, gradient: Weights) -> Weights:
        """Minus the change of every weight in the step at learning rate 1."""
        if self.optimizer is not None:
            gradient = self.optimizer.direction(self.weights, gradient)
        if not self.lr_factors:
            return gradient
        return {name: g * self.lr_factors[name] if name in self.lr_factors else g for name, g in gradient.items()}

    def tangent_moments(
        self, weights: Weights, direction: Weights, stream: object, comparison: PassComparison | None = None
    ) -> Float[Tensor, "U_and_error"]:
        """Mean square of every unit's derivative along a direction and, as the last element, the estimated error.

        Args:
            weights: the weights at which the derivative is taken.
            direction: the direction in weight space.
            stream: key of the random numbers for dropout masks.
            comparison: estimates the relative error; the inputs of this pass are then perturbed by a rounding error.
        """
        squares: dict[str, Tensor] = {}
        step = self if comparison is None else replace(self, inputs=perturbed_inputs(self.inputs))

        def record(name: str, z: Tensor) -> None:
            value, tangent = fwad.unpack_dual(z)  # type: ignore[no-untyped-call]
            # In float64, because at extreme depths the square of a float32 tangent leaves the range of float32.
            square = z.new_zeros((), dtype=torch.float64) if tangent is None else squared_norm(tangent)
            squares[name] = square / z.numel()
            if comparison is not None:
                comparison.observe(name, value)

        def moments(w: Weights) -> Tensor:
            outputs = step.run(w)
            check_runs({unit: int(unit in squares) for unit in self.units})
            error = outputs.new_zeros((), dtype=torch.float64) if comparison is None else comparison.error(outputs)
            return torch.stack([*(squares[unit] for unit in self.units), error])

        self.restore_model()
        with torch.no_grad(), observed_units(self.model, self.units, record), seeded("masks", stream):
            # `moments` itself computes with the tangents, so its value is the result, not its derivative.
            value, _ = cast(tuple[Tensor, Tensor], jvp(moments, (weights,), (direction,)))
        return value

    def pre_activations(self, weights: Weights, stream: object) -> list[Tensor]:
        """Every unit's output at ``weights``."""
        outputs: dict[str, Tensor] = {}

        def record(name: str, z: Tensor) -> None:
            outputs[name] = z.clone()  # a later activation may change z in place

        self.restore_model()
        with observed_units(self.model, self.units, record), seeded("masks", stream):
            self.run(weights)
        return [outputs[unit] for unit in self.units]

    def unit_tangents(self, direction: Weights) -> list[Tensor]:
        """Every unit's derivative along a direction in weight space; weights without a direction do not change."""
        complete = {name: direction.get(name, torch.zeros_like(w)) for name, w in self.weights.items()}
        with torch.no_grad():
            _, tangents, *_ = jvp(lambda w: tuple(self.pre_activations(w, None)), (self.weights,), (complete,))
        return list(cast(tuple[Tensor, ...], tangents))

    def shapes(self) -> dict[str, torch.Size]:
        """Shapes of all units and, under the name ``OUTPUT``, of the outputs, by a pass on the meta device."""
        shapes: dict[str, torch.Size] = {}
        tensors = {
            name: t.detach().to("meta") for name, t in (*self.model.named_parameters(), *self.model.named_buffers())
        }
        inputs = tree_map(lambda x: x.to("meta"), self.inputs)
        with observed_units(self.model, self.units, lambda name, z: shapes.__setitem__(name, z.shape)):
            shapes[OUTPUT] = self._call(tensors, inputs).shape
        return shapes

    def restore_model(self) -> None:
        """Restore the state of the model that was recorded before the first pass, if there is one."""
        if self.state is not None:
            self.state.restore()


def _identity(tensor: Tensor) -> Tensor:
    return tensor
