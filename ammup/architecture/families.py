"""The arguments of the model families, checked without PyTorch: an invalid one is reported before it is imported."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from ammup.architecture.architecture import Architecture
from ammup.architecture.kernels import check_convolution
from ammup.errors import InputError

_PLAIN = {"activation": "relu", "gain": "forward", "readout": "mean-field"}
_CONVOLUTION = {
    **_PLAIN,
    **{
        "width": 64,
        "dims": 2,
        "kernel": 3,
        "padding": "circular",
        "in_channels": 3,
        "out_channels": 10,
        "head": "pool",
    },
    **{"groups": 1, "dilation": 1},
}
_BLOCKS = {"branch": 2, "c": 2.0, "scaled": "all", "projections": (), "batchnorm": False, "dropout": 0.0}
# Family -> its keyword arguments with their defaults, except the seed.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {**_PLAIN, "width": 256, "in_features": 3072, "out_features": 10},
    "cnn": _CONVOLUTION,
    "resnet": {**_CONVOLUTION, **_BLOCKS},
}
# Argument of a family -> field of Architecture, where the names differ.
FIELDS = {"in_channels": "in_features", "out_channels": "out_features"}


def check_arguments(family: str, depths: Iterable[int], arguments: Mapping[str, Any]) -> None:
    """Raise InputError unless a family accepts these arguments at all depths.

    Args:
        family: "mlp", "cnn" or "resnet".
        depths: the depths of the nets.
        arguments: keyword arguments. The sizes of inputs and outputs may be missing.

    Example:
        >>> from ammup.architecture.families import check_arguments
        >>> check_arguments("cnn", [2, 4], {"kernels": 3})
        Traceback (most recent call last):
        ammup.errors.InputError: cnn has no argument 'kernels'; expected one of: activation, ..., width
    """
    known = {**DEFAULTS[family], "seed": 0}
    for name in arguments:
        if name not in known:
            raise InputError(f"{family} has no argument {name!r}; expected one of: {', '.join(sorted(known))}")
    fields = {FIELDS.get(name, name): value for name, value in {**known, **arguments}.items() if name != "seed"}
    for depth in depths:
        try:
            architecture = Architecture(family=family, depth=depth, **fields)
            for a, b, groups, stride in _convolutions(architecture):
                check_convolution(
                    a,
                    b,
                    dims=architecture.dims,
                    kernel=architecture.kernel,
                    padding=architecture.padding,
                    stride=stride,
                    groups=groups,
                    dilation=architecture.dilation,
                )
        except (TypeError, ValueError) as error:  # a value of another type; building the net raises the same
            if isinstance(error, InputError):
                raise
            raise InputError(f"the factory failed at depth {depth}: {type(error).__name__}: {error}") from error


def _convolutions(architecture: Architecture) -> Iterator[tuple[int, int, int, int]]:
    """(Input channels, output channels, groups, stride) of every convolution with the kernel of the architecture."""
    if not architecture.dims:
        return
    widths, first = architecture.widths, architecture.in_features
    yield first, widths[0], 1, 1
    if not architecture.residual:
        yield from ((a, b, architecture.groups, 1) for a, b in pairwise(widths))
        return
    for block, (before, after) in enumerate(pairwise(widths), start=1):
        for place, kind in enumerate(architecture.branch_kinds):
            if kind == "conv":
                stride = 2 if block in architecture.projections and not place else 1
                yield (after if place else before), after, architecture.groups, stride
