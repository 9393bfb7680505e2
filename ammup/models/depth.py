"""Depth units of a module: what they are called, how many there are, and how each weight layer stands to them.

The module is traced with torch.fx; its graph says which additions are residual ones and what lies in their branches.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ammup.errors import InputError, check_known
from ammup.models.layers import WEIGHT_LAYERS, SupportConv

CONVENTIONS = ("paper",)
_ADDITIONS = ("add", "add_", "iadd")
_ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(F, name)
    for name in ("relu", "gelu", "silu", "elu", "selu", "mish", "hardswish", "relu6", "leaky_relu")
} | {"relu_": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


@dataclass(frozen=True, kw_only=True)
class WeightLayer:
    """Where a weight layer stands.

    Attributes:
        name: its name in ``named_modules``.
        role: "plain", "branch" (inside a residual branch), "last" (a branch layer that ends its branch), "skip" (a
            projection beside a branch) or "readout".
        activation: what its input has passed since the last weight layer or addition; None for raw inputs.
    """

    name: str
    role: str
    activation: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Depth units and weight layers of a module, in the order of computation.

    Attributes:
        units: names of the modules whose outputs are the pre-activations of the depth units.
        n_blocks: K, the number of residual additions.
        layers: every weight layer.
    """

    units: tuple[str, ...]
    n_blocks: int
    layers: tuple[WeightLayer, ...]


def depth_units(model: nn.Module, example_input: Tensor | None = None, *, convention: str = "paper") -> tuple[str, ...]:
    """Names of the modules whose outputs are the model's depth units, in the order of computation.

    Args:
        model: any module that torch.fx can trace.
        example_input: not needed by the conventions there are.
        convention: "paper" (section 3.2): each residual addition is one unit, each weight layer outside a residual
            branch is one unit; the readout is not counted, nor is what stands before the first residual block (a stem).

    Returns:
        Names as in ``model.named_modules()``.

    Raises:
        InputError: an unknown convention, a model that cannot be traced, or a unit that is no module's output.
    """
    check_known("convention", convention, CONVENTIONS)
    return trace_structure(model).units


def minimal_depth(model: nn.Module, example_input: Tensor | None = None, *, convention: str = "paper") -> int:
    """L, the number of depth units; arguments and errors as in :func:`depth_units`.

    Example:
        >>> import ammup
        >>> ammup.minimal_depth(ammup.resnet(4, width=8))
        4
    """
    return len(depth_units(model, example_input, convention=convention))


OWN_NETS = "ammup.models.nets"
_TRACED: dict[tuple[type, str], "Structure"] = {}


def trace_structure(model: nn.Module) -> Structure:
    """The structure of any module that torch.fx can trace.

    Raises:
        InputError: the module cannot be traced, has no weight layer, or adds a residual outside any module's output.
    """
    if type(model).__module__ != OWN_NETS:
        return _trace(model)
    # Their forwards depend on nothing that their repr does not show, and a trace costs as much as a small measurement.
    key = (type(model), repr(model))
    if key not in _TRACED:
        _TRACED[key] = _trace(model)
    return _TRACED[key]


def _trace(model: nn.Module) -> Structure:
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # tracing runs the user's forward on proxies: anything can be raised there
        raise InputError(
            f"{type(model).__name__} could not be traced by torch.fx ({_first_line(error)}); "
            "pass units= to measure it, or blocks= and activation= to initialize it"
        ) from error
    flow = _Flow(graph, dict(model.named_modules()))
    if not flow.layers:
        raise InputError(f"{type(model).__name__} has no linear or convolutional layer, so it has no depth")
    return flow.structure(tracer.returned_by)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


class _Tracer(fx.Tracer):
    """Remembers which module returned a value, so that a unit in the middle of a forward has a hookable name."""

    def __init__(self) -> None:
        super().__init__()
        self.returned_by: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SupportConv) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        value = super().call_module(m, forward, args, kwargs)
        if isinstance(value, fx.Proxy):
            self.returned_by[value.node] = self.path_of_module(m)
        return value


