"""What the claims measure: S̄ and S_l over weight draws, tangent vectors, and what the law says of the same nets.

Axes: D weight draw, L depth, U depth unit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vjp

import ammup
from ammup.architecture.architecture import Architecture
from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.jvp import stack_size
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.measurement.updates import measure_draws
from ammup.models.device import default_device as device
from ammup.models.factory import FAMILIES, architecture_of, build_model
from ammup.models.streams import random_stream
from ammup.stats.equivalence import controlled
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import gradient_squares, unit_moments
from ammup.theory.wide_net import WideNet, wide_net

Seeds = range
Rows = TypeVar("Rows")
_KEPT: list[Any] = []


def kept(function: Callable[..., Rows]) -> Callable[..., Rows]:
    """Remember what a function returned: several claims read the same draws. See :func:`forget`."""
    cached = lru_cache(maxsize=None)(function)
    _KEPT.append(cached)
    return cast(Callable[..., Rows], cached)


def forget() -> None:
    """Drop all that :func:`kept` functions remember."""
    for cached in _KEPT:
        cached.cache_clear()


@contextmanager
def fresh() -> Iterator[None]:
    """Nothing measured outside is used inside, nor the other way round."""
    forget()
    try:
        yield
    finally:
        forget()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A family on one batch: all that a measurement depends on but for the seeds.

    Attributes:
        family: "mlp", "cnn" or "resnet".
        depths: L.
        inputs: ("ones", d) one sample; ("noise", B, *shape) standard normal; ("images", B, side) generated images.
        arguments: of the family, as pairs; a kernel given by its offsets is a tuple of tuples.
        loss: "mse" or "cross_entropy".
        part: "label", "output" or "total".
        classes: whether the images' own classes are the targets; otherwise labels are drawn.
        label_draws: labels for each weight draw.
        per_tap_lr: divide the learning rate of every convolution by its kernel cardinality.
    """

    family: str
    depths: tuple[int, ...]
    inputs: tuple[Any, ...]
    arguments: tuple[tuple[str, Any], ...] = ()
    loss: str = "mse"
    part: str = "label"
    classes: bool = False
    label_draws: int = 4
    per_tap_lr: bool = False

    @property
    def factory(self) -> Callable[..., nn.Module]:
        """``factory(depth, seed=...)``."""
        return partial(getattr(ammup, self.family), **dict(self.arguments))

    def architecture(self, depth: int) -> Architecture:
        """What the family is to build at this depth, even where a faulty factory takes its place."""
        return cast(Architecture, architecture_of(partial(FAMILIES[self.family], **dict(self.arguments)), depth))

    @property
    def batch(self) -> tuple[Tensor, Tensor | None]:
        """The inputs, and their classes where those are the targets."""
        inputs, classes = _batch(self.inputs)
        return inputs, classes if self.classes else None

    def at(self, *depths: int) -> "Setting":
        """The same at other depths."""
        return replace(self, depths=depths)

    def having(self, **arguments: Any) -> "Setting":
        """The same with some of the family's arguments changed."""
        return replace(self, arguments=tuple({**dict(self.arguments), **arguments}.items()))

    def of_width(self, width: int) -> "Setting":
        """A dense net of this width on one sample, with as many inputs and outputs."""
        kind = "features" if self.family == "mlp" else "channels"
        sizes = {"width": width, f"in_{kind}": width, f"out_{kind}": width}
        return replace(self.having(**sizes), inputs=("ones", width))

    def S_bar(self, seeds: Seeds) -> Array:  # noqa: N802
        """S̄ of each draw and depth, shape (D, L)."""
        return np.array([[m.S_bar for m in moments(self, depth, seeds)] for depth in self.depths]).T

    def S_bar_controlled(self, seeds: Seeds) -> Array:  # noqa: N802
        """The same for dense plain ReLU nets on one sample, with the squared gradients as control variate.

        A draw with long forward vectors or long gradients has a large S̄, and ‖∂loss/∂W_l‖² knows of both; its
        expectation is exact at any width.
        """
        columns = []
        for depth in self.depths:
            found = moments(self, depth, seeds)
            net, batch, gradient = self.law_arguments(depth)
            exact = net.activation in ("relu", "linear") and not (net.residual or net.axes) and len(batch) == 1
            if not exact or (self.loss, self.part) != ("mse", "label"):
                raise InputError(f"{self}: squared gradients are known exactly for dense plain ReLU nets on one sample")
            expected = gradient_squares(net, batch, gradient)
            squares = np.array([list(m.gradient_squares.values())[: len(expected)] for m in found])
            columns.append(controlled(np.array([m.S_bar for m in found]), (squares / expected).mean(axis=1), 1.0))
        return np.array(columns).T

    def S(self, seeds: Seeds) -> Array:  # noqa: N802
        """S_l of each draw at the only depth, shape (D, U)."""
        (depth,) = self.depths
        return np.array([m.S for m in moments(self, depth, seeds)])

    def law_arguments(self, depth: int) -> tuple[WideNet, Array, LossGradient]:
        """The arguments of :func:`ammup.theory.wide_limit.unit_moments` for this setting."""
        inputs, classes = self.batch
        gradient = LossGradient(
            loss=self.loss, part=self.part, classes=None if classes is None else classes.numpy().astype(np.int64)
        )
        return wide_net(self.architecture(depth)), inputs.double().numpy(), gradient

    def law(self) -> Array:
        """η* of the wide-limit law at each depth."""
        return _law(self)


