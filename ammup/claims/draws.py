"""Measurements for the claims: S̄ and S_l over weight draws, tangent vectors, and the wide-limit law of the same nets.

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
from ammup.measurement.norms import squared_norm
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.measurement.updates import measure_draws
from ammup.models.device import default_device as device
from ammup.models.factory import FAMILIES, architecture_of, build_model
from ammup.models.streams import random_stream
from ammup.stats.equivalence import controlled
from ammup.theory.diagonals import unit_squares
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import checked_batch, gradient_squares, unit_moments
from ammup.theory.wide_net import WideNet, wide_net

Seeds = range
Rows = TypeVar("Rows")
_CACHES: list[Any] = []


def memoize(function: Callable[..., Rows]) -> Callable[..., Rows]:
    """Cache the results of a function without limit, because several claims use the same draws."""
    cached = lru_cache(maxsize=None)(function)
    _CACHES.append(cached)
    return cast(Callable[..., Rows], cached)


def clear_cache() -> None:
    """Clear the caches of all functions that :func:`memoize` decorates."""
    for cached in _CACHES:
        cached.cache_clear()


@contextmanager
def isolated_cache() -> Iterator[None]:
    """Clear the caches before and after the context, so that results inside and outside of it are independent."""
    clear_cache()
    try:
        yield
    finally:
        clear_cache()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A family of nets on one batch: everything that determines a measurement except the seeds.

    Attributes:
        family: "mlp", "cnn" or "resnet".
        depths: the depths L.
        inputs: ("ones", d), one sample of d ones; ("noise", B, *shape), a standard normal batch; or
            ("images", B, side), generated images.
        arguments: keyword arguments of the family, as pairs; a kernel given by its offsets is a tuple of tuples.
        loss: "mse" or "cross_entropy".
        part: "label", "output" or "total".
        classes: use the classes of the images as targets; otherwise the labels are random.
        label_draws: number of random labels for each weight draw.
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
        """A callable ``factory(depth, seed=...)`` that builds the net."""
        return partial(getattr(ammup, self.family), **dict(self.arguments))

    def architecture(self, depth: int) -> Architecture:
        """The architecture that the family specifies at this depth, even if a test replaced the family's factory."""
        return cast(Architecture, architecture_of(partial(FAMILIES[self.family], **dict(self.arguments)), depth))

    @property
    def batch(self) -> tuple[Tensor, Tensor | None]:
        """The inputs, and their classes if ``classes`` is set, else None."""
        inputs, classes = _batch(self.inputs)
        return inputs, classes if self.classes else None

    def at(self, *depths: int) -> "Setting":
        """A copy with other depths."""
        return replace(self, depths=depths)

    def with_arguments(self, **arguments: Any) -> "Setting":
        """A copy in which some keyword arguments of the family are replaced or added."""
        return replace(self, arguments=tuple({**dict(self.arguments), **arguments}.items()))

    def of_width(self, width: int) -> "Setting":
        """A copy of a dense setting in which inputs, layers and outputs have this width, with one sample of ones."""
        kind = "features" if self.family == "mlp" else "channels"
        sizes = {"width": width, f"in_{kind}": width, f"out_{kind}": width}
        return replace(self.with_arguments(**sizes), inputs=("ones", width))

    def S_bar(self, seeds: Seeds) -> Array:  # noqa: N802
        """S̄ of each weight draw and depth, shape (D, L)."""
        return np.array([[m.S_bar for m in moments(self, depth, seeds)] for depth in self.depths]).T

    def S_bar_controlled(self, seeds: Seeds) -> Array:  # noqa: N802
        """S̄ with a control variate, which reduces its variance; shape (D, L).

        The control variate is the mean over l of ‖∂loss/∂W_l‖² or, if its expectation is not known exactly, of the
        mean square of unit l, both relative to their expectations. It correlates with S̄, because both are large in
        draws in which the gradients or the activations have large norms.

        Raises:
            InputError: no expectation is known exactly. That of the units is known for ReLU and linear nets, and that
                of the gradients for plain dense ones on one sample, with mse and the label part.
        """
        columns = [self._S_bar_controlled(depth, seeds) for depth in self.depths]
        return np.array(columns).T

    def _S_bar_controlled(self, depth: int, seeds: Seeds) -> Array:  # noqa: N802
        S_bar = np.array([m.S_bar for m in moments(self, depth, seeds)])
        return controlled(S_bar, self.control(depth, seeds), 1.0)

    def control(self, depth: int, seeds: Seeds) -> Array:
        """The control variate of :meth:`S_bar_controlled` at one depth, of expectation 1; shape (D,).

        Raises:
            InputError: its expectation is not known exactly.
        """
        net, batch, gradient = self.law_arguments(depth)
        if net.residual or net.axes or len(batch) != 1 or (self.loss, self.part) != ("mse", "label"):
            expected = unit_squares(net, checked_batch(net, batch))
            return np.asarray((_unit_squares(self, depth, seeds) / expected).mean(axis=1))
        if net.activation not in ("relu", "linear"):
            raise InputError(f"{self}: the expected squared gradients are exact only for ReLU and linear; use S_bar")
        expected = gradient_squares(net, batch, gradient)
        squares = [list(m.gradient_squares.values())[: len(expected)] for m in moments(self, depth, seeds)]
        return np.asarray((np.array(squares) / expected).mean(axis=1))

    def S(self, seeds: Seeds) -> Array:  # noqa: N802
        """S_l of each weight draw, shape (D, U). The setting must have exactly one depth."""
        (depth,) = self.depths
        return np.array([m.S for m in moments(self, depth, seeds)])

    def law_arguments(self, depth: int) -> tuple[WideNet, Array, LossGradient]:
        """The arguments of :func:`ammup.theory.wide_limit.unit_moments` for this setting."""
        inputs, targets = self.batch
        classes = None if targets is None else targets.numpy().astype(np.int64)
        gradient = LossGradient(loss=self.loss, part=self.part, classes=classes)
        return wide_net(self.architecture(depth)), inputs.double().numpy(), gradient

    def law(self) -> Array:
        """η* of the wide-limit law at each depth, shape (L,)."""
        return _law(self)


