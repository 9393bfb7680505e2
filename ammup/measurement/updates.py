"""The one-step second moments S_l of the pre-activations, exact to first order in the learning rate.

One step of SGD at learning rate η moves depth unit l by Δz = -η J_l g to first order, with g the loss gradient and J_l
the Jacobian with respect to all trainable weights, so S_l = E (Δz)² is exactly quadratic in η: one backward pass for g
and one forward-mode pass (JVP along g) give every unit and every learning rate, and S̄(η*) = 1 is solved by
η* = S̄(η = 1)^(-1/2) (paper, section 3.1).

Axes: W weight draw, R residual row, B batch, U depth unit.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import vmap

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.difference import Difference, trainable
from ammup.measurement.first_step import OptimizerLike
from ammup.measurement.loss import Loss
from ammup.measurement.method import LARGEST_ERROR, doubt
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import OUTPUT, Step, Weights
from ammup.models.depth import Forward, structure_of, units_of
from ammup.models.precision import double_precision
from ammup.models.state import ModelState, check_initialized, preserved
from ammup.models.streams import random_stream

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


@dataclass(frozen=True, kw_only=True)
class UpdateMoments:
    """Second moments of one SGD step at learning rate 1, for one weight draw.

    Attributes:
        units: names of the depth units.
        S: S_l, the mean over samples, channels and positions of (Δz)², averaged over label draws; one value a unit.
        S_bar_se: standard error of ``S_bar`` over label draws: 0 where targets were given, NaN with a single draw.
        gradient_squares: squared norm of the loss gradient of each weight, averaged over label draws like S.
        method: "jvp" or "difference", the way that was taken, see :mod:`ammup.measurement.method`.
        reason: why not jvp, where a difference was taken.
        error: estimate of the relative numerical error of ``S_bar``: for "jvp" from the disagreement of its two passes
            and from the amplification of rounding errors, for "difference" from its bend.
    """

    units: tuple[str, ...]
    S: Array
    S_bar_se: float
    gradient_squares: Mapping[str, float]
    method: str = "jvp"
    reason: str = ""
    error: float = 0.0

    @property
    def S_bar(self) -> float:  # noqa: N802  (the paper's symbol)
        """S̄ = (1/L) Σ S_l, the arithmetic mean over the units."""
        return float(self.S.mean())

    @property
    def lr_star(self) -> float:
        """η* = S̄^(-1/2), the learning rate at which S̄ = 1; infinite where no step moves anything."""
        return self.S_bar**-0.5 if self.S_bar > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class FiniteStep:
    """First order against the true step at one learning rate; every array has one value a unit.

    Attributes:
        units: names of the depth units.
        lr: learning rate of the step.
        first_order: η² S_l.
        true: mean of (z(θ - ηg) - z(θ))².
        gap: true / first_order - 1.
    """

    units: tuple[str, ...]
    lr: float
    first_order: Array
    true: Array

    @property
    def gap(self) -> Array:
        """Relative gap of each unit."""
        return self.true / self.first_order - 1


def measure_updates(
    model: nn.Module,
    inputs: Any,
    targets: Tensor | None = None,
    *,
    loss: Loss = "mse",
    part: str = "total",
    units: Sequence[str] | None = None,
    label_draws: int = 4,
    lr_factors: Mapping[str, float] | None = None,
    seed: int = 0,
    forward: Forward | None = None,
    optimizer: OptimizerLike | None = None,
    method: str = "auto",
    perturb_head: float | None = None,
) -> UpdateMoments:
    """S_l of every depth unit for one gradient step on one batch, measured on that batch.

    Args:
        model: any module; it is left as it was (see :mod:`ammup.models.state`), and so are the random generators of
            torch, NumPy and Python. Training flags are respected: in training mode batch norm uses batch statistics,
            and dropout has one mask for the gradient and the step.
        inputs: (B, …), moved to the device and dtype of the model's weights; with ``forward`` any structure of tensors.
        targets: class indices (B,) or (B, *P), or floats shaped like the outputs. Class indices under mse are one-hot
            targets. None draws labels: N(0, 1) for mse (the paper's setting), uniform classes for cross-entropy.
        loss: "mse", "cross_entropy" or a callable, see :class:`ammup.measurement.loss.Objective`.
        part: "total", "label" (the paper's B-term) or "output" (its A-term).
        units: names of the modules to observe instead of ``depth_units(model)``.
        label_draws: number of drawn labels; they share one forward pass.
        lr_factors: factor of the learning rate of some weights, by parameter name; 1 for the others.
        seed: stream of the drawn labels and of dropout.
        forward: ``forward(model, inputs)`` -> outputs (B, M, *P), for models with several inputs or dict outputs.
        optimizer: ``optimizer(params, lr)``, such as ``torch.optim.Adam``, whose first step is measured instead of
            SGD's, or an optimizer of this model in the middle of training; part "total" only. Its step must be
            proportional to its learning rate.
        method: "jvp", "difference", or "auto", which takes jvp where it is known to be right; see
            :mod:`ammup.measurement.method`.
        perturb_head: draw the readout's weights from N(0, perturb_head² / fan_in) for this measurement. A readout of
            zeros, as torchvision's vision transformers have it, passes no gradient on: the first step moves it alone,
            and the depth units only from the second step on.

    Returns:
        The moments at learning rate 1; their ``method``, ``reason`` and ``error`` say how they were computed.

    Raises:
        InputError: inputs, targets, loss or units that do not fit, or moments that are zero or not finite.

    Example:
        >>> import ammup, torch
        >>> net = ammup.mlp(8, width=512, in_features=512, out_features=512, readout="he")
        >>> moments = ammup.measure_updates(net, torch.ones(1, 512), part="label")
        >>> 0.1 < moments.lr_star < 0.25  # theory: 0.154
        True
    """
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=loss,
        part=part,
        label_draws=label_draws,
        units=units,
        lr_factors=lr_factors or {},
        forward=forward,
        optimizer=optimizer,
        method=method,
    )
    if perturb_head is None:
        (moments,) = measure_draws([model], spec, streams=[seed])
    else:
        with preserved(model):
            _draw_head(model, spec, perturb_head, seed)
            (moments,) = measure_draws([model], spec, streams=[seed])
    if moments.S_bar == 0:
        raise InputError(
            "one step moves no depth unit: every gradient before or in them is zero; where the readout starts at zero, "
            "pass perturb_head=1.0, or measure after a few steps of training"
        )
    return moments


def _draw_head(model: nn.Module, spec: MeasurementSpec, scale: float, seed: int) -> None:
    """Draw the weights of the readout layers in place."""
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"perturb_head={scale} must be positive and finite")
    inputs = spec.inputs_on(next(iter(trainable(model).values())))
    layers = structure_of(model, inputs, forward=spec.forward).layers
    weights = [model.get_parameter(layer.weight) for layer in layers if layer.role == "readout" and layer.weight]
    if not weights:
        raise InputError("perturb_head= was given, and the model has no readout layer")
    for number, weight in enumerate(weights):
        noise = torch.randn(weight.shape, generator=random_stream("head", seed, number))
        weight.data.copy_(noise * scale / weight[0].numel() ** 0.5)


def maximal_lr(model: nn.Module, inputs: Tensor, targets: Tensor, *, loss: Loss = "cross_entropy") -> float:
    """η* with S̄(η*) = 1 for one gradient step on this batch; arguments and errors as in :func:`measure_updates`."""
    return measure_updates(model, inputs, targets, loss=loss).lr_star


def measure_draws(
    models: Sequence[nn.Module], spec: MeasurementSpec, *, streams: Sequence[object]
) -> list[UpdateMoments]:
    """:func:`measure_updates` for several weight draws of one net, all of them together where that is faster.

    Args:
        models: modules that differ in their weights only.
        spec: what is measured of each.
        streams: for each model what its labels and dropout masks depend on.
    """
    reason = {"auto": doubt(models[0], spec), "jvp": "", "difference": "it was asked for"}[spec.method]
    if not reason:
        try:
            found = _measure_by_jvp(models, spec, streams)
        except InputError as error:
            if spec.method == "jvp":
                raise
            reason = f"jvp failed: {error}"
        else:
            largest = max(moments.error for moments in found)
            if largest <= LARGEST_ERROR or spec.method == "jvp":
                return found
            reason = f"jvp in {next(models[0].parameters()).dtype} may be off by {largest:.1g} of S̄"
    found = []
    for model, stream in zip(models, streams, strict=True):
        found.append(_measure_by_difference(model, spec, stream, reason))
        spec = replace(spec, units=found[0].units) if spec.units is None else spec
    return found


def _measure_by_difference(model: nn.Module, spec: MeasurementSpec, stream: object, reason: str) -> UpdateMoments:
    """By differences in float64; in the model's own precision where it does not run in float64."""
    check_initialized(model)
    with preserved(model) as state:
        try:
            with double_precision(model):
                return _difference(model, spec, stream, reason)
        except InputError as error:
            state.restore()
            narrow = f"{reason}; it does not run in float64 ({error})"
            return _difference(model, spec, stream, narrow)


def _difference(model: nn.Module, spec: MeasurementSpec, stream: object, reason: str) -> UpdateMoments:
    if spec.units is None:
        inputs = spec.inputs_on(next(iter(trainable(model).values())))
        spec = replace(spec, units=units_of(model, structure_of(model, inputs, forward=spec.forward)))
    measured = Difference(model, spec, tuple(spec.units or ()), stream)
    fixed, drawn = measured.rows()
    rows = [np.concatenate([row.S, [0.0], row.squares]) for row in (*fixed, *drawn)]
    moments = _moments(measured.units, list(measured.weights), rows[: len(fixed)], rows[len(fixed) :])
    wrong = max(float(row.S @ row.bend / row.S.sum()) if row.S.sum() > 0 else 0.0 for row in (*fixed, *drawn))
    return replace(moments, method="difference", reason=reason, error=wrong)


def _measure_by_jvp(
    models: Sequence[nn.Module], spec: MeasurementSpec, streams: Sequence[object]
) -> list[UpdateMoments]:
    with ExitStack() as stack:
        steps: list[Step] = []
        for model in models:
            state = None if _writes_nothing(model, spec.forward) else stack.enter_context(preserved(model))
            steps.append(Step.of(model, spec, state=state))
            if spec.units is None:
                spec = steps[0].fitted(spec)
        measure = _measure_stacked if stack_size(steps[0]) > 1 else _measure_each
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
    """Compare first order with a true SGD step at ``lr`` by two forwards, before and after the step.

    Arguments and errors as in :func:`measure_updates`; without targets one label is drawn. It runs on a copy of the
    model in float64, for in float32 the difference of the two forwards cancels at small steps.

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
    copied = _copied(model).double()
    step = Step.of(copied, spec, state=ModelState(copied))
    outputs, pull_back = step.backward(seed)
    labels = step.labels(outputs, seed)
    if labels is not None:
        step = replace(step, targets=labels[0])
    (gradient,) = pull_back(step.residuals(outputs, None).fixed[0])
    first_order = step.tangent_moments(step.weights, gradient, seed)[:-1]
    with torch.no_grad():
        before = step.pre_activations(step.weights, seed)
        after = step.pre_activations({name: w - lr * gradient[name] for name, w in step.weights.items()}, seed)
    true = [float((z - z0).square().mean()) for z0, z in zip(before, after, strict=True)]
    return FiniteStep(units=step.units, lr=lr, first_order=lr**2 * _numpy(first_order), true=np.asarray(true))


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy; torch refuses to copy a tensor with a graph, which a model may keep from its last forward."""
    check_initialized(model)
    kept = [tensor for tensor in ModelState(model, record=False).tensors if not tensor.is_leaf]
    try:
        return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in kept})
    except Exception as error:  # whatever an attribute of the user's raises
        reason = str(error) or type(error).__name__
        raise InputError(f"{type(model).__name__} cannot be copied: {reason}") from error


