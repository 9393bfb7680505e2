"""`depth_exponent`: the measurement of a depth law, for models that a factory builds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import nn

from ammup.errors import InputError, check_known
from ammup.measurement.depth_law import DepthLaw, fitted_power_law
from ammup.measurement.finite_depth import finite_depth_lrs
from ammup.measurement.first_step import OptimizerFactory
from ammup.measurement.jvp import stack_size
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.sharpness import SharpnessMeasurement
from ammup.measurement.signal import signal_squares, weight_gains
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.measurement.updates import measure_draws, prepared_for_draws
from ammup.models.depth import Forward, check_depths_differ
from ammup.models.factory import Factory, architecture_of, build_model, takes_seed
from ammup.progress import tracked
from ammup.stats.depths import checked_depths
from ammup.training.runs import seed_numbers

MEASURES = ("updates", "sharpness")


def depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Targets | None = None,
    loss: Loss | None = None,
    part: str = "total",
    seeds: int | Sequence[int] = 8,
    label_draws: int = 4,
    level: float = 0.95,
    device: torch.device | str | None = None,
    progress: bool = False,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
    measure: str = "updates",
) -> DepthLaw:
    """Measure S̄ at every depth for several weight draws, without training, and fit a power law to η*(L).

    Args:
        factory: a function that returns a module: ``factory(depth, seed=...)``, or ``factory(depth)``, which draws from
            torch's global generator, seeded for each draw. If it draws nothing at random, there is a single draw and no
            interval. :func:`ammup.measure_updates` describes the modules that can be measured.
        depths: at least two different depths.
        inputs: (B, …), one batch for all depths and seeds.
        targets: as in :func:`ammup.measure_updates`; None draws labels.
        loss: as in :func:`ammup.measure_updates`.
        part: "total", "label" or "output".
        seeds: the seeds, or how many (0, 1, …). Draws of different depths are independent.
        label_draws: number of label draws for each weight draw.
        level: confidence level of the slope's interval.
        device: the device for the measurement; None uses the factory's device.
        progress: show the progress on standard error.
        forward: as in :func:`ammup.measure_updates`.
        optimizer: ``optimizer(params, lr)``, as in :func:`ammup.measure_updates`.
        measure: "updates" for η* with S̄(η*) = 1; "sharpness" for the edge of stability, 2/λ with the largest
            eigenvalue λ of the Gauss-Newton matrix; see :func:`ammup.measure_sharpness`.

    Returns:
        The law. Its ``reference`` is available if ``factory`` is `ammup.mlp`, `ammup.cnn` or `ammup.resnet` (without
        batch norm, dropout and projections), possibly with arguments fixed by `functools.partial`, and the batch has
        few positions. Unless ``part`` is "label", the outputs must also be fewer than a quarter of the channels.

    Raises:
        InputError: there are fewer than two depths or a repeated one, the data are invalid, or the factory fails or
            ignores its depth or seed.

    Example:
        >>> import ammup, torch
        >>> from functools import partial
        >>> net = partial(ammup.mlp, width=128, in_features=128, out_features=128, readout="he")
        >>> law = ammup.depth_exponent(net, [2, 4, 8], inputs=torch.ones(1, 128), part="label", seeds=16)
        >>> low, high = law.power_law.slope_ci
        >>> low < law.reference < high
        True
    """
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=loss,
        part=part,
        label_draws=label_draws,
        forward=forward,
        optimizer=optimizer,
        device=device,
    )
    return measure_depth_law(factory, depths, spec, seeds=seeds, level=level, measure=measure, progress=progress)


def measure_depth_law(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    spec: MeasurementSpec,
    *,
    seeds: int | Sequence[int],
    level: float = 0.95,
    measure: str = "updates",
    progress: bool = False,
) -> DepthLaw:
    """The depth law of a factory, measured by a specification; see :func:`depth_exponent`."""
    check_known("measure", measure, MEASURES)
    if measure == "sharpness" and spec.part != "total":
        raise InputError(f"part={spec.part!r} of the sharpness is not defined; use part='total'")
    wanted = tuple(sorted(checked_depths(depths, at_least=2)))
    numbers = _seeds(seeds)
    first = {depth: build_model(factory, depth, numbers[0], spec.device) for depth in wanted}
    nets = {depth: _Net.from_model(model, spec, (depth, numbers[0])) for depth, model in first.items()}
    del first  # the largest of them fill the memory
    check_depths_differ({depth: len(net.units) for depth, net in nets.items()})
    numbers = _distinct(factory, wanted[0], numbers)
    if measure == "sharpness":
        return _sharpness_law(factory, numbers, nets, level=level, progress=progress)
    moments: dict[int, list[UpdateMoments]] = {depth: [] for depth in wanted}
    blocks = [(depth, block) for depth in wanted for block in _blocks(numbers, nets[depth].stack)]
    costs = [depth * len(block) for depth, block in blocks]
    for depth, block in tracked(blocks, "measuring", len(blocks), show=progress, costs=costs):
        models = [build_model(factory, depth, seed, spec.device) for seed in block]
        moments[depth] += measure_draws(models, nets[depth].spec, streams=[(depth, seed) for seed in block])
    table = pd.DataFrame(
        [
            {"depth": depth, "seed": seed, "S_bar": m.S_bar, "lr_star": m.lr_star}
            for depth in wanted
            for seed, m in zip(numbers, moments[depth], strict=True)
        ]
    )
    return DepthLaw(
        table=table,
        units={depth: len(net.units) for depth, net in nets.items()},
        S={depth: np.mean([m.S for m in moments[depth]], axis=0) for depth in wanted},
        power_law=fitted_power_law(table, measure, level),
        signal=partial(signal_squares, factory, wanted, spec, numbers[0]),
        gains=partial(weight_gains, factory, wanted, spec, numbers[0]),
        law=partial(finite_depth_lrs, {depth: architecture_of(factory, depth) for depth in wanted}, spec),
    )


@dataclass(frozen=True, kw_only=True)
class _Net:
    """The properties of one depth's model that are needed after the model is deleted.

    Attributes:
        units: names of the depth units.
        stack: number of weight draws to measure together.
        spec: the specification of the measurement, adapted to this model.
    """

    units: tuple[str, ...]
    stack: int
    spec: MeasurementSpec

    @classmethod
    def from_model(cls, model: nn.Module, spec: MeasurementSpec, stream: object) -> "_Net":
        prepared = prepared_for_draws(model, spec, stream)
        stackable = not prepared.methods_agree and prepared.method != "difference"
        stack = stack_size(Step.from_model(model, prepared)) if stackable else 1
        return cls(units=tuple(prepared.units or ()), stack=stack, spec=prepared)


def _sharpness_law(
    factory: Factory, seeds: tuple[int, ...], nets: Mapping[int, _Net], *, level: float, progress: bool
) -> DepthLaw:
    """The depth law of the edge of stability, from one draw after another."""
    rows = []
    draws = [(depth, seed) for depth in nets for seed in seeds]
    for depth, seed in tracked(draws, "measuring", len(draws), show=progress, costs=[depth for depth, _ in draws]):
        spec = nets[depth].spec
        model = build_model(factory, depth, seed, spec.device)
        sharpness = SharpnessMeasurement(model=model, spec=spec, stream=(depth, seed)).by_method()
        rows.append(
            {
                "depth": depth,
                "seed": seed,
                "sharpness": sharpness.eigenvalue,
                "lr_star": sharpness.edge,
                "passes": sharpness.passes,
            }
        )
    table = pd.DataFrame(rows)
    units = {depth: len(net.units) for depth, net in nets.items()}
    power_law = fitted_power_law(table, "sharpness", level)
    return DepthLaw(table=table, units=units, S={}, power_law=power_law, measure="sharpness")


def _distinct(factory: Factory, depth: int, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds; only the first one if the factory draws nothing, because equal draws have no standard error."""
    if len(seeds) < 2:
        return seeds
    one, other = (build_model(factory, depth, seed) for seed in seeds[:2])
    if not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)):
        return seeds
    if takes_seed(factory):
        raise InputError(
            f"the factory ignores its seed: seeds {seeds[0]} and {seeds[1]} gave the same weights at depth {depth}; "
            "draw them from that seed"
        )
    return seeds[:1]


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    numbers = seed_numbers(seeds)
    if not numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"seeds={seeds!r} must be a count of at least 1 or distinct seeds")
    return numbers


def _blocks(seeds: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    """The seeds in consecutive blocks of at most this size."""
    return (seeds[i : i + size] for i in range(0, len(seeds), size))
