"""Temporary float64 precision for a model, by exchanging the data of its tensors in place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ammup.errors import InputError
from ammup.models.modes import default_modes
from ammup.models.state import ModelState, preserved

T = TypeVar("T")

DOUBLE = {torch.float32: torch.float64, torch.float16: torch.float64, torch.bfloat16: torch.float64,
          torch.complex64: torch.complex128}  # fmt: skip


def in_double_precision(model: nn.Module, measure: Callable[[str], T], *, only_passes: bool = False) -> T:
    """The result of ``measure`` in float64 or, if the model does not run in float64, in its own precision.

    If several processes train the model, it is measured in its own precision: exchanging the data of a weight for
    another dtype makes torch create a new accumulator of its gradient, without the hooks by which
    DistributedDataParallel averages gradients, and the next backward pass would wait for the other processes for ever.

    Args:
        model: the module; it is restored before the second attempt and at the end.
        measure: receives "", or in the second attempt the error of the first one.
        only_passes: as in :func:`ammup.models.state.preserved`, for the second attempt.

    Raises:
        InputError: the second attempt fails as well.
    """
    problem = "float64 would remove the hooks that average gradients between processes"
    if not _trains_in_several_processes():
        try:
            # The original elements cannot change while the model has copies, so they are not copied once more.
            with (
                default_modes(),
                preserved(model, ModelState(model, constant=_convertible(model))),
                double_precision(model),
            ):
                return measure("")
        except InputError as error:
            problem = str(error)
    with preserved(model, only_passes=only_passes):
        return measure(problem)


def _trains_in_several_processes() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@contextmanager
def double_precision(model: nn.Module) -> Iterator[None]:
    """Replace the data of every parameter, buffer and other tensor of the model by float64 or complex128 copies.

    This lasts until the end of the context, which restores the original data. The tensors stay the same objects, so
    other references to them (tied weights, closures, hooks, lists of a recurrent layer) see the copies. Tensors that
    share memory still share it.
    """
    copies: dict[tuple[int, torch.dtype], torch.UntypedStorage] = {}
    exchanged: list[tuple[Tensor, Tensor, Tensor | None]] = []
    try:
        for tensor in _convertible(model):
            original = tensor.detach()
            exchanged.append((tensor, original, tensor.grad))
            tensor.grad = None  # a gradient must have the dtype of its tensor
            tensor.data = _double(original, copies)
        yield
    finally:
        for tensor, original, gradient in exchanged:
            tensor.grad = None
            tensor.data = original
            tensor.grad = gradient


def _convertible(model: nn.Module) -> list[Tensor]:
    """The tensors of a model that have other data in double precision."""
    tensors = ModelState(model, record=False).tensors
    return [tensor for tensor in tensors if tensor.dtype in DOUBLE and tensor.is_leaf and _is_plain(tensor)]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_nested and not tensor.is_inference()


def _double(tensor: Tensor, copies: dict[tuple[int, torch.dtype], torch.UntypedStorage]) -> Tensor:
    """A float64 copy; copies of tensors that share memory also share memory."""
    storage, dtype = tensor.untyped_storage(), DOUBLE[tensor.dtype]
    key = (storage.data_ptr(), tensor.dtype)
    if key not in copies:
        elements = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
        copies[key] = elements.to(dtype).untyped_storage()
    double = torch.empty(0, dtype=dtype, device=tensor.device)
    return double.set_(copies[key], tensor.storage_offset(), tensor.shape, tensor.stride())
