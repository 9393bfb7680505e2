"""The operations of a forward (its flow), traced by torch.fx without running it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import fx, nn

from ammup.errors import InputError
from ammup.models.layers import SupportConv
from ammup.models.operation import (
    CONSTANTS,
    Names,
    Operation,
    function_name,
    function_operation,
    is_activation,
    recurrent_operations,
    weight_of_module,
)

CONSTANT_ATTRIBUTES = ("shape", "dtype", "device", "ndim")


def traced(model: nn.Module) -> list[Operation]:
    """The operations of any module that torch.fx can trace.

    Raises:
        InputError: torch.fx cannot trace the module.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # tracing runs the user's forward on proxies, which can raise anything
        first_line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{type(model).__name__} could not be traced by torch.fx ({first_line})",
            python="give example_input=, or units= to measure it, or blocks= and activation= to initialize it",
            option="give --shape, the shape of one input such as 3,32,32, to run the model instead",
        ) from error
    modules = dict(model.named_modules())
    places: dict[fx.Node, int] = {}
    weights: dict[fx.Node, str] = {}
    flow: list[Operation] = []
    for node in graph.nodes:
        sources = tuple(places[source] for source in node.all_input_nodes if source in places)
        weight = next((weights[source] for source in node.all_input_nodes if source in weights), "")
        if node.op == "output":
            for position, place in enumerate(sources):
                flow[place] = replace(flow[place], output=position)
        elif node.op == "get_attr":
            weights[node] = str(node.target)
        elif node.op == "placeholder" or (sources and not _is_constant(node)):
            flow += _traced_operations(node, sources, len(flow), weight, modules, tracer.names_of.get(node, ""))
            places[node] = len(flow) - 1
        elif weight:  # a value that is computed only from weights is treated as a weight
            weights[node] = weight
    return flow


def _is_constant(node: fx.Node) -> bool:
    """Whether the value depends on the shape of its input only."""
    if node.op not in ("call_function", "call_method"):
        return False
    name = function_name(node.target)
    return name in CONSTANTS or (name == "getattr" and node.args[1] in CONSTANT_ATTRIBUTES)


def _traced_operations(
    node: fx.Node, sources: tuple[int, ...], place: int, weight: str, modules: Mapping[str, nn.Module], name: str
) -> list[Operation]:
    """The operations of a node: one, or each layer of a recurrent module. The first has the index ``place``."""
    if node.op == "placeholder":
        return [Operation(sources=(), name=str(node.target), is_input=True)]
    if node.op == "call_module":
        path = str(node.target)
        module = modules[path]
        if isinstance(module, nn.RNNBase):
            function = type(module).__name__.lower()
            return recurrent_operations(sources, place, function, name, owner=path, n_layers=module.num_layers)
        activation = module if is_activation(module) else None
        layer, weight = weight_of_module(path, module)
        return [Operation(sources=sources, name=name, layer=layer, weight=weight, activation=activation)]
    return [function_operation(sources, function_name(node.target), name, weight)]


def _contains_layers(module: nn.Module) -> bool:
    """Whether a module of torch.nn contains other modules with weights, as `nn.TransformerEncoder` does.

    It is false for modules that are a weight layer themselves: attention, recurrent and parametrized layers.
    """
    if isinstance(module, nn.RNNBase) or weight_of_module("", module)[0] is not None:
        return False
    return any(True for child in module.children() for _ in child.parameters())


class _Tracer(fx.Tracer):
    """Records the name of each value, under which a run can be observed."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self.names_of: dict[fx.Node, str] = {}
        self.created: dict[fx.Node, int] = {}  # the order of the nodes

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SupportConv) or (
            super().is_leaf_module(m, module_qualified_name) and not _contains_layers(m)
        )

    def trace(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> fx.Graph:  # type: ignore[override]
        self.names.enter("")
        return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.names.enter(self.path_of_module(m))
        start = len(self.created)
        value = super().call_module(m, forward, args, kwargs)
        name = self.names.leave()
        # The innermost module that computed the value names it.
        if isinstance(value, fx.Proxy) and self.created[value.node] >= start:
            current = self.names_of.get(value.node, ":")
            self.names_of[value.node] = name if ":" in current else current
        return value

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        self.created[node] = len(self.created)
        if kind in ("call_function", "call_method"):
            self.names_of[node] = self.names.function(function_name(target))
        return node
