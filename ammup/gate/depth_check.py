"""The gate on users' models: check that η* falls with depth at the expected slope."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from ammup.errors import InputError
from ammup.gate.allowed import Allowed, Draws
from ammup.gate.check_result import DepthCheck
from ammup.gate.decision import MOVED
from ammup.gate.law_check import BaselineFile, check_law
from ammup.measurement.first_step import OptimizerFactory
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward
from ammup.models.factory import Factory, factory_name
from ammup.stats.verdicts import DOES_NOT_HOLD, INCONCLUSIVE


class Inconclusive(AssertionError):  # noqa: N818  (pytest shows the name, which states the outcome)
    """The confidence interval crosses an end of the allowed region."""


class Moved(AssertionError):  # noqa: N818  (as above)
    """η* or the number of depth units differs from the baseline beyond chance; the slope is not outside the region."""


def check_depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Targets | None = None,
    loss: Loss | None = None,
    part: str = "total",
    expected: float | None = None,
    margin: float,
    level: float = 0.95,
    seeds: int | None = None,
    max_depth_drift: float | None = None,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
    device: str | None = None,
    progress: bool = False,
    baseline: Path | str | None = None,
    record: bool = False,
    seed_root: int = 0,
) -> DepthCheck:
    """Measure how η* falls with depth, and compare the slope's confidence interval with ``expected`` ± ``margin``.

    The slope *holds* if its entire interval lies inside the region and *does not hold* if its entire interval lies
    outside. Otherwise the outcome is *inconclusive*, so that a noisy measurement never passes. With a baseline, the
    outcome is *moved* if the slope is not outside, but η* of a depth differs from the stored one beyond the standard
    errors of both, or the number of depth units differs.

    Args:
        factory: builds the model of a depth; see :func:`ammup.depth_exponent`, also for ``inputs``, ``targets``,
            ``loss``, ``part``, ``forward``, ``optimizer``, ``device`` and ``progress``.
        depths: at least two depths; the slope is that of log η* on the log of these numbers.
        inputs: one batch.
        targets: the targets of the batch, or None for random labels.
        loss: "mse", "cross_entropy" or a callable; required if the targets are class indices.
        part: "total", "label" or "output".
        expected: the expected slope with its sign, usually the slope that was measured while the model was known to be
            correct (the paper's limit is -1.5). None stands for the slope of the baseline; without one, for the slope
            of this measurement, for recording it.
        margin: half the width of the allowed region.
        level: two-sided confidence level of the intervals.
        seeds: weight draws at each depth, at least 2. None starts with 8, or with those of the baseline, and adds as
            many as a correct slope needs to pass with probability 0.995, up to 256 in total. The number is estimated
            from the scatter of the draws; the standard error of a baseline counts as well.
        max_depth_drift: the largest allowed difference between the slope of the deeper half of the depths and that of
            the shallower half; requires at least four depths. None sets no limit.
        forward: how to call the model.
        optimizer: ``optimizer(params, lr)``.
        device: the device to measure on.
        progress: show the progress on standard error.
        baseline: a JSON file with the result of an earlier check, to compare with. If it does not exist, it is
            recorded; with ``expected``, only if the slope holds.
        record: record the baseline even if the file exists, or if the environment variable CI is set.
        seed_root: the weights are drawn from the seeds of this root.

    Raises:
        InputError: as in :func:`ammup.depth_exponent`; a slope, margin, level, number of seeds or baseline that is not
            allowed; too few depths for ``max_depth_drift``; or the baseline is missing and the environment variable CI
            is set.
    """
    spec = MeasurementSpec(
        inputs=inputs, targets=targets, loss=loss, part=part, forward=forward, optimizer=optimizer, device=device
    )
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    draws = Draws(seeds=seeds, root=seed_root)
    if baseline is None:
        return check_law(factory, depths, spec, allowed, draws=draws, progress=progress)
    file = BaselineFile(path=Path(baseline), about=description(factory, spec), record=record)
    return file.check(factory, depths, spec, allowed, draws=draws, progress=progress)


def description(factory: Factory, spec: MeasurementSpec) -> str:
    """What a check measures, in words: the factory, the shape of the inputs, the loss and the part."""
    inputs, loss = spec.inputs, spec.objective.loss
    shape = f" on inputs of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else ""
    return f"{factory_name(factory)}{shape}, {loss if isinstance(loss, str) else factory_name(loss)}, part {spec.part}"


def assert_depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Targets | None = None,
    loss: Loss | None = None,
    part: str = "total",
    expected: float | None = None,
    margin: float,
    level: float = 0.95,
    seeds: int | None = None,
    max_depth_drift: float | None = None,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
    baseline: Path | str | None = None,
    seed_root: int = 0,
) -> DepthCheck:
    """Run :func:`check_depth_exponent` inside a test, and return the check if the slope holds.

    Raises:
        AssertionError: the slope does not hold. The message contains the measured curve and, if the curve has the
            pattern of a common fault, the likely cause.
        Moved: the curve differs from the baseline beyond both standard errors, or the number of depth units differs.
        Inconclusive: the outcome is inconclusive. The message states what to increase.
        InputError: as in :func:`check_depth_exponent`, or there is neither ``expected`` nor ``baseline``.

    Example:
        >>> import ammup, torch
        >>> from functools import partial
        >>> net = partial(ammup.mlp, width=128, in_features=128, out_features=128, readout="he")
        >>> check = ammup.assert_depth_exponent(
        ...     net, [2, 4, 8], inputs=torch.ones(1, 128), part="label", expected=-1.05, margin=0.3
        ... )
        >>> check.outcome
        'holds'
    """
    check_reference(expected, baseline)
    check = check_depth_exponent(
        factory,
        depths,
        inputs=inputs,
        targets=targets,
        loss=loss,
        part=part,
        expected=expected,
        margin=margin,
        level=level,
        seeds=seeds,
        max_depth_drift=max_depth_drift,
        forward=forward,
        optimizer=optimizer,
        baseline=baseline,
        seed_root=seed_root,
    )
    raise_unless_holds(check)
    return check


def check_reference(expected: float | None, baseline: Path | str | None) -> None:
    """Raise InputError if there is nothing to compare the slope with."""
    if expected is None and baseline is None:
        raise InputError("pass expected=, the slope with its sign, or baseline=, a file to record the slope in")


_EXCEPTIONS = {INCONCLUSIVE: Inconclusive, MOVED: Moved, DOES_NOT_HOLD: AssertionError}


def raise_unless_holds(check: DepthCheck) -> None:
    """Raise the exception of the outcome with the report of the check, unless the slope holds.

    It is :class:`Inconclusive`, :class:`Moved`, or AssertionError itself if the slope does not hold.
    """
    exception = _EXCEPTIONS.get(check.outcome)
    if exception is not None:
        raise exception(check.report())
