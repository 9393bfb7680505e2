"""The structure of a forward: its depth units, the role of each weight layer, and a sum over its paths."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ammup.models.additions import Additions, ResidualAddition
from ammup.models.main_path import MainPath
from ammup.models.operation import Operation
from ammup.models.reachability import Reachability

# (Σ 1, Σ L, Σ L², Σ L³) over paths, where L is the number of activations on a path.
Moments = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class WeightLayer:
    """A weight layer and its role in the net.

    Attributes:
        name: its name in ``named_modules``.
        weight: name of its weight in ``named_parameters``; empty if it has several (attention, recurrent layers).
        role: "plain", "branch" (inside a residual branch), "last" (the last layer of a branch), "skip" (a projection on
            a skip connection) or "readout".
        activation: the activation between the previous weight layer, addition or input and this layer; None if there is
            none.
    """

    name: str
    weight: str
    role: str
    activation: Callable[[Tensor], Tensor] | None


class Structure:
    """Units, roles and paths in a flow, whose operations are identified by their index.

    Args:
        flow: the operations.
        frozen: names of the layers whose weights are not trained.
    """

    def __init__(self, flow: Sequence[Operation], frozen: Collection[str] = ()) -> None:
        self.flow, self._frozen = flow, frozen
        self._reach = Reachability(operation.sources for operation in flow)
        self._layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
        self._inputs = [i for i, operation in enumerate(flow) if operation.is_input]

    @property
    def n_blocks(self) -> int:
        """K, the number of residual additions."""
        return len(self._blocks)

    def units(self, convention: str) -> tuple[str, ...]:
        """Names of the units; see :data:`ammup.models.depth.CONVENTIONS`."""
        layers = set(self._layers) - self._readout
        outside = layers - self._skip - self._branch
        counted: Callable[[], Iterable[int]] = {
            "paper": lambda: {*self._blocks, *(outside - self._stem)},
            "blocks": lambda: self._blocks,
            "layers": lambda: layers - self._skip,
            "relu": lambda: {o.sources[0] for o in self.flow if o.activation is not None and o.sources},
            "shortest": lambda: {*layers, *self._blocks},
            "update-bearing": lambda: self._trained({*self._blocks, *outside}),
        }[convention]
        path = self._main_path.shortest if convention == "shortest" else self._main_path.longest
        return self._names(path(counted()))

    @property
    def layers(self) -> tuple[WeightLayer, ...]:
        """Every weight layer."""
        roles = {"readout": self._readout, "skip": self._skip, "last": self._last, "branch": self._branch}
        return tuple(
            WeightLayer(
                name=str(self.flow[i].layer),
                weight=self.flow[i].weight,
                role=next((role for role, members in roles.items() if i in members), "plain"),
                activation=self._activation(i),
            )
            for i in self._layers
        )

    def path_sum(self) -> int:
        """Σ_p L_p³ over all paths p from the inputs to the output, with L_p activations on p (PathSum, eq. 8)."""
        moments: list[Moments] = []
        for operation in self.flow:
            if operation.sources:
                total = _sum_of([moments[source] for source in operation.sources])
            else:
                total = (int(operation.is_input), 0, 0, 0)
            moments.append(total if operation.activation is None else _with_one_more(total))
        return moments[self._output][3]

    def _names(self, units: Sequence[int]) -> tuple[str, ...]:
        """The names of operations; "shared@1" is the first call of a module whose second call is not among them."""
        # Operations outside of the model's forward, in a user's `forward=`, have no name and cannot be observed.
        units = [i for i in units if self.flow[i].name]
        called_twice = {o.name.removesuffix("@2") for o in self.flow if o.name.endswith("@2")}
        names = [self.flow[i].name for i in units]
        return tuple(f"{n}@1" if n in called_twice and f"{n}@2" not in names else n for n in names)

    @cached_property
    def _output(self) -> int:
        """The first output that depends on a weight layer.

        If no output was recorded, it is the last value that depends on an input and that no operation reads.
        """
        outputs = sorted((o.output, i) for i, o in enumerate(self.flow) if o.output is not None)
        for _, i in outputs:
            if any(self._reach.depends(i, layer) for layer in self._layers):
                return i
        used = {source for operation in self.flow for source in operation.sources}
        ends = [i for i in range(len(self.flow)) if i not in used]
        return max(i for i in ends if any(self._reach.depends(i, start) for start in self._inputs))

    @cached_property
    def _main_path(self) -> MainPath:
        return MainPath(self.flow, self._reach, self._output)

    @cached_property
    def _blocks(self) -> dict[int, ResidualAddition]:
        """The residual blocks on the main path, by the index of their additions."""
        return Additions(self.flow, self._reach).blocks(self._main_path.members())

    def _trained(self, units: Iterable[int]) -> set[int]:
        """The units with a trained weight."""
        trained = {i for i in self._layers if self.flow[i].layer not in self._frozen}
        return {i for i in units if trained.intersection(self._blocks[i].branch if i in self._blocks else (i,))}

    @cached_property
    def _skip(self) -> frozenset[int]:
        return frozenset(i for block in self._blocks.values() for i in block.skip)

    @cached_property
    def _branch(self) -> frozenset[int]:
        return frozenset(i for block in self._blocks.values() for i in block.branch)

    @cached_property
    def _last(self) -> frozenset[int]:
        """Weight layers that no other weight layer of their branch depends on."""
        branches = [block.branch for block in self._blocks.values()]
        return frozenset(i for branch in branches for i in branch if not self._reach.reaches_any(i, branch))

    @cached_property
    def _readout(self) -> frozenset[int]:
        """Weight layers that no other weight layer and no residual addition depends on."""
        later = [*self._layers, *self._blocks]
        return frozenset(i for i in self._layers if not self._reach.reaches_any(i, later))

    @cached_property
    def _stem(self) -> frozenset[int]:
        """Weight layers that read raw inputs before a residual block, and later layers in the same stem module.

        The stem module of a layer that reads raw inputs is the outermost module that contains this layer but not the
        next residual addition.
        """
        outside = [i for i in self._layers if i not in self._skip and i not in self._branch]
        first = [i for i in outside if not self._reach.depends_on_any(i, self._layers)]
        stem: set[int] = set()
        for i in first:
            block = min((b for b in self._blocks if self._reach.depends(b, i)), default=None)
            if block is None:
                continue
            child = _child(str(self.flow[i].layer), re.split("[:@]", self.flow[block].name)[0])
            chain = [j for j in outside if self._reach.depends(j, i) and _contains(child, str(self.flow[j].layer))]
            stem.update(j for j in chain if j == i or not self._reach.depends_on_any(j, self._blocks))
        return frozenset(stem)

    def _activation(self, i: int) -> Callable[[Tensor], Tensor] | None:
        """The activation between operation ``i`` and the last weight layer, addition or input before it."""
        sources = self.flow[i].sources
        while sources:
            operation = self.flow[sources[0]]
            if operation.activation is not None:
                return operation.activation
            if operation.layer is not None or operation.is_sum:
                return None
            sources = operation.sources
        return None


def _child(path: str, other: str) -> str:
    """The path of the outermost module that contains ``path`` but not ``other``."""
    parts, others = path.split("."), other.split(".")
    common = 0
    while common < min(len(parts) - 1, len(others)) and parts[common] == others[common]:
        common += 1
    return ".".join(parts[: common + 1])


def _contains(module: str, path: str) -> bool:
    return path == module or path.startswith(f"{module}.")


def _sum_of(moments: Sequence[Moments]) -> Moments:
    """The moments over the union of several operations' paths."""
    n, a, b, c = (sum(column) for column in zip(*moments, strict=True))
    return n, a, b, c


def _with_one_more(moments: Moments) -> Moments:
    """The moments after one more activation on every path: those of L + 1."""
    n, a, b, c = moments
    return n, a + n, b + 2 * a + n, c + 3 * b + 3 * a + n
