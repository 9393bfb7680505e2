"""The support of a convolution kernel: the finite set of offsets that a layer reads (Theorem 1 allows any shape)."""

from collections.abc import Sequence
from itertools import product
from typing import TypeGuard

from ammup.errors import InputError, check_known

Offsets = tuple[tuple[int, ...], ...]
Kernel = int | tuple[int, ...] | Sequence[int | tuple[int, ...]]

PADDINGS = ("circular", "zero")

DENSE: Offsets = ((),)


def kernel_offsets(kernel: Kernel, dims: int, *, dilation: int = 1) -> Offsets:
    """The offsets in a kernel's support.

    A side of s taps spans r = dilation · (s - 1) positions, from -⌊r/2⌋ to ⌈r/2⌉, as with PyTorch's padding="same".

    Args:
        kernel: an int (equal sides), a tuple of ``dims`` ints (a rectangle), or a list of offsets.
        dims: number of position axes.
        dilation: spacing of the taps; ignored for a list of offsets.

    Raises:
        InputError: ``kernel`` has another form, a side below 1, or a repeated offset.
    """
    if lists_offsets(kernel):
        return _checked_offsets(kernel, dims)
    spans = [dilation * (side - 1) for side in kernel_sides(kernel, dims)]
    taps = [range(-(span // 2), span - span // 2 + 1, dilation) for span in spans]
    return tuple(product(*taps))


def lists_offsets(kernel: object) -> TypeGuard[Sequence[int | tuple[int, ...]]]:
    """Whether a kernel is given as offsets: a list, or a tuple of tuples."""
    return isinstance(kernel, list) or (isinstance(kernel, tuple) and bool(kernel) and isinstance(kernel[0], tuple))


def kernel_sides(kernel: object, dims: int) -> tuple[int, ...]:
    """Number of taps along each axis, for a kernel given as an int or a tuple."""
    sides = (kernel,) * dims if isinstance(kernel, int) else kernel
    if not isinstance(sides, tuple) or len(sides) != dims or not all(isinstance(s, int) and s > 0 for s in sides):
        allowed = f"a positive int, a tuple of {dims} positive ints, or a list of offsets"
        raise InputError(f"kernel={kernel!r} must be {allowed}")
    return sides


def check_convolution(
    in_channels: int,
    out_channels: int,
    *,
    dims: int,
    kernel: Kernel,
    padding: str,
    stride: int,
    groups: int,
    dilation: int,
) -> None:
    """Raise InputError for a convolution that cannot be built; the arguments are those of ammup.models.layers.conv."""
    check_known("padding", padding, PADDINGS)
    if in_channels % groups or out_channels % groups:
        raise InputError(f"groups={groups} must divide the channels, {in_channels} and {out_channels}")
    if lists_offsets(kernel):
        if stride != 1 or dilation != 1:
            raise InputError("a kernel given as offsets requires stride=1 and dilation=1; dilate the offsets instead")
        return
    sides = kernel_sides(kernel, dims)
    if padding == "zero" and any(side % 2 == 0 for side in sides):
        raise InputError(f"kernel={kernel} has no centre under padding='zero'; use odd sides or a list of offsets")
    if stride != 1 and any(dilation * (side - 1) % 2 for side in sides):
        raise InputError(f"kernel={kernel} with stride={stride} has no symmetric padding; use odd sides")


def _checked_offsets(kernel: Sequence[object], dims: int) -> Offsets:
    """The offsets of a list as tuples of ``dims`` integers; an int stands for a tuple of one."""
    offsets = [(o,) if isinstance(o, int) else o for o in kernel]
    checked = [tuple(o) for o in offsets if isinstance(o, tuple | list) and len(o) == dims]
    integers = all(isinstance(i, int) for o in checked for i in o)
    if not offsets or len(checked) < len(offsets) or not integers or len(set(checked)) < len(checked):
        raise InputError(f"kernel={kernel!r} must list distinct offsets of {dims} integers each")
    return tuple(checked)
