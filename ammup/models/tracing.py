"""The operations of a forward (its flow), traced by torch.fx without running it."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

from ammup.errors import InputError
from ammup.models.layers import SupportConv
from ammup.models.operation import Names, Operation, function_name, function_operation, is_activation, weight_of_module


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
        elif weight:  # a value computed from weights only counts as a weight
            weights[node] = weight
    return flow


def _traced_operation(
    node: fx.Node, sources: tuple[int, ...], weight: str, modules: Mapping[str, nn.Module], name: str
) -> Operation:
    if node.op == "placeholder":
        return Operation(sources=(), name=str(node.target), is_input=True)
    if node.op == "call_module":
        path = str(node.target)
        activation = modules[path] if is_activation(modules[path]) else None
        layer, weight = weight_of_module(path, modules[path])
        return Operation(sources=sources, name=name, layer=layer, weight=weight, activation=activation)
    return function_operation(sources, function_name(node.target), name, weight)


class _Tracer(fx.Tracer):
    """Records the name of each value, under which a run can be observed."""

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