class _Flow:
    """Reachability in a traced graph. Sets of nodes are bit masks over their order of computation."""

    def __init__(self, graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
        self.nodes = list(graph.nodes)
        self.modules = modules
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.before: list[int] = []  # of each node: itself and all that it depends on
        for i, node in enumerate(self.nodes):
            mask = 1 << i
            for source in node.all_input_nodes:
                mask |= self.before[self.index[source]]
            self.before.append(mask)
        self.layers = [i for i, node in enumerate(self.nodes) if isinstance(self._module(node), WEIGHT_LAYERS)]
        self.layer_mask = sum(1 << i for i in self.layers)
        self.inputs = sum(1 << i for i, node in enumerate(self.nodes) if node.op == "placeholder")

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def _between(self, start: int, end: int) -> int:
        """Weight layers that lie on a path from the fork ``start`` to ``end``."""
        return sum(
            1 << i for i in self.layers if self.before[end] >> i & 1 and self.before[i] >> start & 1 and i != start
        )

    def _residual_sides(self, i: int) -> tuple[int, int] | None:
        """(skip, branch) weight layers of a residual addition; None where the node is anything else."""
        node = self.nodes[i]
        terms = [self.index[a] for a in node.args if isinstance(a, fx.Node)]
        name = getattr(node.target, "__name__", str(node.target))
        if node.op not in ("call_function", "call_method") or name not in _ADDITIONS or len(terms) != 2:
            return None
        common = self.before[terms[0]] & self.before[terms[1]]
        if not common & self.inputs:
            return None
        fork = common.bit_length() - 1  # the latest common value
        sides = sorted((self._between(fork, term) for term in terms), key=int.bit_count)
        return (sides[0], sides[1]) if sides[1] else None

    def _activation(self, i: int) -> Callable[[Tensor], Tensor] | None:
        """The activation between node ``i`` and the last weight layer, addition or input before it."""
        sources = self.nodes[i].all_input_nodes
        while sources:
            node = sources[0]
            module = self._module(node)
            if module is not None and type(module).__module__ == "torch.nn.modules.activation":
                return module
            name = getattr(node.target, "__name__", str(node.target))
            if node.op in ("call_function", "call_method") and name in _ACTIVATION_FUNCTIONS:
                return _ACTIVATION_FUNCTIONS[name]
            sources = node.all_input_nodes
            if isinstance(module, WEIGHT_LAYERS) or (name in _ADDITIONS and len(sources) == 2):
                return None
        return None

    def structure(self, returned_by: dict[fx.Node, str]) -> Structure:
        """Roles of the weight layers and names of the units."""
        blocks = {i: sides for i in range(len(self.nodes)) if (sides := self._residual_sides(i)) is not None}
        skip = _union(sides[0] for sides in blocks.values())
        branch = _union(sides[1] for sides in blocks.values()) & ~skip
        last = self._last_of(sides[1] for sides in blocks.values())
        readout = self._readout(blocks)
        first_block = min(blocks, default=0)
        plain = [i for i in self.layers if not (skip | branch | readout) >> i & 1]
        stem = {i for i in plain if blocks and self.before[first_block] >> i & 1}
        units = sorted([*blocks, *(i for i in plain if i not in stem)])
        roles = {"readout": readout, "skip": skip, "last": last, "branch": branch}
        return Structure(
            units=tuple(self._name(i, returned_by) for i in units),
            n_blocks=len(blocks),
            layers=tuple(
                WeightLayer(
                    name=str(self.nodes[i].target),
                    role=next((role for role, mask in roles.items() if mask >> i & 1), "plain"),
                    activation=self._activation(i),
                )
                for i in self.layers
            ),
        )

    def _last_of(self, branches: Iterable[int]) -> int:
        """Weight layers with no other weight layer of their branch behind them."""
        last = 0
        for mask in branches:
            members = [i for i in self.layers if mask >> i & 1]
            ends = [i for i in members if not any(self.before[j] >> i & 1 for j in members if j != i)]
            last |= sum(1 << i for i in ends)
        return last

    def _readout(self, blocks: dict[int, tuple[int, int]]) -> int:
        """Weight layers with no weight layer and no residual addition behind them."""
        later = [*self.layers, *blocks]
        return sum(1 << i for i in self.layers if not any(self.before[j] >> i & 1 for j in later if j != i))

    def _name(self, i: int, returned_by: dict[fx.Node, str]) -> str:
        node = self.nodes[i]
        if node in returned_by:
            return returned_by[node]
        raise InputError(
            f"the residual sum {node.name!r} is not the output of any module, so it cannot be observed; "
            "let a block return it, or pass units="
        )


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
