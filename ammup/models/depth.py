"""Depth units of a module: what they are called, how many there are, and how each weight layer stands to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ammup.errors import InputError, check_known
from ammup.models.flow import Operation, recorded, traced
from ammup.models.state import ModelState, check_initialized, preserved
from ammup.models.streams import seeded

Forward = Callable[[nn.Module, Any], Tensor]

CONVENTIONS: Mapping[str, str] = {
    "paper": "each residual addition, and each weight layer outside a residual branch (section 3.2)",
    "blocks": "each residual addition",
    "layers": "each weight layer but projections beside a branch",
    "relu": "each input of an activation (PathSum, arXiv 2402.17440, section 3.3)",
    "shortest": "weight layers and residual additions on the path that has fewest of them (arXiv 2602.07494)",
}


@dataclass(frozen=True, kw_only=True)
class WeightLayer:
    """Where a weight layer stands.

    Attributes:
        name: its name in ``named_modules``.
        weight: name of its weight in ``named_parameters``; empty for attention, which has several.
        role: "plain", "branch" (inside a residual branch), "last" (a branch layer that ends its branch), "skip" (a
            projection beside a branch) or "readout".
        activation: what its input has passed since the last weight layer or addition; None for raw inputs.
    """

    name: str
    weight: str
    role: str
    activation: Callable[[Tensor], Tensor] | None


def depth_units(
    model: nn.Module, example_input: Any = None, *, convention: str = "paper", forward: Forward | None = None
) -> tuple[str, ...]:
    """What the model's depth units are observed under, in the order of computation.

    The readout is not counted, nor is a stem: a weight layer that raw inputs pass before the first residual block. The
    named conventions are in `ammup.models.depth.CONVENTIONS`.

    Args:
        model: any module that torch.fx can trace; with ``example_input`` any module at all.
        example_input: (B, …), or what ``forward`` takes: the flow is then recorded from one run, which leaves the model
            and the global random generators as they were.
        convention: "paper", "blocks", "layers", "relu" or "shortest".
        forward: ``forward(model, example_input)``; None calls the model with the input.

    Returns:
        A module's name as in ``model.named_modules()``, or a function in a module, such as "layer1.0:add"; a second
        call of either is "shared@2" or "layer1.0:add_2".

    Raises:
        InputError: an unknown convention, a model that cannot be traced, or one without such units.

    Example:
        >>> import ammup
        >>> from torchvision.models import resnet18
        >>> ammup.depth_units(resnet18())[:2]
        ('layer1.0:add', 'layer1.1:add')
    """
    check_known("convention", convention, CONVENTIONS)
    return units_of(model, structure_of(model, example_input, forward=forward), convention)


def units_of(model: nn.Module, structure: "Structure", convention: str = "paper") -> tuple[str, ...]:
    """The units of a model's structure; errors as in :func:`depth_units`."""
    units = structure.units(convention)
    if not units:
        raise InputError(f"{type(model).__name__} has no depth units in the convention {convention!r}: choose another")
    return units


def minimal_depth(
    model: nn.Module, example_input: Any = None, *, convention: str = "paper", forward: Forward | None = None
) -> int:
    """L, the number of depth units; arguments and errors as in :func:`depth_units`.

    Example:
        >>> import ammup
        >>> ammup.minimal_depth(ammup.resnet(4, width=8))
        4
    """
    return len(depth_units(model, example_input, convention=convention, forward=forward))


OWN_NETS = "ammup.models.nets"
_TRACED: dict[tuple[type, str], "Structure"] = {}


