"""Which weights belong to which depth unit, and the learning rates that equalize the units' own parts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ammup.errors import InputError
from ammup.measurement.backward import has_reentrant_checkpoints
from ammup.measurement.difference import call_model, trainable
from ammup.measurement.observation import observed_units
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import measure_draws
from ammup.models.state import preserved
from ammup.models.streams import seeded

Roots = Mapping[str, Tensor]


def per_unit_factors(model: nn.Module, spec: MeasurementSpec) -> dict[str, tuple[str, float]]:
    """(unit, factor of the learning rate) of each weight that reaches a unit, by parameter name.

    Args:
        model: the module; it is restored afterwards.
        spec: one batch and the gradient step on it; weights whose ``lr_factors`` are 0 take no step.

    Raises:
        InputError: one step moves no unit or does not move one with its own weights, or :func:`ammup.measure_updates`
            rejects the input.
    """

    def measured(units: tuple[str, ...] | None, factors: Mapping[str, float]) -> tuple[tuple[str, ...], float]:
        changed = replace(spec, units=spec.units if units is None else units, lr_factors={**factors, **spec.lr_factors})
        (moments,) = measure_draws([model], changed, streams=[0])
        return moments.units, moments.S_bar

    units, unscaled = measured(None, {})
    if unscaled == 0:
        raise InputError(
            "rule='per-unit' cannot scale the weights: one step moves no depth unit, because no trainable weight "
            "reaches one or every gradient is zero"
        )
    reached = first_units(model, replace(spec, units=units))
    owners = {name: unit for name, unit in reached.items() if spec.lr_factors.get(name, 1.0) > 0}
    weights = trainable(model)
    factors: dict[str, float] = {}
    for unit in dict.fromkeys(owners.values()):
        _, own_part = measured((unit,), {name: 0.0 for name in weights if owners.get(name) != unit})
        if own_part == 0:
            raise InputError(
                f"rule='per-unit' cannot scale the own weights of unit {unit!r}: one step does not move it"
            )
        factors[unit] = own_part**-0.5
    # Weights that reach no unit do not contribute to S̄, so S̄ is exactly quadratic in a common factor of all others.
    _, scaled = measured(units, {name: factors[unit] for name, unit in owners.items()})
    common = (unscaled / scaled) ** 0.5
    return {name: (unit, factors[unit] * common) for name, unit in owners.items()}


def first_units(model: nn.Module, spec: MeasurementSpec) -> dict[str, str]:
    """The first unit in the order of computation that each weight reaches; without weights that reach no unit.

    Args:
        model: the module; it is restored afterwards.
        spec: the inputs, how the model is called, and the names of the units.
    """
    # From autograd's graph, because it includes norms and biases, which a Structure does not.
    weights = trainable(model)
    like = next(iter(weights.values()))
    roots: dict[str, Tensor] = {}

    def record(unit: str, z: Tensor) -> None:
        if z.requires_grad:
            roots[unit] = (z.real if z.is_complex() else z).sum()  # before an activation changes it in place

    with preserved(model), torch.enable_grad(), seeded("first units"):
        inputs = spec.inputs_on(like)
        with observed_units(model, tuple(spec.units or ()), record):
            outputs = call_model(model, inputs, spec.forward)
        if has_reentrant_checkpoints([outputs, *roots.values()]):
            return _reached_by_backward(roots, weights)
        return _reached_in_graph(roots, weights)


def _reached_in_graph(roots: Roots, weights: Mapping[str, Tensor]) -> dict[str, str]:
    names = {id(weight): name for name, weight in weights.items()}
    owners: dict[str, str] = {}
    seen: set[Any] = set()
    for unit, root in roots.items():
        pending = [root.grad_fn]
        while pending:
            node = pending.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            name = names.get(id(getattr(node, "variable", None)))
            if name is not None:
                owners[name] = unit
            pending += [source for source, _ in node.next_functions]
    return owners


def _reached_by_backward(roots: Roots, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """By one backward for each unit, because the graph does not contain what a reentrant checkpoint computes."""
    owners: dict[str, str] = {}
    for unit, root in roots.items():
        for weight in weights.values():
            weight.grad = None
        torch.autograd.backward([root], retain_graph=True)
        for name, weight in weights.items():
            if weight.grad is not None:
                owners.setdefault(name, unit)
    return owners
