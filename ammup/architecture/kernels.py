"""The support of a convolution kernel: the finite set of offsets that a layer reads (Theorem 1 allows any shape)."""

from collections.abc import Sequence
from itertools import product
from typing import TypeGuard

from ammup.errors import InputError

Offsets = tuple[tuple[int, ...], ...]
Kernel = int | tuple[int, ...] | Sequence[int | tuple[int, ...]]

DENSE: Offsets = ((),)


def kernel_offsets(kernel: Kernel, dims: int, *, dilation: int = 1) -> Offsets:
    """The support of a kernel: an int (equal sides), a tuple of ``dims`` ints (a rectangle), or a list of offsets.

    A side of s taps reaches from -⌊(s - 1)/2⌋ to ⌈(s - 1)/2⌉, times the dilation, as torch's "same" padding has it.

    Raises:
        InputError: a kernel of another form.
    """
    if lists_offsets(kernel):
        return _listed_offsets(kernel, dims)
    reach = [dilation * (side - 1) for side in kernel_sides(kernel, dims)]
    return tuple(product(*(range(-(r // 2), r - r // 2 + 1, dilation) for r in reach)))


def lists_offsets(kernel: object) -> TypeGuard[Sequence[int | tuple[int, ...]]]:
    """Whether a kernel is given by its offsets: as a list, or as a tuple of tuples."""
    return isinstance(kernel, list) or (isinstance(kernel, tuple) and bool(kernel) and isinstance(kernel[0], tuple))


def kernel_sides(kernel: object, dims: int) -> tuple[int, ...]:
    """Sides of a kernel given as an int or a tuple."""
    sides = (kernel,) * dims if isinstance(kernel, int) else kernel
    if not isinstance(sides, tuple) or len(sides) != dims or not all(isinstance(s, int) and s > 0 for s in sides):
        raise InputError(f"kernel={kernel!r} must be a positive int, a tuple of {dims} of them, or a list of offsets")
    return sides


def _listed_offsets(kernel: Sequence[object], dims: int) -> Offsets:
    offsets = [(o,) if isinstance(o, int) else o for o in kernel]
    checked = [tuple(o) for o in offsets if isinstance(o, tuple | list) and len(o) == dims]
    whole = all(isinstance(i, int) for o in checked for i in o)
    if not offsets or len(checked) < len(offsets) or not whole or len(set(checked)) < len(checked):
        raise InputError(f"kernel={kernel!r} must list distinct offsets of {dims} whole numbers each")
    return tuple(checked)