@memoize
def _law(setting: Setting) -> Array:
    S_bar = [float(unit_moments(*setting.law_arguments(depth)).mean()) for depth in setting.depths]
    return np.array([value**-0.5 for value in S_bar])


@lru_cache(maxsize=32)
def _batch(inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor | None]:
    kind, *shape = inputs
    if kind == "images":
        return ammup.load_data("synthetic", image_size=shape[1]).batch(shape[0])
    if kind == "ones":
        return torch.ones(1, *shape), None
    return torch.randn(*shape, generator=random_stream("noise", shape)), None


@memoize
def moments(setting: Setting, depth: int, seeds: Seeds) -> list[UpdateMoments]:
    """Measure one weight draw for each seed. The result is cached."""
    inputs, targets = setting.batch
    model = build_model(setting.factory, depth, seeds[0], device())
    spec = MeasurementSpec(
        inputs=inputs,
        targets=targets,
        loss=setting.loss,
        part=setting.part,
        label_draws=setting.label_draws,
        lr_factors=_per_tap_factors(model) if setting.per_tap_lr else {},
    )
    step = Step.from_model(model, spec)
    spec, size = step.spec_for_draws(spec), stack_size(step)
    results: list[UpdateMoments] = []
    for start in range(0, len(seeds), size):
        block = seeds[start : start + size]
        models = [build_model(setting.factory, depth, seed, device()) for seed in block]
        results += measure_draws(models, spec, streams=[(depth, seed) for seed in block])
    return results


@memoize
def _unit_squares(setting: Setting, depth: int, seeds: Seeds) -> Array:
    """The mean square of every unit in each weight draw, shape (D, U). The result is cached."""
    inputs, _ = setting.batch
    squares = []
    for seed in seeds:
        step = Step.from_model(build_model(setting.factory, depth, seed, device()), MeasurementSpec(inputs=inputs))
        with torch.no_grad():
            units = step.pre_activations(step.weights, None)
        squares.append([float(squared_norm(z)) / z.numel() for z in units])
    return np.array(squares)


def _per_tap_factors(model: nn.Module) -> dict[str, float]:
    """1/(kernel cardinality) for each convolution weight."""
    return {name: 1 / max(1, w[0, 0].numel()) for name, w in model.named_parameters() if w.ndim > 2}


def step_of(setting: Setting, seed: int, *, units: Sequence[str] | None = None) -> Step:
    """The step of one weight draw, for tangents and gradients. The setting must have exactly one depth."""
    (depth,) = setting.depths
    spec = MeasurementSpec(inputs=setting.batch[0], part="label", label_draws=1, units=units)
    return Step.from_model(build_model(setting.factory, depth, seed, device()), spec)


def random_direction(step: Step, names: Sequence[str], *key: object) -> dict[str, Tensor]:
    """A standard normal direction in the space of the named weights; ``key`` seeds it."""
    generator = random_stream("direction", *key)
    weights = {name: step.weights[name] for name in names}
    return {name: torch.randn(w.shape, generator=generator).to(w) for name, w in weights.items()}


def unit_vjp(step: Step, unit: int, vector: Tensor) -> dict[str, Tensor]:
    """The vector-Jacobian product J_lᵀ v of one unit: the gradient of v · z_l with respect to every weight."""
    _, vjp_function, *_ = vjp(lambda weights: step.pre_activations(weights, None)[unit], step.weights)
    return cast(dict[str, Tensor], vjp_function(vector.to(step.inputs))[0])