def _measure_each(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
    """One weight draw and one residual row after the other."""
    results = []
    for step, stream in zip(steps, streams, strict=True):
        nearby = None if step.state is None else step.nearby(stream)
        outputs, pull_back = step.backward(stream)
        residuals = step.residuals(outputs, step.labels(outputs, stream))
        fixed, drawn = (
            [_numpy(_row_moments(step, step.weights, pull_back(row)[0], stream, row, nearby)) for row in rows]
            for rows in (residuals.fixed, residuals.drawn)
        )
        del pull_back  # frees the graph before the next draw builds its own
        results.append(_moments(step.units, list(step.weights), fixed, drawn))
    return results


def _measure_stacked(steps: Sequence[Step], streams: Sequence[object]) -> list[UpdateMoments]:
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
        return vmap(lambda row: _row_moments(step, weights, pull_back(row)[0], None, row))(rows)

    S = vmap(moments, in_dims=(0, 0, None if given else 0))(
        {name: torch.stack([s.weights[name] for s in steps]) for name in first.weights},
        {name: torch.stack([s.frozen[name] for s in steps]) for name in first.frozen},
        None if given else torch.stack([y for y in labels if y is not None]),
    )
    names = list(first.weights)
    return [_moments(first.units, names, list(rows[:n_fixed]), list(rows[n_fixed:])) for rows in _numpy(S)]


def _row_moments(
    step: Step,
    weights: Weights,
    gradient: Weights,
    stream: object,
    row: Tensor,
    nearby: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "U_error_and_weights"]:
    """What one residual row contributes.

    The mean square of every unit's step; their relative error; every gradient's squared norm.
    """
    squares = [torch.linalg.vector_norm(g).double().square() for g in gradient.values()]
    return torch.cat([step.tangent_moments(weights, gradient, stream, row, nearby), torch.stack(squares)])


def _moments(
    units: tuple[str, ...], weights: Sequence[str], fixed: Sequence[Array], drawn: Sequence[Array]
) -> UpdateMoments:
    """Sum of the fixed rows plus mean of the drawn ones."""
    n_units = len(units)
    sums = np.sum([*fixed, np.zeros(n_units + 1 + len(weights))], axis=0)
    se = 0.0
    if len(drawn):
        sums = sums + np.mean(drawn, axis=0)
        means = np.mean(np.asarray(drawn)[:, :n_units], axis=1)
        se = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    S = sums[:n_units]
    if not np.isfinite(S).all():
        unit = units[int(np.argmin(np.isfinite(S)))]
        raise InputError(f"S_l of unit {unit!r} is not finite; check the weights and the inputs, or use float64")
    squares = dict(zip(weights, sums[n_units + 1 :].tolist(), strict=True))
    error = max(float(row[n_units]) for row in (*fixed, *drawn))
    return UpdateMoments(units=units, S=S, S_bar_se=se, gradient_squares=squares, error=error)


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().double().numpy())
