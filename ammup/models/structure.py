"""The structure of a forward: its depth units, the role of each weight layer, and a sum over its paths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ammup.models.operation import Operation
from ammup.models.reachability import Reachability

# (Σ 1, Σ L, Σ L², Σ L³) over paths, where L is the number of activations on a path.
Moments = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class WeightLayer:
    """A weight layer and its role in the net.

    Attributes:
        name: its name in ``named_modules``.
        weight: name of its weight in ``named_parameters``; empty for attention, which has several.
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
    """Units, roles and paths in a flow, whose operations are identified by their index."""

    def __init__(self, flow: Sequence[Operation]) -> None:
        self.flow = flow
        self._reach = Reachability(operation.sources for operation in flow)
        self._layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
        self._inputs = [i for i, operation in enumerate(flow) if operation.is_input]
        self._blocks = {i: sides for i in range(len(flow)) if (sides := self._residual_sides(i)) is not None}

    @property
    def n_blocks(self) -> int:
        """K, the number of residual additions."""
        return len(self._blocks)

    def units(self, convention: str) -> tuple[str, ...]:
        """Names of the units; see :data:`ammup.models.depth.CONVENTIONS`."""
        counted = [i for i in self._layers if i not in self._readout]
        outside = set(counted) - self._skip - self._branch - self._stem
        operations = {
            "paper": lambda: sorted([*self._blocks, *outside]),
            "blocks": lambda: sorted(self._blocks),
            "layers": lambda: [i for i in counted if i not in self._skip],
            "relu": lambda: sorted({o.sources[0] for o in self.flow if o.activation is not None and o.sources}),
            "shortest": lambda: self._shortest({*counted, *self._blocks}),
        }[convention]()
        return tuple(self.flow[i].name for i in operations)

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
        used = {source for operation in self.flow for source in operation.sources}
        ends = [i for i in range(len(self.flow)) if i not in used]
        output = max(i for i in ends if any(self._reach.depends(i, start) for start in self._inputs))
        return moments[output][3]

    def _shortest(self, counted: set[int]) -> list[int]:
        """The counted operations on a path from an input to the readout with the fewest of them."""
        shortest: list[list[int] | None] = []
        for i, operation in enumerate(self.flow):
            paths = [path for source in operation.sources if (path := shortest[source]) is not None]
            if operation.is_input:
                paths.append([])
            path = min(paths, key=len) if paths else None
            shortest.append([*path, i] if path is not None and i in counted else path)
        ends = sorted(self._readout) or [len(self.flow) - 1]
        return shortest[ends[-1]] or []

    @cached_property
    def _skip(self) -> frozenset[int]:
        return frozenset(i for skip, _ in self._blocks.values() for i in skip)

    @cached_property
    def _branch(self) -> frozenset[int]:
        return frozenset(i for _, branch in self._blocks.values() for i in branch)

    @cached_property
    def _last(self) -> frozenset[int]:
        """Weight layers that no other weight layer of their branch depends on."""
        branches = [branch for _, branch in self._blocks.values()]
        return frozenset(i for branch in branches for i in branch if not self._reach.reaches_any(i, branch))

    @cached_property
    def _readout(self) -> frozenset[int]:
        """Weight layers that no other weight layer and no residual addition depends on."""
        later = [*self._layers, *self._blocks]
        return frozenset(i for i in self._layers if not self._reach.reaches_any(i, later))

    @cached_property
    def _stem(self) -> frozenset[int]:
        """Weight layers that read raw inputs before a residual block."""
        first = [i for i in self._layers if not self._reach.depends_on_any(i, self._layers)]
        return frozenset(i for i in first if self._reach.reaches_any(i, self._blocks))

    def _residual_sides(self, i: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """(weight layers on the skip, in the branch) of a residual addition; None for any other operation."""
        if not self.flow[i].is_sum:
            return None
        one, other = self.flow[i].sources
        fork = self._reach.latest_common(one, other)
        from_input = any(self._reach.depends(one, i) and self._reach.depends(other, i) for i in self._inputs)
        if fork is None or not from_input:
            return None
        sides = [self._reach.between(fork, term, self._layers) for term in (one, other)]
        skip, branch = sorted(sides, key=len)
        return (skip, branch) if branch else None

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


def _sum_of(moments: Sequence[Moments]) -> Moments:
    """The moments over the union of several operations' paths."""
    n, a, b, c = (sum(column) for column in zip(*moments, strict=True))
    return n, a, b, c


def _with_one_more(moments: Moments) -> Moments:
    """The moments after one more activation on every path: those of L + 1."""
    n, a, b, c = moments
    return n, a + n, b + 2 * a + n, c + 3 * b + 3 * a + n
