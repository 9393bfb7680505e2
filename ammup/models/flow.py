"""The flow of a forward: what it computes from what, traced by torch.fx or recorded from one run.

Each operation's output has a name under which it can be observed again: that of the module that returned it, ``path``,
or the function in the module that called it, ``path:add``; the second call of either is ``path@2`` or ``path:add_2``.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ammup.errors import InputError
from ammup.models.layers import WEIGHT_LAYERS, SupportConv

ATTENTION = "multi_head_attention_forward"
# How Python and torch spell one function.
SPELLINGS = {"iadd": "add", "radd": "add", "imatmul": "matmul", "rmatmul": "matmul"}
PRODUCTS = (
    *(f"conv{n}d" for n in (1, 2, 3)),
    *(f"conv_transpose{n}d" for n in (1, 2, 3)),
    *("linear", "bilinear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot"),
    ATTENTION,
)
ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(F, name)
    for name in ("relu", "gelu", "silu", "elu", "selu", "mish", "hardswish", "relu6", "leaky_relu")
} | {"tanh": torch.tanh, "sigmoid": torch.sigmoid}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a forward.

    Attributes:
        sources: places of the operations whose outputs it takes.
        function: "add", "relu", "conv2d", …; empty for inputs and for modules that are not looked into.
        name: what its output is observed under.
        layer: the module that holds the weight, where it multiplies by one.
        weight: name of that parameter.
        activation: what it applies, where that is an activation.
        is_input: whether it is one of the forward's inputs.
    """

    sources: tuple[int, ...]
    function: str = ""
    name: str = ""
    layer: str | None = None
    weight: str = ""
    activation: Callable[[Tensor], Tensor] | None = None
    is_input: bool = False

    @property
    def is_sum(self) -> bool:
        """Whether it adds two computed tensors; `x + x`, `x + 1` and `x + weight` have one source."""
        return self.function == "add" and len(self.sources) == 2


class Names:
    """Counts the calls of modules and functions, and says what their outputs are called."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._stack: list[tuple[str, Counter[str]]] = []

    def enter(self, path: str) -> None:
        """A module is called."""
        self._calls[path] += 1
        calls = self._calls[path]
        self._stack.append((path if calls == 1 else f"{path}@{calls}", Counter()))

    def leave(self) -> str:
        """It returns; the name of its output."""
        return self._stack.pop()[0]

    def function(self, name: str) -> str:
        """A function is called in the module that runs; the name of its output, or nothing outside the model."""
        if not self._stack:
            return ""
        owner, functions = self._stack[-1]
        functions[name] += 1
        return f"{owner}:{name}" if functions[name] == 1 else f"{owner}:{name}_{functions[name]}"


def function_name(target: object) -> str:
    """One name, "add", for `operator.add`, `torch.add`, `Tensor.add_` and `+`."""
    name = getattr(target, "__name__", str(target)).strip("_")
    return SPELLINGS.get(name, name)


# Traced


def traced(model: nn.Module) -> list[Operation]:
    """The flow of any module that torch.fx can trace.

    Raises:
        InputError: it cannot.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # tracing runs the user's forward on proxies: anything can be raised there
        first_line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{type(model).__name__} could not be traced by torch.fx ({first_line}); give example_input=, or units= to "
            "measure it, or blocks= and activation= to initialize it"
        ) from error
    modules = dict(model.named_modules())
    places: dict[fx.Node, int] = {}
    weights: dict[fx.Node, str] = {}
    flow: list[Operation] = []
    for node in graph.nodes:
        sources = tuple(places[source] for source in node.all_input_nodes if source in places)
        weight = next((weights[source] for source in node.all_input_nodes if source in weights), "")
        if node.op == "get_attr":
            weights[node] = str(node.target)
        elif node.op == "placeholder" or (sources and node.op != "output"):
            places[node] = len(flow)
            flow.append(_traced_operation(node, sources, weight, modules, tracer.names_of.get(node, "")))
        elif weight:  # what is made from weights alone is a weight
            weights[node] = weight
    return flow


def _traced_operation(
    node: fx.Node, sources: tuple[int, ...], weight: str, modules: Mapping[str, nn.Module], name: str
) -> Operation:
    if node.op == "placeholder":
        return Operation(sources=(), name=str(node.target), is_input=True)
    if node.op == "call_module":
        path = str(node.target)
        activation = modules[path] if _is_activation(modules[path]) else None
        layer, weight = _as_layer(path, modules[path])
        return Operation(sources=sources, name=name, layer=layer, weight=weight, activation=activation)
    return _function_operation(sources, function_name(node.target), name, weight)


