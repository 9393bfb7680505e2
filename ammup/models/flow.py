"""The flow of a forward as one run of any module records it, and its named values as they are computed.

Names are those of `ammup.models.operation`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ammup.errors import InputError
from ammup.models.operation import Names, Operation, function_name, function_operation, is_activation, weight_of_module


class _CallListener(TorchFunctionMode, ABC):
    """Called for every function that the model calls and for every module that returns, with their names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.names = model, Names()

    def __deepcopy__(self, _memo: object) -> "_CallListener":
        """Itself: a model that copies its modules in its forward copies their hooks, and this is in them."""
        return self

    @abstractmethod
    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        """A function has returned."""

    @abstractmethod
    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        """A module has returned."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        called = function_name(func)
        name = self.names.function(called)
        if name:
            arguments = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.function(name, called, arguments, args[0] if output is None and args else output)
        return output

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the runs inside."""
        check_observable(self.model)
        handles = []
        for path, module in self.model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda m, a, path=path: self.names.enter(path)))
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


class _Recorder(_CallListener):
    """Records the flow of one run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.flow: list[Operation] = []
        self.places: dict[int, int] = {}
        self.weights = {id(p): name for name, p in model.named_parameters()}
        self.alive: list[Tensor] = []  # so that no other tensor gets the id of one that was freed
        self.paths = {module: path for path, module in model.named_modules()}

    def begin(self, inputs: Iterable[Tensor]) -> None:
        """The inputs of the forward."""
        for tensor in inputs:
            self._put(tensor, Operation(sources=(), is_input=True))

    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        sources = tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))
        weight = next((self.weights[id(a)] for a in arguments if id(a) in self.weights), "")
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if not sources:
            if weight:  # what is made from weights alone is a weight
                self.weights |= {id(tensor): weight for tensor in outputs}
                self.alive += outputs
            return
        operation = function_operation(sources, function, name, weight)
        for tensor in outputs:
            self._put(tensor, operation)
            operation = replace(operation, sources=(self.places[id(outputs[0])],), layer=None, function="")

    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if id(output) not in self.places:  # computed where no function is seen, as in a torch.autograd.Function
            sources = tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))
            layer, weight = weight_of_module(self.paths.get(module, ""), module)  # a copy has no path
            self._put(output, Operation(sources=sources, layer=layer, weight=weight))
        place = self.places[id(output)]
        activation = module if is_activation(module) else self.flow[place].activation
        named = name or self.flow[place].name  # the root's output keeps the name that it has inside
        self.flow[place] = replace(self.flow[place], name=named, activation=activation)

    def _put(self, tensor: Tensor, operation: Operation) -> None:
        self.places[id(tensor)] = len(self.flow)
        self.flow.append(operation)
        self.alive.append(tensor)


def check_observable(model: nn.Module) -> None:
    """Raise InputError for a model whose modules take no hooks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            name = f"module {path!r}" if path else "the model"
            raise InputError(
                f"{name} is a TorchScript module, whose values cannot be observed; measure the module it was made from"
            )


def check_outside_transforms(name: str, value: Tensor) -> None:
    """Raise InputError for a value inside a torch.func transform, which nothing outside can read."""
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise InputError(
            f"unit {name!r} is computed inside a torch.func transform (vmap, grad, jvp) and cannot be observed; pass "
            "units= that are computed outside"
        )


def recorded(model: nn.Module, inputs: Iterable[Tensor], run: Callable[[], Any]) -> list[Operation]:
    """The flow of one run of any module, which must not change the model.

    Args:
        model: the module.
        inputs: the tensors that its forward is given.
        run: calls it.
    """
    recorder = _Recorder(model)
    with torch.no_grad(), recorder.listening():
        recorder.begin(inputs)
        run()
    return recorder.flow


class _Observer(_CallListener):
    def __init__(self, model: nn.Module, names: Iterable[str], record: Callable[[str, Any], None]) -> None:
        super().__init__(model)
        self.wanted, self.record = set(names), record

    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        if name in self.wanted:
            self.record(name, output)

    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        if name in self.wanted:
            self.record(name, output)


@contextmanager
def observed(model: nn.Module, names: Iterable[str], record: Callable[[str, Any], None]) -> Iterator[None]:
    """Call ``record(name, value)`` for each value of these names during the run inside, as it is computed."""
    names = list(names)
    check_observable(model)
    if any(":" in name or "@" in name for name in names):
        with _Observer(model, names, record).listening():
            yield
        return
    # Modules alone are hooked one by one: listening to every function costs time.
    modules = dict(model.named_modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def report(_module: nn.Module, _arguments: Any, output: Any) -> None:
            record(name, output)  # and return nothing: torch replaces the output by what a hook returns

        return report

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
