"""The method "jvp": one backward and one forward-mode pass, for many weight draws of a small net simultaneously.

Axes: W weight draw, R residual row, U depth unit.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from ammup.arrays import Array
from ammup.measurement.jvp_error import PassComparison
from ammup.measurement.method import LARGEST_ERROR
from ammup.measurement.moments import UpdateMoments, combined_moments, to_numpy
from ammup.measurement.norms import inner_product, squared_norm
from ammup.measurement.rounding import InaccurateError, amplifies_rounding, rounding_error
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import OUTPUT, Step, Weights
from ammup.models.depth import Forward
from ammup.models.modes import default_modes
from ammup.models.state import ModelState, preserved

# If the largest weight and the largest unit (over the batch) have at most this many elements, many weight draws and
# label rows are measured in one pass: the time for launching the operations dominates. For larger nets, a stacked pass
# would not fit in the cache. The limits are based on the ratios that benchmarks/measurement_draws.py prints.
STACKED_WEIGHT = 2**17
STACKED_UNIT = 2**16
STACKED_BYTES = 2**28
# Python modules with nn.Module classes whose forward is stateless and runs under vmap.
STATELESS_MODULES = (
    "ammup.models.nets",
    "ammup.models.layers",
    *(f"torch.nn.modules.{name}" for name in ("activation", "container", "conv", "flatten", "linear")),
)


def measure_by_jvp(
    models: Sequence[nn.Module], spec: MeasurementSpec, streams: Sequence[object]
) -> list[UpdateMoments]:
    """The moments of several weight draws of one net, computed one after another, or in stacks if that is faster.

    Args:
        models: modules that differ only in their weights.
        spec: the specification of the measurement.
        streams: for each model, the key of the random numbers for its labels and dropout masks.

    Raises:
        InputError: as in :func:`ammup.measurement.updates.measure_updates`.
        InaccurateError: the method is "auto" and the estimated relative error of a result is too large.
    """
    auto = spec.method == "auto"
    with ExitStack() as stack:
        stack.enter_context(default_modes())
        steps: list[Step] = []
        for model in models:
            state: ModelState | None = None
            if not _is_stateless(model, spec.forward):
                state = stack.enter_context(preserved(model, only_passes=spec.forward is None))
            steps.append(Step.from_model(model, spec, state=state))
            if spec.units is None:
                spec = steps[0].spec_for_draws(spec)
        dtype = next(iter(steps[0].weights.values())).dtype
        if auto and dtype is not torch.float64 and amplifies_rounding(models[0]) and spec.forward is None:
            _check_accuracy(rounding_error(steps[0], streams[0]), dtype, steps[0].units)
        measure = measure_stacked if stack_size(steps[0]) > 1 else measure_each
        results = measure(steps, streams)
        if auto:
            _check_accuracy(max(moments.error for moments in results), dtype, steps[0].units)
        return results


def _check_accuracy(error: float, dtype: torch.dtype, units: tuple[str, ...]) -> None:
    if error > LARGEST_ERROR:
        raise InaccurateError(dtype, error, units)


def _is_stateless(model: nn.Module, forward: Forward | None) -> bool:
    """Whether a forward pass is certain not to change the model."""
    return forward is None and all(_has_stateless_class(m) and not _has_hooks(m) for m in model.modules())


def _has_stateless_class(module: nn.Module) -> bool:
    return type(module).__module__ in STATELESS_MODULES and not isinstance(module, nn.MultiheadAttention)


def _has_hooks(module: nn.Module) -> bool:
    """Whether a call of a module also runs code of the user."""
    everywhere = (torch.nn.modules.module._global_forward_hooks, torch.nn.modules.module._global_forward_pre_hooks)
    return any((module._forward_hooks, module._forward_pre_hooks, *everywhere)) or "forward" in vars(module)


def stack_size(step: Step) -> int:
    """The number of weight draws to measure in one stacked pass; 1 if stacking is slower or not possible.

    A stacked pass runs the modules' forwards under vmap, so it is limited to modules that support this: not batch norm,
    dropout or the user's own modules.
    """
    modules = [m for m in step.model.modules() if getattr(m, "p", None) != 0]  # without dropout at rate 0
    if step.optimizer is not None or not all(_has_stateless_class(m) for m in modules):
        return 1
    largest_weight = max(w.numel() for w in step.weights.values())
    if largest_weight > STACKED_WEIGHT or max(shape.numel() for shape in step.shapes().values()) > STACKED_UNIT:
        return 1
    row_bytes = sum(w.nbytes for w in step.weights.values())
    return max(1, STACKED_BYTES // (row_bytes * (step.objective.label_draws + 1)))


def measure_each(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
    """The moments of all weight draws, with a separate pass for each draw and residual row."""
    return [_measure_draw(step, stream) for step, stream in zip(steps, streams, strict=True)]


def _measure_draw(step: Step, stream: object) -> UpdateMoments:
    """The moments of one draw. This is a separate function so that the graph is freed before the next draw."""
    estimate_error = step.state is not None  # stateless models do not need it
    outputs, pull_back, values = step.backward_and_units(stream, observe=estimate_error)
    residuals = step.residuals(outputs, step.labels(outputs, stream))

    n_fixed, n_rows = len(residuals.fixed), len(residuals.fixed) + len(residuals.drawn)

    def moments(number: int, row: Tensor) -> Array:
        # The last backward pass frees the graph, so that it does not need memory in the forward-mode pass.
        with torch.no_grad():  # otherwise torch.func records the graph of a second derivative
            (gradient,) = pull_back(row, retain_graph=number < n_rows - 1)
        return to_numpy(_row_moments(step, step.weights, gradient, stream, row, values))

    rows = [moments(number, row) for number, row in enumerate([*residuals.fixed, *residuals.drawn])]
    return combined_moments(step.units, list(step.weights), rows[:n_fixed], rows[n_fixed:])


def measure_stacked(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
    """The moments of all weight draws, with one stacked pass for all draws and residual rows."""
    first = steps[0]
    outputs = torch.empty(first.shapes()[OUTPUT], device="meta")
    labels = [first.labels(outputs, stream, like=first.inputs) for stream in streams]
    given = any(y is None for y in labels)
    n_fixed = 0

    def moments(weights: Weights, frozen: Weights, drawn: Tensor | None) -> Tensor:
        nonlocal n_fixed
        step = replace(first, weights=weights, frozen=frozen)
        outputs, pull_back = step.linearize(weights)
        residuals = step.residuals(outputs, drawn)
        n_fixed = len(residuals.fixed)
        rows = torch.cat([residuals.fixed, residuals.drawn])
        return vmap(lambda row: _row_moments(step, weights, pull_back(row)[0], None))(rows)

    S = vmap(moments, in_dims=(0, 0, None if given else 0))(
        {name: torch.stack([s.weights[name] for s in steps]) for name in first.weights},
        {name: torch.stack([s.frozen[name] for s in steps]) for name in first.frozen},
        None if given else torch.stack([y for y in labels if y is not None]),
    )
    names = list(first.weights)
    return [combined_moments(first.units, names, list(rows[:n_fixed]), list(rows[n_fixed:])) for rows in to_numpy(S)]


def _row_moments(
    step: Step,
    weights: Weights,
    gradient: Weights,
    stream: object,
    row: Tensor | None = None,
    values: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "U_error_and_weights"]:
    """The contribution of one residual row: S_l of every unit, their relative error, and squared gradient norms.

    The error is 0 without ``row`` and ``values``, the units' outputs in the backward pass.
    """
    direction = step.direction(gradient)
    squares = {name: squared_norm(g) for name, g in gradient.items()}
    comparison = None
    if row is not None and values is not None:
        products = [
            squares[name] if direction[name] is g else inner_product(g, direction[name]) for name, g in gradient.items()
        ]
        comparison = PassComparison(row, products, values)
    moments = step.tangent_moments(weights, direction, stream, comparison)
    return torch.cat([moments, torch.stack(list(squares.values()))])
