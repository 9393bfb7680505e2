"""Facts about the nets of a factory that narrow down the cause of a failed check."""

from dataclasses import dataclass

import torch
from torch import nn

from ammup.errors import InputError
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import depth_units
from ammup.models.factory import Factory, build_model


@dataclass(frozen=True, kw_only=True)
class NetFacts:
    """Facts about the nets of a factory.

    Attributes:
        copied: whether a deeper net has more layers whose weights equal those of another layer than a shallower net,
            because they are shared, copied, or drawn from the same seed. Weights that are equal at every depth, such
            as an embedding tied to the readout, do not count.
        residual: whether the nets have residual blocks; None if their operations cannot be recorded.
    """

    copied: bool = False
    residual: bool | None = None

    @classmethod
    def from_factory(cls, factory: Factory, depths: tuple[int, int], spec: MeasurementSpec) -> "NetFacts":
        """The facts of a factory's nets of two depths, the smaller one first."""
        shallow, deep = (build_model(factory, depth, 0, spec.device) for depth in depths)
        return cls(copied=_equal_weights(deep) > _equal_weights(shallow), residual=_is_residual(shallow, spec))


def _equal_weights(model: nn.Module) -> int:
    """The number of weights that equal a preceding one.

    Only weights with at least two axes and different values count, because norms start with equal ones.
    """
    seen: dict[tuple[object, ...], list[torch.Tensor]] = {}
    count = 0
    for _, weight in model.named_parameters(remove_duplicate=False):
        if weight.dim() < 2 or weight.numel() < 2 or bool((weight == weight.flatten()[0]).all()):
            continue
        w = weight.detach()
        # Equal weights have equal sums, so that few pairs must be compared.
        same = seen.setdefault((w.shape, w.dtype, float(w.double().sum())), [])
        if any(torch.equal(w, other) for other in same):
            count += 1
        same.append(w)
    return count


def _is_residual(model: nn.Module, spec: MeasurementSpec) -> bool | None:
    try:
        depth_units(model, spec.inputs, forward=spec.forward)
    except InputError:
        return None
    try:
        return len(depth_units(model, spec.inputs, convention="blocks", forward=spec.forward)) > 0
    except InputError:  # the convention finds no unit
        return False