def _function_operation(sources: tuple[int, ...], function: str, name: str, weight: str) -> Operation:
    """A function of computed tensors and, where it is given one, of a weight."""
    multiplies = function in PRODUCTS and bool(weight)
    return Operation(
        sources=sources,
        function=function,
        name=name,
        layer=_owner(weight) if multiplies else None,
        weight=weight if multiplies and function != ATTENTION else "",
        activation=ACTIVATION_FUNCTIONS.get(function),
    )


def _as_layer(path: str, module: nn.Module) -> tuple[str | None, str]:
    """(name, weight) of a module that multiplies by weights; attention has several, and names none."""
    if isinstance(module, nn.MultiheadAttention):
        return path, ""
    return (path, f"{path}.weight") if isinstance(module, WEIGHT_LAYERS) else (None, "")


def _owner(parameter: str) -> str:
    """The module that holds a parameter; a root's parameter goes under its own name."""
    return parameter.rpartition(".")[0] or parameter


def _is_activation(module: nn.Module) -> bool:
    known = type(module).__module__ == "torch.nn.modules.activation"
    return known and not isinstance(module, nn.MultiheadAttention)


class _Tracer(fx.Tracer):
    """Remembers under which name each value can be observed."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self.names_of: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SupportConv) or super().is_leaf_module(m, module_qualified_name)

    def trace(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> fx.Graph:  # type: ignore[override]
        self.names.enter("")
        return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.names.enter(self.path_of_module(m))
        value = super().call_module(m, forward, args, kwargs)
        name = self.names.leave()
        if isinstance(value, fx.Proxy):
            self.names_of[value.node] = name
        return value

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        if kind in ("call_function", "call_method"):
            self.names_of[node] = self.names.function(function_name(target))
        return node


# Recorded and observed


class _Watch(TorchFunctionMode, ABC):
    """Is told of every function that the model calls and of every module that returns, under their names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.names = model, Names()

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
    def watching(self) -> Iterator[None]:
        """Watch the runs inside."""
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


class _Recorder(_Watch):
    """Builds the flow of the first run inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.flow: list[Operation] = []
        self.places: dict[int, int] = {}
        self.weights = {id(p): name for name, p in model.named_parameters()}
        self.kept: list[Tensor] = []  # or another tensor would get the id of one that is gone
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
                self.kept += outputs
            return
        operation = _function_operation(sources, function, name, weight)
        for tensor in outputs:
            self._put(tensor, operation)
            operation = replace(operation, sources=(self.places[id(outputs[0])],), layer=None, function="")

    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if id(output) not in self.places:  # computed where no function is seen, as in a torch.autograd.Function
            sources = tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))
            layer, weight = _as_layer(self.paths[module], module)
            self._put(output, Operation(sources=sources, layer=layer, weight=weight))
        place = self.places[id(output)]
        activation = module if _is_activation(module) else self.flow[place].activation
        named = name if name else self.flow[place].name  # the root's output keeps the name that it has inside
        self.flow[place] = replace(self.flow[place], name=named, activation=activation)

    def _put(self, tensor: Tensor, operation: Operation) -> None:
        self.places[id(tensor)] = len(self.flow)
        self.flow.append(operation)
        self.kept.append(tensor)


def recorded(model: nn.Module, inputs: Iterable[Tensor], run: Callable[[], Any]) -> list[Operation]:
    """The flow of one run of any module, which must not change the model.

    Args:
        model: the module.
        inputs: the tensors that its forward is given.
        run: calls it.
    """
    recorder = _Recorder(model)
    with torch.no_grad(), recorder.watching():
        recorder.begin(inputs)
        run()
    return recorder.flow


class _Observer(_Watch):
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
    """Hand what is computed under these names to ``record`` during the run inside, as it is computed."""
    names = list(names)
    if any(":" in name or "@" in name for name in names):
        with _Observer(model, names, record).watching():
            yield
        return
    # Modules alone are hooked one by one: watching every function costs time.
    modules = dict(model.named_modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def tell(_module: nn.Module, _arguments: Any, output: Any) -> None:
            record(name, output)  # and return nothing: what a hook returns takes the place of the output

        return tell

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
