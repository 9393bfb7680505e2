"""Recording the operations of one run of any module (its flow), and observing named values during a run.

`ammup.models.operation` defines the names.
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
    """Receives every function call of the model and every return of a module, with the names of their outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.names = model, Names()

    def __deepcopy__(self, _memo: object) -> "_CallListener":
        """Return the same object: a model that copies its modules during its forward also copies their hooks."""
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
        """Observe the runs of the model inside the context."""
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
        self.alive: list[Tensor] = []  # keeps the tensors, so that no id is reused
        self.paths = {module: path for path, module in model.named_modules()}

    def begin(self, inputs: Iterable[Tensor]) -> None:
        """Record the inputs of the forward."""
        for tensor in inputs:
            self._put(tensor, Operation(sources=(), is_input=True))

    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        sources = tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))
        weight = next((self.weights[id(a)] for a in arguments if id(a) in self.weights), "")
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if not sources:
            if weight:  # a tensor computed from weights only counts as a weight
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
        if id(output) not in self.places:  # computed without a visible function call, as in a torch.autograd.Function
            sources = tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))
            layer, weight = weight_of_module(self.paths.get(module, ""), module)  # a copied module has no path
            self._put(output, Operation(sources=sources, layer=layer, weight=weight))
        place = self.places[id(output)]
        activation = module if is_activation(module) else self.flow[place].activation
        named = name or self.flow[place].name  # the root module has an empty name
        self.flow[place] = replace(self.flow[place], name=named, activation=activation)

    def _put(self, tensor: Tensor, operation: Operation) -> None:
        self.places[id(tensor)] = len(self.flow)
        self.flow.append(operation)
        self.alive.append(tensor)


def check_observable(model: nn.Module) -> None:
    """Raise InputError if a module of the model does not support hooks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            name = f"module {path!r}" if path else "the model"
            raise InputError(
                f"{name} is a TorchScript module, whose values cannot be observed; measure the module it was made from"
            )


def check_outside_transforms(name: str, value: Tensor) -> None:
    """Raise InputError if the value belongs to a torch.func transform and cannot be read outside of it."""
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise InputError(
            f"unit {name!r} is computed inside a torch.func transform (vmap, grad, jvp) and cannot be observed; pass "
            "units= that are computed outside"
        )


def recorded(model: nn.Module, inputs: Iterable[Tensor], run: Callable[[], Any]) -> list[Operation]:
    """The operations of one run of any module. The caller restores the model afterwards.

    Args:
        model: the module.
        inputs: the input tensors of its forward.
        run: a function that runs the forward.
    """
    recorder = _Recorder(model)
    with torch.no_grad(), recorder.listening():
        recorder.begin(inputs)
        run()
    return recorder.flow


class _Observer(_CallListener):
    """Passes the values of the given names to a function."""

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
    """Call ``record(name, value)`` for each value with one of these names, as soon as it is computed in the context."""
    names = list(names)
    check_observable(model)
    if any(":" in name or "@" in name for name in names):
        with _Observer(model, names, record).listening():
            yield
        return
    # If all names are modules, hooks on these modules are faster than observing every function call.
    modules = dict(model.named_modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def report(_module: nn.Module, _arguments: Any, output: Any) -> None:
            record(name, output)  # returns None: any other value would replace the module's output

        return report

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
