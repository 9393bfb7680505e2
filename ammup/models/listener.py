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
        arguments = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
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
        arguments = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        with torch._C.DisableTorchFunction():
            self.module(self.names.leave(), module, arguments, output)


def check_observable(model: nn.Module) -> None:
    """Raise InputError if a module of the model does not support hooks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            name = f"module {path!r}" if path else "the model"
            raise InputError(
                f"{name} is a TorchScript module, whose values cannot be observed; measure the module it was made from"
            )
