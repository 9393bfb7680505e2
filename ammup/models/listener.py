"""Observe the calls of a model: every function call and every return of a module, with the names of the outputs.

`ammup.models.operation` defines the names.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ammup.errors import InputError
from ammup.models.operation import Names, function_name

_WITHOUT_TENSORS = {int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size}


class CallListener(TorchFunctionMode, ABC):
    """Receives every function call of the model and every return of a module, with the names of their outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.names = model, Names()

    def __deepcopy__(self, _memo: object) -> "CallListener":
        """Return the same object: a model that copies its modules during its forward also copies their hooks."""
        return self

    def entered(self, path: str) -> None:
        """Called before a module runs."""
        self.names.enter(path)

    @abstractmethod
    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        """Called after a function has returned; ``name`` is "" if it was called outside of the model."""

    @abstractmethod
    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        """Called after a module has returned."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        called = function_name(func)
        arguments = tensors_in((args, kwargs))
        self.function(self.names.function(called), called, arguments, args[0] if output is None and args else output)
        return output

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Observe the runs of the model inside the context."""
        check_observable(self.model)
        handles = []
        for path, module in self.model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda m, a, path=path: self.entered(path)))
            handles.append(module.register_forward_hook(self._returned, with_kwargs=True, always_call=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _returned(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        arguments = tensors_in((args, kwargs))
        with torch._C.DisableTorchFunction():
            self.module(self.names.leave(), module, arguments, output)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested containers. ``tree_leaves`` gives the same, but takes longer than a small net."""
    if isinstance(value, Tensor):
        return [value]
    kind = type(value)
    if kind in _WITHOUT_TENSORS:
        return []
    if kind is tuple or kind is list:
        return [tensor for item in value for tensor in tensors_in(item)]
    if kind is dict:
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def check_observable(model: nn.Module) -> None:
    """Raise InputError if a module of the model does not support hooks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            name = f"module {path!r}" if path else "the model"
            raise InputError(
                f"{name} is a TorchScript module, whose values cannot be observed; measure the module it was made from"
            )