def structure_of(
    model: nn.Module, example_input: Any = None, *, forward: Forward | None = None, state: ModelState | None = None
) -> "Structure":
    """The structure of a module, traced, or recorded where there is an input.

    Args:
        model: the module; it is left as it was.
        example_input: as in :func:`depth_units`.
        forward: as there.
        state: of the model, where that is recorded already.

    Raises:
        InputError: the module cannot be traced or run, or has no weight layer.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; give an nn.Module")
    if example_input is not None:
        check_initialized(model)
        inputs = [leaf for leaf in tree_leaves(example_input) if isinstance(leaf, Tensor)]
        with preserved(model, state):
            return _checked(model, recorded(model, inputs, lambda: _run(model, example_input, forward)))
    if type(model).__module__ != OWN_NETS:
        with preserved(model, state), seeded("structure"):  # its forward runs on proxies, which it may keep
            return _checked(model, traced(model))
    # Their forwards depend on nothing that their repr does not show, and a trace costs as much as a small measurement.
    key = (type(model), repr(model))
    if key not in _TRACED:
        _TRACED[key] = _checked(model, traced(model))
    return _TRACED[key]


def _run(model: nn.Module, example_input: Any, forward: Forward | None) -> Any:
    """One forward that leaves the random state as it was."""
    with seeded("structure"):
        try:
            return model(example_input) if forward is None else forward(model, example_input)
        except Exception as error:  # whatever the user's forward raises
            raise cannot_be_run(model, example_input, error) from error


def cannot_be_run(model: nn.Module, inputs: Any, error: Exception) -> InputError:
    """What to say of a forward that failed."""
    shapes = [tuple(leaf.shape) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    message = str(error).strip().splitlines()
    return InputError(
        f"{type(model).__name__} cannot be run on inputs of shape {shapes[0] if len(shapes) == 1 else shapes}: "
        f"{message[0] if message else type(error).__name__}"
    )


def _checked(model: nn.Module, flow: list[Operation]) -> "Structure":
    structure = Structure(flow)
    if not structure.layers:
        raise InputError(f"{type(model).__name__} has no linear or convolutional layer, so it has no depth")
    return structure


class Structure:
    """Units, roles and paths in a flow. Sets of operations are bit masks over their order of computation."""

    def __init__(self, flow: Sequence[Operation]) -> None:
        self.flow = flow
        self.before: list[int] = []  # of each operation: itself and all that it depends on
        for i, operation in enumerate(flow):
            mask = 1 << i
            for source in operation.sources:
                mask |= self.before[source]
            self.before.append(mask)
        self._layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
        self._inputs = sum(1 << i for i, operation in enumerate(flow) if operation.is_input)
        self._blocks = {i: sides for i in range(len(flow)) if (sides := self._residual_sides(i)) is not None}

    @property
    def n_blocks(self) -> int:
        """K, the number of residual additions."""
        return len(self._blocks)

    def units(self, convention: str) -> tuple[str, ...]:
        """Names of the units; see :data:`CONVENTIONS`."""
        readout = self._readout
        counted = [i for i in self._layers if not readout >> i & 1]
        outside = [i for i in counted if not (self._skip | self._branch | self._stem) >> i & 1]
        found = {
            "paper": lambda: sorted([*self._blocks, *outside]),
            "blocks": lambda: sorted(self._blocks),
            "layers": lambda: [i for i in counted if not self._skip >> i & 1],
            "relu": lambda: sorted({o.sources[0] for o in self.flow if o.activation is not None and o.sources}),
            "shortest": lambda: self._shortest({*counted, *self._blocks}),
        }[convention]()
        return tuple(self.flow[i].name for i in found)

    @property
    def layers(self) -> tuple[WeightLayer, ...]:
        """Every weight layer."""
        roles = {"readout": self._readout, "skip": self._skip, "last": self._last, "branch": self._branch}
        return tuple(
            WeightLayer(
                name=str(self.flow[i].layer),
                weight=self.flow[i].weight,
                role=next((role for role, mask in roles.items() if mask >> i & 1), "plain"),
                activation=self._activation(i),
            )
            for i in self._layers
        )

    def path_sum(self) -> int:
        """Σ_p L_p³ over all paths p from the inputs to the output, with L_p activations on p (PathSum, eq. 8)."""
        moments: list[tuple[int, int, int, int]] = []  # of each operation: Σ 1, Σ L, Σ L², Σ L³ over the paths to it
        for operation in self.flow:
            sources = [moments[source] for source in operation.sources]
            n, a, b, c = (
                (sum(m[k] for m in sources) for k in range(4)) if sources else (int(operation.is_input), 0, 0, 0)
            )
            if operation.activation is not None:
                n, a, b, c = n, a + n, b + 2 * a + n, c + 3 * b + 3 * a + n
            moments.append((n, a, b, c))
        used = _union(sum(1 << s for s in operation.sources) for operation in self.flow)
        output = max(i for i in range(len(self.flow)) if not used >> i & 1 and self.before[i] & self._inputs)
        return moments[output][3]

    def _shortest(self, counted: set[int]) -> list[int]:
        best: list[list[int] | None] = []
        for i, operation in enumerate(self.flow):
            paths = [path for source in operation.sources if (path := best[source]) is not None]
            path = min(paths, key=len) if paths else [] if operation.is_input else None
            best.append(None if path is None else [*path, i] if i in counted else path)
        ends = [i for i in self._layers if self._readout >> i & 1] or [len(self.flow) - 1]
        return best[ends[-1]] or []

    @cached_property
    def _skip(self) -> int:
        return _union(sides[0] for sides in self._blocks.values())

    @cached_property
    def _branch(self) -> int:
        return _union(sides[1] for sides in self._blocks.values()) & ~self._skip

    @cached_property
    def _last(self) -> int:
        """Weight layers with no other weight layer of their branch behind them."""
        last = 0
        for _, mask in self._blocks.values():
            members = [i for i in self._layers if mask >> i & 1]
            ends = [i for i in members if not any(self.before[j] >> i & 1 for j in members if j != i)]
            last |= sum(1 << i for i in ends)
        return last

    @cached_property
    def _readout(self) -> int:
        """Weight layers with no weight layer and no residual addition behind them."""
        later = [*self._layers, *self._blocks]
        return sum(1 << i for i in self._layers if not any(self.before[j] >> i & 1 for j in later if j != i))

    @cached_property
    def _stem(self) -> int:
        """Weight layers that raw inputs pass before a residual block."""
        first = [i for i in self._layers if not any(self.before[i] >> j & 1 for j in self._layers if j != i)]
        return sum(1 << i for i in first if any(self.before[block] >> i & 1 for block in self._blocks))

    def _between(self, start: int, end: int) -> int:
        """Weight layers that lie on a path from the fork ``start`` to ``end``."""
        return sum(
            1 << i for i in self._layers if self.before[end] >> i & 1 and self.before[i] >> start & 1 and i != start
        )

    def _residual_sides(self, i: int) -> tuple[int, int] | None:
        """(skip, branch) weight layers of a residual addition; None where the operation is anything else."""
        if not self.flow[i].is_sum:
            return None
        terms = self.flow[i].sources
        common = self.before[terms[0]] & self.before[terms[1]]
        if not common & self._inputs:
            return None
        fork = common.bit_length() - 1  # the latest common value
        sides = sorted((self._between(fork, term) for term in terms), key=int.bit_count)
        return (sides[0], sides[1]) if sides[1] else None

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


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
