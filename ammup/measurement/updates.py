"""`measure_updates`: the one-step second moments S_l of the pre-activations, to first order in the learning rate.

To first order, one SGD step at learning rate η changes depth unit l by Δz = -η J_l g, where g is the loss gradient and
J_l the Jacobian with respect to all trainable weights. S_l = E (Δz)² is then quadratic in η, so one backward pass (for
g) and one forward-mode pass (the JVP along g) give S_l of every unit at every learning rate. The solution of S̄(η*) = 1
is η* = S̄(η = 1)^(-1/2) (paper, section 3.1).

Axes: W weight draw, R residual row, B batch, U depth unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ammup.errors import InputError
from ammup.measurement.difference import Difference, Gradients, trainable
from ammup.measurement.first_step import OptimizerLike
from ammup.measurement.jvp import measure_by_jvp
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.method import LARGEST_ERROR, reason_against_jvp
from ammup.measurement.moments import UpdateMoments, combined_moments
from ammup.measurement.rounding import InaccurateError
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.models.depth import Forward, structure_of, units_of
from ammup.models.precision import in_double_precision
from ammup.models.state import check_initialized, preserved
from ammup.models.streams import random_stream
from ammup.models.wrappers import inner_name, unwrapped

NO_UNIT_MOVES = (
    "one step moves no depth unit, because all gradients in and before the units are zero; if the readout starts at "
    "zero, pass perturb_head=1.0 or measure after a few training steps"
)


def measure_updates(
    model: nn.Module,
    inputs: Any,
    targets: Targets | None = None,
    *,
    loss: Loss | None = None,
    part: str = "total",
    units: Sequence[str] | None = None,
    label_draws: int = 4,
    lr_factors: Mapping[str, float] | None = None,
    seed: int = 0,
    forward: Forward | None = None,
    optimizer: OptimizerLike | None = None,
    method: str = "auto",
    perturb_head: float | None = None,
    autocast: torch.dtype | None = None,
) -> UpdateMoments:
    """S_l of every depth unit for one gradient step on one batch, measured on that batch.

    Args:
        model: any module. For DataParallel and DistributedDataParallel, the wrapped module is measured, and its names
            of units and weights are used. The module is restored afterwards (see :mod:`ammup.models.state`), and so are
            the random generators of torch, NumPy and Python. Training flags are respected: in training mode, batch norm
            uses batch statistics, and dropout uses the same mask for the gradient and the step.
        inputs: (B, …), a tensor or NumPy array, moved to the device and dtype of the model's weights; with
            ``forward``, any structure of tensors.
        targets: class indices (B,) or ``(B, *P)``, or floats shaped like the outputs. With mse, class indices are
            converted to one-hot targets. None draws labels: N(0, 1) for mse (the paper's setting), uniform classes for
            cross-entropy.
        loss: "mse", "cross_entropy" or a callable; see :class:`ammup.measurement.loss.Objective`.
            Required if the targets are class indices; otherwise None is "mse".
        part: "total", "label" (the paper's B-term) or "output" (its A-term).
        units: names of the modules to observe instead of ``depth_units(model)``.
        label_draws: number of label draws; they share one forward pass.
        lr_factors: factor of the learning rate of some weights, by parameter name; 1 for the others.
        seed: seed of the drawn labels and of dropout.
        forward: ``forward(model, inputs)`` -> outputs ``(B, M, *P)``, for models with several inputs or dict outputs.
        optimizer: ``optimizer(params, lr)``, such as ``torch.optim.Adam``, to measure its first step instead of SGD's,
            or an optimizer of this model in the middle of training, to measure its next step; only for part "total".
            The step must be proportional to the learning rate.
        method: "jvp", "difference", or "auto", which uses jvp if it is reliable for this model; see
            :mod:`ammup.measurement.method`.
        perturb_head: draw the readout's weights from N(0, perturb_head² / fan_in) for this measurement. If they are
            zero, as in torchvision's vision transformers, no gradient reaches the depth units: the first step changes
            only the readout, and the depth units do not change before the second step.
        autocast: the dtype of the autocast in which the model is trained, such as torch.bfloat16: the gradient is
            computed under it, and the change of the units along the step without it, see
            :mod:`ammup.measurement.autocast`. Only by the method "difference". An autocast that is active at the call
            is left.

    Returns:
        The moments at learning rate 1; ``method``, ``reason`` and ``error`` describe how they were computed.

    Raises:
        InputError: inputs, targets, loss, units or another argument are invalid, the model fails, or the moments are
            zero or not finite.

    Example:
        >>> import ammup, torch
        >>> net = ammup.mlp(8, width=512, in_features=512, out_features=512, readout="he")
        >>> moments = ammup.measure_updates(net, torch.ones(1, 512), part="label")
        >>> 0.1 < moments.lr_star < 0.25  # theory: 0.154
        True
    """
    wrapper, model = model, unwrapped(model)
    name_of = inner_name if model is not wrapper else str
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=loss,
        part=part,
        label_draws=label_draws,
        units=None if units is None else [name_of(unit) for unit in units],
        lr_factors={name_of(name): factor for name, factor in (lr_factors or {}).items()},
        forward=forward,
        optimizer=optimizer,
        method=method,
        autocast=autocast,
    )
    if perturb_head is None:
        (moments,) = measure_draws([model], spec, streams=[seed])
    else:
        with preserved(model):
            _draw_head(model, spec, perturb_head, seed)
            (moments,) = measure_draws([model], spec, streams=[seed])
    check_moved(moments)
    return moments


def check_moved(moments: UpdateMoments) -> None:
    """Raise InputError if a step does not move any depth unit."""
    if moments.S_bar == 0:
        raise InputError(NO_UNIT_MOVES)


def _draw_head(model: nn.Module, spec: MeasurementSpec, scale: float, seed: int) -> None:
    """Draw the weights of the readout layers in place."""
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"perturb_head={scale} must be positive and finite")
    inputs = spec.inputs_on(next(iter(trainable(model).values())))
    layers = structure_of(model, inputs, forward=spec.forward).layers
    weights = [model.get_parameter(layer.weight) for layer in layers if layer.role == "readout" and layer.weight]
    if not weights:
        raise InputError(f"perturb_head={scale} was given, but the model has no readout layer")
    for number, weight in enumerate(weights):
        noise = torch.randn(weight.shape, generator=random_stream("head", seed, number))
        weight.data.copy_(noise * scale / weight[0].numel() ** 0.5)


def maximal_lr(model: nn.Module, inputs: Any, targets: Targets, *, loss: Loss | None = None) -> float:
    """η* with S̄(η*) = 1 for one gradient step on this batch; arguments and errors as in :func:`measure_updates`."""
    return measure_updates(model, inputs, targets, loss=loss).lr_star


def measure_draws(
    models: Sequence[nn.Module], spec: MeasurementSpec, *, streams: Sequence[object]
) -> list[UpdateMoments]:
    """The moments of several weight draws of one net, measured together if that is faster.

    Args:
        models: modules that differ only in their weights.
        spec: the specification of the measurement.
        streams: for each model, the key of the random numbers for its labels and dropout masks.

    Raises:
        InputError: as in :func:`measure_updates`, except that moments may be zero.
    """
    unreliable = "" if spec.methods_agree else reason_against_jvp(models[0], spec)
    reason = {"auto": unreliable, "jvp": "", "difference": "method='difference' was requested"}[spec.method]
    if not reason:
        try:
            return measure_by_jvp(models, spec, streams)
        except InaccurateError as error:
            reason, spec = str(error), replace(spec, units=error.units)
        except InputError as error:
            if spec.method == "jvp":
                raise
            reason = f"jvp failed: {error}"
    results = []
    for model, stream in zip(models, streams, strict=True):
        results.append(_measure_by_difference(model, spec, stream, reason))
        spec = replace(spec, units=results[0].units) if spec.units is None else spec
    return results


def prepared_for_draws(model: nn.Module, spec: MeasurementSpec, stream: object) -> MeasurementSpec:
    """The specification for other weight draws of this net, with its units, and with "auto" decided by this draw.

    If jvp may be wrong for the net's modules, this draw is measured by both methods. If their results agree, jvp is
    used for the other draws, which differ only in their weights.
    """
    reason = reason_against_jvp(model, spec)
    if not reason or spec.method == "jvp":
        return Step.from_model(model, spec).spec_for_draws(spec)
    exact = _measure_by_difference(model, spec, stream, reason)
    spec = replace(spec, units=exact.units)
    if spec.method == "difference":
        return spec
    try:
        (fast,) = measure_by_jvp([model], spec, [stream])
    except InputError:
        return replace(spec, method="difference")
    agreed = exact.error + fast.error <= LARGEST_ERROR and np.allclose(fast.S, exact.S, rtol=LARGEST_ERROR)
    return replace(spec, methods_agree=True) if agreed else replace(spec, method="difference")


def _measure_by_difference(model: nn.Module, spec: MeasurementSpec, stream: object, reason: str) -> UpdateMoments:
    """The moments by the method "difference", in float64 or, if the model does not run in float64, in its precision."""
    check_initialized(model)
    trained: Gradients | None = None
    if spec.autocast is not None:
        with preserved(model):
            spec = _with_units(model, spec)
            _, fixed, drawn = Difference(model, spec, tuple(spec.units or ()), stream).gradients()
        trained = (fixed, drawn)
        spec = replace(spec, autocast=None)

    def measure(problem: str) -> UpdateMoments:
        why = f"{reason}; the model does not run in float64 ({problem})" if problem else reason
        return _difference(model, spec, stream, why, trained)

    return in_double_precision(model, measure, only_passes=spec.forward is None)


def _with_units(model: nn.Module, spec: MeasurementSpec) -> MeasurementSpec:
    """The specification with the depth units of the model, if it has no units."""
    if spec.units is not None:
        return spec
    inputs = spec.inputs_on(next(iter(trainable(model).values())))
    return replace(spec, units=units_of(model, structure_of(model, inputs, forward=spec.forward)))


def _difference(
    model: nn.Module, spec: MeasurementSpec, stream: object, reason: str, trained: Gradients | None
) -> UpdateMoments:
    """The moments by the method "difference", in the model's current precision; ``trained`` as in `Difference.rows`."""
    spec = _with_units(model, spec)
    measured = Difference(model, spec, tuple(spec.units or ()), stream)
    fixed, drawn = measured.rows(trained)
    rows = [np.concatenate([row.S, [0.0], row.squares]) for row in (*fixed, *drawn)]
    moments = combined_moments(measured.units, list(measured.weights), rows[: len(fixed)], rows[len(fixed) :])
    # The relative error of a row's S̄ is the mean of the units' errors, weighted by S_l.
    errors = [float(row.S @ row.curvature / row.S.sum()) if row.S.sum() > 0 else 0.0 for row in (*fixed, *drawn)]
    return replace(moments, method="difference", reason=reason, error=max(errors))
