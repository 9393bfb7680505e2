"""Recording and restoring a tensor and its memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

LAZY = (UninitializedParameter, UninitializedBuffer)
HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class TensorState:
    """The recorded state of a tensor: its view of memory, gradient, flags, hooks and version counter."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.requires_grad, self.is_leaf = tensor.requires_grad, tensor.is_leaf
        self.gradient = tensor.grad if tensor.is_leaf else None
        tables = [(name, getattr(tensor, name)) for name in HOOKS if hasattr(tensor, name)]
        self.hooks = [(name, hooks, list((hooks or {}).items())) for name, hooks in tables]
        self.original = tensor.detach() if has_memory(tensor) else None
        # The version counter is restored as well. Otherwise, an autograd graph that the user built before would raise
        # an error, although the data of the tensor are restored.
        countable = not (isinstance(tensor, LAZY) or tensor.is_inference())
        self.version = _unsafe_preserve_version_counter(tensor) if countable else None

    def storage(self) -> torch.UntypedStorage | None:
        """The memory of its elements; None if it cannot be read."""
        return None if self.original is None else self.original.untyped_storage()

    def restore(self) -> None:
        """Restore the tensor, writing only to what has changed."""
        tensor = self.tensor
        if self.is_leaf and not tensor.is_leaf:
            tensor.detach_()
        if self.original is not None and not _same_view(tensor, self.original):
            tensor.data = self.original
        if tensor.is_leaf:
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
            if tensor.grad is not self.gradient:
                tensor.grad = self.gradient
        for name, hooks, contents in self.hooks:
            if getattr(tensor, name) is not hooks:
                setattr(tensor, name, hooks)
            if hooks is not None:
                restore_dict(hooks, contents)
        if self.version is not None:
            self.version.__exit__()


def has_memory(tensor: Tensor) -> bool:
    """Whether the elements of a tensor are in one block of memory that can be read."""
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested or isinstance(tensor, LAZY))


class StorageState:
    """The bytes of a storage, which several tensors may share."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.bytes = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        self.saved = self.bytes.clone()

    def restore(self) -> None:
        """Restore the bytes if they have changed, without a change of version counters."""
        if not torch.equal(_words(self.bytes), _words(self.saved)):
            self.bytes.copy_(self.saved)


def _words(data: Tensor) -> Tensor:
    """A view of bytes as 64-bit integers if possible, which are compared faster."""
    return data.view(torch.int64) if data.numel() % 8 == 0 and data.data_ptr() % 8 == 0 else data


def _same_view(a: Tensor, b: Tensor) -> bool:
    return (a.data_ptr(), a.shape, a.stride(), a.dtype) == (b.data_ptr(), b.shape, b.stride(), b.dtype)


def restore_dict(table: dict[Any, Any], saved: list[tuple[Any, Any]]) -> None:
    """Restore the saved items of a dict, unless it has them in the same order."""
    same = len(table) == len(saved) and all(
        key is k and value is v for (key, value), (k, v) in zip(table.items(), saved, strict=True)
    )
    if not same:
        table.clear()
        for key, value in saved:  # not update(), which adds counts in a Counter
            table[key] = value
