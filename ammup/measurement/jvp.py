"""The moments by one backward and one forward-mode pass (JVP), many weight draws of small nets together.

Axes: W weight draw, R residual row, U depth unit.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from ammup.measurement.moments import UpdateMoments, combined_moments, to_numpy
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import OUTPUT, Step, Weights
from ammup.models.depth import Forward
from ammup.models.modes import default_modes
from ammup.models.state import preserved

# Nets whose largest weight and largest unit (over the batch) have up to this many elements are measured many weight
# draws and label rows at a time: there the cost of a pass is that of launching its operations, beyond it that of
# leaving the cache. benchmarks/measurement_draws.py prints the ratios on which the numbers rest.
STACKED_WEIGHT = 2**17
STACKED_UNIT = 2**16
STACKED_BYTES = 2**28
# Where the modules are whose forwards run under vmap and write nothing.
KNOWN_FILES = (
    "ammup.models.nets",
    "ammup.models.layers",
    *(f"torch.nn.modules.{name}" for name in ("activation", "container", "conv", "flatten", "linear")),
)


def measure_by_jvp(
    models: Sequence[nn.Module], spec: MeasurementSpec, streams: Sequence[object]
) -> list[UpdateMoments]:
    """One weight draw after the other, or all of them together where that is faster.

    Args:
        models: modules that differ in their weights only.
        spec: what is measured of each.
        streams: for each model what its labels and dropout masks depend on.
    """
    with ExitStack() as stack:
        stack.enter_context(default_modes())
        steps: list[Step] = []
        for model in models:
            state = None if _writes_nothing(model, spec.forward) else stack.enter_context(preserved(model))
            steps.append(Step.of(model, spec, state=state))
            if spec.units is None:
                spec = steps[0].fitted(spec)
        measure = measure_stacked if stack_size(steps[0]) > 1 else measure_each
        return measure(steps, streams)


def _writes_nothing(model: nn.Module, forward: Forward | None) -> bool:
    """Whether it is made of modules alone whose forward is known and changes nothing in them."""
    return forward is None and all(_is_known(module) and not _is_hooked(module) for module in model.modules())


def _is_known(module: nn.Module) -> bool:
    return type(module).__module__ in KNOWN_FILES and not isinstance(module, nn.MultiheadAttention)


def _is_hooked(module: nn.Module) -> bool:
    """Whether a call of it runs code of the user's too."""
    everywhere = (torch.nn.modules.module._global_forward_hooks, torch.nn.modules.module._global_forward_pre_hooks)
    return any((module._forward_hooks, module._forward_pre_hooks, *everywhere)) or "forward" in vars(module)


def stack_size(step: Step) -> int:
    """How many weight draws of this net to measure at once; 1 where one after the other is faster or the only way.

    Stacking runs the module's forward under vmap, so it is kept to modules known to allow that: not batch norm, dropout
    or code of the user's.
    """
    modules = [m for m in step.model.modules() if getattr(m, "p", None) != 0]  # dropout at rate 0 is no dropout
    known = all(_is_known(m) for m in modules)
    if step.optimizer is not None or not known or max(w.numel() for w in step.weights.values()) > STACKED_WEIGHT:
        return 1
    if max(step.shapes().values(), key=lambda shape: shape.numel()).numel() > STACKED_UNIT:
        return 1
    row_bytes = sum(w.nbytes for w in step.weights.values())
    return max(1, STACKED_BYTES // (row_bytes * (step.objective.label_draws + 1)))


def measure_each(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
    """One weight draw and one residual row after the other."""
    results = []
    for step, stream in zip(steps, streams, strict=True):
        # The modules of our own nets need no check, which costs as much as a small net itself.
        checked = step.state is not None
        nearby = step.nearby(stream) if checked else None
        outputs, pull_back = step.backward(stream)
        residuals = step.residuals(outputs, step.labels(outputs, stream))
        fixed, drawn = (
            [
                to_numpy(_row_moments(step, step.weights, pull_back(row)[0], stream, row if checked else None, nearby))
                for row in rows
            ]
            for rows in (residuals.fixed, residuals.drawn)
        )
        del pull_back  # frees the graph before the next draw builds its own
        results.append(combined_moments(step.units, list(step.weights), fixed, drawn))
    return results


def measure_stacked(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
    """All weight draws and all residual rows at once."""
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
    nearby: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "U_error_and_weights"]:
    """What one residual row contributes.

    The mean square of every unit's step; their relative error; every gradient's squared norm.
    """
    squares = [torch.linalg.vector_norm(g).double().square() for g in gradient.values()]
    return torch.cat([step.tangent_moments(weights, gradient, stream, row, nearby), torch.stack(squares)])
