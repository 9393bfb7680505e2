"""Sums over all elements of large tensors, accurate to float64 regardless of the dtype of the elements.

A norm that is accumulated in float32 loses digits with the number of elements: torch's kernel is 1 % too small for 10^8
elements. Conversion of the whole tensor to float64 is accurate, but takes ten times as long. So a large tensor is
summed row by row in its own dtype, and the rows are summed in float64.
"""

import torch
from torch import Tensor

# Smaller tensors are converted to float64, because their time does not matter.
LARGE = 2**12
# A sum of that many elements in float32 is accurate to a rounding error, and takes much longer than its call.
ROW = 512
# Outside of this range, squares of elements of a float32 tensor may overflow or underflow.
LARGEST_SQUARE = 1e30


def squared_norm(tensor: Tensor) -> Tensor:
    """The squared norm of all elements, in float64; for tensors stacked by vmap, that of each."""
    tensor = tensor.detach()
    if tensor.numel() > LARGE and tensor.ndim > 1 and not _is_stacked(tensor):
        rows: Tensor = torch.linalg.vector_norm(tensor, dim=_row_axes(tensor.shape))
        square = rows.double().square().sum()
        mean = float(square) / tensor.numel()
        if mean > 1 / LARGEST_SQUARE and float(square) < LARGEST_SQUARE:
            return square
    double = torch.complex128 if tensor.is_complex() else torch.float64
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=double)
    return norm.square()


def _is_stacked(tensor: Tensor) -> bool:
    """Whether vmap stacked the tensor, so that its values cannot be read; also inside of the levels of jvp or vjp."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def _row_axes(shape: torch.Size) -> tuple[int, ...]:
    """The last axes, as few of them as have :data:`ROW` elements; never the first axis."""
    first = next((k for k in range(len(shape) - 1, 0, -1) if shape[k:].numel() >= ROW), 1)
    return tuple(range(first, len(shape)))


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a · b over all elements of two real tensors of the same shape, in float64."""
    if a is b:
        return squared_norm(a)
    if a.numel() > LARGE and a.ndim > 1:
        rows: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
        return rows.double().sum()
    return (a.double() * b.double()).sum()