@kept
def _law(setting: Setting) -> Array:
    return np.array([float(unit_moments(*setting.law_arguments(depth)).mean()) ** -0.5 for depth in setting.depths])


@lru_cache(maxsize=32)
def _batch(inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor | None]:
    kind, *shape = inputs
    if kind == "images":
        return ammup.load_data("synthetic", image_size=shape[1]).batch(shape[0])
    if kind == "ones":
        return torch.ones(1, *shape), None
    return torch.randn(*shape, generator=random_stream("noise", shape)), None


@kept
def moments(setting: Setting, depth: int, seeds: Seeds) -> list[UpdateMoments]:
    """One measurement for each seed."""
    inputs, targets = setting.batch
    model = build_model(setting.factory, depth, seeds[0], device())
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=setting.loss,
        part=setting.part,
        label_draws=setting.label_draws,
        lr_factors=_per_tap(model) if setting.per_tap_lr else {},
    )
    step = Step.from_model(model, spec)
    spec, size = step.spec_for_draws(spec), stack_size(step)
    found: list[UpdateMoments] = []
    for start in range(0, len(seeds), size):
        block = seeds[start : start + size]
        models = [build_model(setting.factory, depth, seed, device()) for seed in block]
        found += measure_draws(models, spec, streams=[(depth, seed) for seed in block])
    return found


def _per_tap(model: nn.Module) -> dict[str, float]:
    return {name: 1 / max(1, w[0, 0].numel()) for name, w in model.named_parameters() if w.ndim > 2}


def step_of(setting: Setting, seed: int, *, units: Sequence[str] | None = None) -> Step:
    """One weight draw at the only depth, ready for :meth:`Step.unit_tangents` and the like."""
    (depth,) = setting.depths
    spec = MeasurementSpec(inputs=setting.batch[0], part="label", label_draws=1, units=units)
    return Step.from_model(build_model(setting.factory, depth, seed, device()), spec)


def random_direction(step: Step, names: Sequence[str], *key: object) -> dict[str, Tensor]:
    """A standard normal direction in the space of the named weights."""
    generator = random_stream("direction", *key)
    weights = {name: step.weights[name] for name in names}
    return {name: torch.randn(w.shape, generator=generator).to(w) for name, w in weights.items()}


def pulled_back(step: Step, unit: int, vector: Tensor) -> dict[str, Tensor]:
    """J_lᵀ v of one unit: the gradient of v · z_l with respect to every weight."""
    _, pull_back, *_ = vjp(lambda weights: step.pre_activations(weights, None)[unit], step.weights)
    return cast(dict[str, Tensor], pull_back(vector.to(step.inputs))[0])
