"""The faults of benchmarks/causes.py: each changes a correct factory, or the optimizer, of a family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from cause_parts.nets import Family

Change = Callable[[nn.Module, int], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A planted fault.

    Attributes:
        change: ``change(net, depth)`` edits a correct net in place.
        depth: the depth that is built instead of the one asked for.
        optimizer: the optimizer that is lost: the baseline is measured with it, the faulty net with plain SGD.
        fits: the families in which the fault can occur.
        causes: the causes of ammup.gate.fault_patterns whose text lists this fault.
        in_normalized: further ones if a normalization follows the weights.
    """

    change: Change | None = None
    depth: Callable[[int], int] = lambda depth: depth
    optimizer: Callable[[list[Tensor], float], Optimizer] | None = None
    fits: Callable[[Family], bool] = lambda family: True
    causes: tuple[str, ...]
    in_normalized: tuple[str, ...] = ()

    def right_causes(self, family: Family) -> tuple[str, ...]:
        """The causes that are right in a family."""
        return self.causes + (self.in_normalized if family.normalized else ())

    def planted(self, family: Family) -> Callable[..., nn.Module]:
        """The factory with the fault."""

        def net(depth: int, seed: int) -> nn.Module:
            model = family.net(self.depth(depth), seed=seed)
            if self.change is not None:
                with torch.no_grad():
                    self.change(model, depth)
            return model

        return net


def units_of(net: nn.Module) -> nn.ModuleList:
    """The depth units."""
    units = net.layers if hasattr(net, "layers") else net.blocks
    assert isinstance(units, nn.ModuleList)
    return units


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """The weights with at least two axes."""
    return [p for p in module.parameters() if p.dim() > 1]


def _scale(net: nn.Module, depth: int, *, factor: float, units: Callable[[int], Sequence[int]]) -> None:
    chosen = units_of(net)
    for i in units(len(chosen)):
        for weight in weights_of(chosen[i]):
            weight.mul_(factor)


def _constant_std(net: nn.Module, depth: int, *, std: float, units: Callable[[int], Sequence[int]]) -> None:
    chosen = units_of(net)
    for i in units(len(chosen)):
        for weight in weights_of(chosen[i]):
            weight.mul_(std / weight.std())


def _scale_branches(net: nn.Module, depth: int, *, factor: Callable[[int], float], which: slice) -> None:
    for block in units_of(net):
        for weight in weights_of(block)[which]:
            weight.mul_(factor(depth))


def _share(net: nn.Module, depth: int) -> None:
    units = units_of(net)
    first = 0 if hasattr(net, "blocks") else 1
    for unit in units[first + 1 :]:
        for own, shared in zip(unit.modules(), units[first].modules(), strict=True):
            own._parameters.update(shared._parameters)


def _copy_values(net: nn.Module, depth: int) -> None:
    units = units_of(net)
    first = 0 if hasattr(net, "blocks") else 1
    for unit in units[first + 1 :]:
        unit.load_state_dict(units[first].state_dict())


def _readout(net: nn.Module, depth: int, *, power: float) -> None:
    weight = [m for m in net.modules() if isinstance(m, nn.Linear)][-1].weight
    weight.mul_(weight.shape[1] ** power)


def _freeze(net: nn.Module, depth: int, *, first: bool) -> None:
    units = units_of(net)
    for unit in units[: len(units) // 2] if first else units[(len(units) + 1) // 2 :]:
        unit.requires_grad_(False)
    if first and hasattr(net, "stem"):
        net.stem.requires_grad_(False)


def _without_norms(net: nn.Module, depth: int) -> None:
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.LayerNorm):
                setattr(module, name, nn.Identity())


def _without_skip(net: nn.Module, depth: int) -> None:
    for block in units_of(net):
        block.skip = False


def _factor(params: list[Tensor], lr: float, *, power: float, scale: float) -> Optimizer:
    return SGD(params, lr * scale * len(list(params)) ** power)


def _all(n: int) -> Sequence[int]:
    return range(n)


def _two(n: int) -> Sequence[int]:
    return (n // 2 - 1, n // 2)


def _one(n: int) -> Sequence[int]:
    return (n // 2,)


TOO_LARGE = ("growing signal", "large branches")
TOO_SMALL = ("shrinking signal", "small branches")
CONSTANT = ("constant factor",)


def _scaled(factor: float) -> Fault:
    causes = TOO_LARGE if factor > 1 else TOO_SMALL
    return Fault(change=partial(_scale, factor=factor, units=_all), causes=causes, in_normalized=CONSTANT)


def _branches(power: float, which: slice, causes: tuple[str, ...]) -> Fault:
    change = partial(_scale_branches, factor=lambda depth: depth**power, which=which)
    return Fault(change=change, causes=causes, fits=lambda family: family.divided)


FAULTS = {
    "all weights 1.5 times too large": _scaled(1.5),
    "all weights 0.6 times too small": _scaled(0.6),
    "all weights at std 0.02": Fault(
        change=partial(_constant_std, std=0.02, units=_all), causes=TOO_SMALL, in_normalized=CONSTANT
    ),
    "two layers at std 1": Fault(change=partial(_constant_std, std=1.0, units=_two), causes=("single layers",)),
    "two layers 0.25 times too small": Fault(
        change=partial(_scale, factor=0.25, units=_two), causes=("single layers",)
    ),
    "one layer 4 times too large": Fault(change=partial(_scale, factor=4.0, units=_one), causes=("single layers",)),
    "one layer too few": Fault(depth=lambda depth: depth - 1, causes=("one unit fewer",)),
    "one layer too many": Fault(depth=lambda depth: depth + 1, causes=("one unit more",)),
    "twice the depth": Fault(depth=lambda depth: 2 * depth, causes=("twice the units",)),
    "branches not divided": _branches(0.5, slice(-1, None), TOO_LARGE),
    "every branch layer divided": _branches(-0.5, slice(0, -1), ("small branches",)),
    "branches end in zero": Fault(
        change=partial(_scale_branches, factor=lambda depth: 0.0, which=slice(-1, None)),
        causes=("small branches",),
        fits=lambda family: family.residual,
    ),
    "skip lost": Fault(
        change=_without_skip,
        causes=("growing signal", "other structure"),
        fits=lambda family: family.residual and family.normalized,
    ),
    "one layer shared by all": Fault(change=_share, causes=("copied layers",)),
    "one layer copied to all": Fault(change=_copy_values, causes=("copied layers",)),
    "readout too large": Fault(change=partial(_readout, power=0.5), causes=CONSTANT),
    "readout too small": Fault(change=partial(_readout, power=-0.5), causes=CONSTANT),
    "first half frozen": Fault(change=partial(_freeze, first=True), causes=("still units",)),
    "last half frozen": Fault(change=partial(_freeze, first=False), causes=("still units",)),
    "normalization lost": Fault(
        change=_without_norms, causes=("growing signal",), fits=lambda family: family.normalized
    ),
    "constant rate factor lost": Fault(optimizer=partial(_factor, power=0.0, scale=0.1), causes=CONSTANT),
    "depth factor of the rate lost": Fault(
        optimizer=partial(_factor, power=-1.0, scale=1.0), causes=("power of the depth",)
    ),
}
