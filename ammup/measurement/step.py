"""One SGD step of a module as pure functions of its weights.

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
from ammup.measurement.first_step import FirstStep
from ammup.measurement.forward_mode import (
    attention_with_forward_rule,
    channels_last,
    load_forward_rules,
    supports_channels_last,
)
from ammup.measurement.loss import Objective, Residuals
from ammup.measurement.observation import check_runs, checked_outputs, observed_units, resolved_units
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward, cannot_be_run
from ammup.models.state import ModelState, check_initialized
from ammup.models.streams import random_stream, seeded
from ammup.models.substitution import substituted

Weights = dict[str, Tensor]
PullBack = Callable[[Tensor], tuple[Weights]]
# Relative change of the inputs by which the amplification of rounding errors is measured.
DELTA = 1e-6
# S̄ of twelve torchvision nets in float32 was off by up to 500 machine precisions for each unit of amplification.
ROUNDING = 500.0
OUTPUT = ""  # no module but the model itself has this name


def _call_module(model: nn.Module, inputs: Any) -> Any:
    return model(inputs)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A module, a batch and an objective. Nothing here writes to the global random generators.

    Every pass of one ``stream`` begins in the same state of the model and has the same random numbers, dropout masks
    among them. The last pass leaves in the model what its forward writes; see :func:`ammup.models.state.preserved`.

    Attributes:
        model: the module that is called with the weights below.
        units: names of the observed modules.
        weights: trainable parameters by name, detached.
        frozen: the other parameters by name.
        inputs: (B, …) on the device and in the dtype of the weights, or what the call takes.
        targets: on the same device, or None where labels are drawn.
        objective: the loss and the part of its gradient.
        lr_factors: factor of the learning rate of some weights, by name; 1 for the others.
        optimizer: what makes a step of a gradient; None for SGD.
        forward: how the model is called.
        state: what is restored before every pass; None where the forward is known to write nothing.
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

    @classmethod
    def from_model(cls, model: nn.Module, spec: MeasurementSpec, *, state: ModelState | None = None) -> "Step":
        """Check everything that can be checked before the first pass.

        Args:
            model: the module.
            spec: what is measured of it.
            state: the record by which the model is restored before every pass, if any.

        Raises:
            InputError: no trainable weight, an unknown unit, a learning-rate factor of no trainable weight.
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
        """The specification for other weight draws of this model: its units found, its batch moved and laid out."""
        return replace(spec, inputs=self.inputs, targets=self.targets, units=self.units)

    def run(self, weights: Weights) -> Tensor:
        """The model's outputs (B, M, *P) at ``weights``."""
        buffers = {name: b.detach().clone() for name, b in self.model.named_buffers()}  # batch norm updates them
        return self._call({**weights, **self.frozen, **buffers}, self.inputs)

    def _call(self, tensors: Weights, inputs: Any) -> Tensor:
        try:
            with attention_with_forward_rule(), substituted(self.model, tensors):
                outputs = self.forward(self.model, inputs)
        except InputError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise cannot_be_run(self.model, inputs, error) from error
        return checked_outputs(outputs, inputs, self.objective)

    def backward(self, stream: object) -> tuple[Tensor, PullBack]:
        """The outputs, and the function from a residual to the gradient of every weight."""
        self.restore_model()
        with seeded("masks", stream):
            outputs, pull_back = self.linearize(self.weights)
        return outputs.detach(), pull_back

    def linearize(self, weights: Weights) -> tuple[Tensor, PullBack]:
        """The outputs at ``weights``, and the function from a residual to the gradient there."""
        return cast(tuple[Tensor, PullBack], vjp(self.run, weights))

    def labels(self, outputs: Tensor, stream: object, *, like: Tensor | None = None) -> Tensor | None:
        """Labels drawn for outputs of this shape, in ``like``'s dtype and device; None where targets were given."""
        if self.targets is not None:
            return None
        generator = random_stream("labels", stream)
        return self.objective.draw_labels(outputs.shape, outputs if like is None else like, generator)

    def residuals(self, outputs: Tensor, labels: Tensor | None) -> Residuals:
        """Residual rows of the drawn ``labels``, or of the given targets where there are none."""
        if self.targets is None:
            assert labels is not None
            return self.objective.residuals(outputs, labels, drawn=True, per_label=self.optimizer is not None)
        self.objective.check_targets(outputs, self.targets)
        return self.objective.residuals(outputs, self.targets, drawn=False)

    def direction(self, gradient: Weights) -> Weights:
        """The step of every weight at learning rate 1, but for its sign."""
        if self.optimizer is not None:
            gradient = self.optimizer.direction(self.weights, gradient)
        return {name: g * self.lr_factors[name] if name in self.lr_factors else g for name, g in gradient.items()}

    def tangent_moments(
        self,
        weights: Weights,
        gradient: Weights,
        stream: object,
        row: Tensor | None = None,
        nearby: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "U_and_error"]:
        """Mean square of every unit's derivative along the step d of ``gradient`` g, taken as the forward passes by.

        The last element estimates the relative error. One source of it is the gap of the identity row · J d = g · d,
        where g = Jᵀ row: it compares the pass of the gradient with this one. The other are rounding errors that the
        model amplifies: :data:`ROUNDING` of them for each by which the units differ from ``nearby``, see
        :meth:`nearby`.
        """
        found: dict[str, Tensor] = {}
        amplified = torch.zeros((), dtype=torch.float64)

        def record(name: str, z: Tensor) -> None:
            nonlocal amplified
            value, tangent = fwad.unpack_dual(z)  # type: ignore[no-untyped-call]
            # In float64: at extreme depths the square of a float32 tangent leaves the range of float32.
            norm = z.new_zeros(()) if tangent is None else torch.linalg.vector_norm(tangent, dtype=torch.float64)
            found[name] = norm.double().square() / z.numel()
            if nearby is not None:
                amplified = torch.maximum(amplified, _relative(nearby[name], value).to(amplified))

        def moments(w: Weights) -> Tensor:
            outputs = self.run(w)
            check_runs({unit: int(unit in found) for unit in self.units})
            gap = self._gap(outputs, row, gradient, direction)
            rounding = amplified.to(gap) / DELTA * ROUNDING * torch.finfo(outputs.dtype).eps
            return torch.stack([*(found[unit] for unit in self.units), torch.maximum(gap, rounding)])

        direction = self.direction(gradient)
        self.restore_model()
        with torch.no_grad(), observed_units(self.model, self.units, record), seeded("masks", stream):
            # The moments are made from the tangents, so they come out where jvp returns the function's value.
            value, _ = cast(tuple[Tensor, Tensor], jvp(moments, (weights,), (direction,)))
        return value

    @staticmethod
    def _gap(outputs: Tensor, row: Tensor | None, gradient: Weights, direction: Weights) -> Tensor:
        tangent = fwad.unpack_dual(outputs).tangent  # type: ignore[no-untyped-call]
        if row is None or tangent is None:
            return outputs.new_zeros((), dtype=torch.float64)
        forward = (tangent.double() * row.double()).sum()
        backward = torch.stack([(g.double() * direction[name].double()).sum() for name, g in gradient.items()]).sum()
        gap: Tensor = (forward - backward).abs() / backward.abs().clamp_min(torch.finfo(torch.float64).tiny)
        return gap

    def nearby(self, stream: object) -> dict[str, Tensor]:
        """Every unit's output at inputs that are off by a relative :data:`DELTA`.

        Batch norm over two values, say, makes a change of a thousand times as much of it, and of every rounding error.
        """

        def moved(x: Any) -> Any:
            if not isinstance(x, Tensor) or not x.is_floating_point():
                return x
            noise = torch.randn(x.shape, generator=random_stream("nearby"), dtype=torch.float32)
            return x * (1 + DELTA * noise.to(x))

        step = replace(self, inputs=tree_map(moved, self.inputs))
        with torch.no_grad():
            return dict(zip(self.units, step.pre_activations(self.weights, stream), strict=True))

    def pre_activations(self, weights: Weights, stream: object) -> list[Tensor]:
        """Every unit's output at ``weights``."""
        found: dict[str, Tensor] = {}

        def record(name: str, z: Tensor) -> None:
            found[name] = z.clone()  # an activation may work in place

        self.restore_model()
        with observed_units(self.model, self.units, record), seeded("masks", stream):
            self.run(weights)
        return [found[unit] for unit in self.units]

    def unit_tangents(self, direction: Weights) -> list[Tensor]:
        """Every unit's derivative along a direction in weight space; weights that it leaves out stay where they are."""
        tangents = {name: direction.get(name, torch.zeros_like(w)) for name, w in self.weights.items()}
        with torch.no_grad():
            _, found, *_ = jvp(lambda w: tuple(self.pre_activations(w, None)), (self.weights,), (tangents,))
        return list(cast(tuple[Tensor, ...], found))

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every unit and, under ``OUTPUT``, of the outputs, without computing them."""
        found: dict[str, torch.Size] = {}
        tensors = {
            name: t.detach().to("meta") for name, t in (*self.model.named_parameters(), *self.model.named_buffers())
        }
        with observed_units(self.model, self.units, lambda name, z: found.__setitem__(name, z.shape)):
            found[OUTPUT] = self._call(tensors, tree_map(lambda x: x.to("meta"), self.inputs)).shape
        return found

    def restore_model(self) -> None:
        """Undo what the last pass left in the model, where there is a record to do that by."""
        if self.state is not None:
            self.state.restore()


def _identity(tensor: Tensor) -> Tensor:
    return tensor


def _relative(a: Tensor, b: Tensor) -> Tensor:
    """‖a - b‖ / ‖b‖, 0 where b is."""
    size: Tensor = torch.linalg.vector_norm(b)
    return torch.where(size > 0, torch.linalg.vector_norm(a - b) / size, torch.zeros_like(size))
