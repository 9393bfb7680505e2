"""Roles, units and path sums: by hand for small nets, and against an enumeration of all paths for random flows."""

import numpy as np
import pytest
import torch
from torch import nn

import ammup
from ammup.models.depth import structure_of
from ammup.models.operation import Operation
from ammup.models.structure import Structure


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = self.second(torch.tanh(self.first(torch.relu(z))))
        h += z
        return h


class _Odd(nn.Module):
    """A stem, a block by ``+=``, a block whose projection is the branch with fewer layers, a plain layer, a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.tail, self.out = nn.Linear(3, 8), _Block(8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.block(self.stem(x))
        return self.out(self.tail(torch.relu(z)).sigmoid() + 1.0)


def test_roles_of_the_weight_layers() -> None:
    structure = structure_of(_Odd())
    assert structure.units("paper") == ("block", "tail")
    assert structure.n_blocks == 1
    assert [(layer.name, layer.role) for layer in structure.layers] == [
        ("stem", "plain"),
        ("block.first", "branch"),
        ("block.second", "last"),
        ("tail", "plain"),
        ("out", "readout"),
    ]
    assert [layer.activation for layer in structure.layers] == [
        None,
        torch.nn.functional.relu,
        torch.tanh,
        torch.nn.functional.relu,
        torch.sigmoid,
    ]


# Random flows, and what follows from the list of all paths to each operation

Paths = list[list[tuple[int, ...]]]


def _random_flow(seed: int, size: int = 16) -> list[Operation]:
    """An input or two, then weight layers, activations, sums, and functions of two tensors that are no sums."""
    rng = np.random.default_rng(seed)
    flow = [Operation(sources=(), is_input=True) for _ in range(rng.integers(1, 3))]
    while len(flow) < size:
        recent = range(max(0, len(flow) - 5), len(flow))
        one, other = sorted(rng.choice(recent, 2).tolist())
        kind = rng.choice(["layer", "activation", "add", "cat"], p=[0.35, 0.2, 0.35, 0.1])
        binary = kind in ("add", "cat") and one != other
        flow.append(
            Operation(
                sources=(one, other) if binary else (other,),
                function=str(kind) if kind in ("add", "cat") else "",
                name=f"{kind}{len(flow)}",
                layer=f"layer{len(flow)}" if kind == "layer" else None,
                activation=torch.relu if kind == "activation" else None,
            )
        )
    return flow


def _paths(flow: list[Operation]) -> Paths:
    """All paths from an input to each operation, both ends included."""
    found: Paths = []
    for i, operation in enumerate(flow):
        longer = [(*path, i) for source in operation.sources for path in found[source]]
        found.append([(i,)] if operation.is_input else longer)
    return found


def _blocks(flow: list[Operation], paths: Paths) -> dict[int, list[set[int]]]:
    """The weight layers on the two sides of each residual addition, the side with fewer first."""
    blocks = {}
    for i, operation in enumerate(flow):
        if not operation.is_sum:
            continue
        reached = [{place for path in paths[term] for place in path} for term in operation.sources]
        if not reached[0] & reached[1]:
            continue
        fork = max(reached[0] & reached[1])
        sides = [
            {p for path in paths[term] if fork in path for p in path if p > fork and flow[p].layer is not None}
            for term in operation.sources
        ]
        if any(sides):
            blocks[i] = sorted(sides, key=len)
    return blocks


def _roles(flow: list[Operation]) -> dict[str, str]:
    paths = _paths(flow)
    blocks = _blocks(flow, paths)
    layers = [i for i, operation in enumerate(flow) if operation.layer is not None]

    def passed(i: int, ends: set[int] | list[int]) -> bool:
        return any(i in path for end in ends if end != i for path in paths[end])

    def role(i: int) -> str:
        if not passed(i, [*layers, *blocks]):
            return "readout"
        if any(i in skip for skip, _ in blocks.values()):
            return "skip"
        mine = [branch for _, branch in blocks.values() if i in branch]
        if not mine:
            return "plain"
        return "branch" if all(passed(i, branch) for branch in mine) else "last"

    return {str(flow[i].layer): role(i) for i in layers}


@pytest.mark.parametrize("seed", range(40))
def test_roles_are_those_of_enumerated_paths(seed: int) -> None:
    flow = _random_flow(seed)
    structure = Structure(flow)
    assert {layer.name: layer.role for layer in structure.layers} == _roles(flow)
    assert structure.units("blocks") == tuple(flow[i].name for i in _blocks(flow, _paths(flow)))


def test_random_flows_have_every_role() -> None:
    roles = [role for seed in range(40) for role in _roles(_random_flow(seed)).values()]
    assert all(roles.count(role) >= 5 for role in ("plain", "branch", "last", "skip", "readout"))


def test_units_of_the_paper_are_additions_and_layers_outside_of_branches_without_stem_and_readout() -> None:
    for flow in map(_random_flow, range(40)):
        paths, roles = _paths(flow), _roles(flow)
        blocks = _blocks(flow, paths)
        layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
        first = [i for i in layers if not any(j in path for path in paths[i] for j in layers if j != i)]
        stem = {i for i in first if any(i in path for block in blocks for path in paths[block])}
        plain = {i for i in layers if roles[str(flow[i].layer)] == "plain"} - stem
        assert Structure(flow).units("paper") == tuple(flow[i].name for i in sorted({*blocks, *plain}))


@pytest.mark.parametrize("seed", range(40))
def test_the_shortest_path_counts_no_more_than_any_other(seed: int) -> None:
    flow = _random_flow(seed)
    structure, paths = Structure(flow), _paths(flow)
    readouts = [i for i, o in enumerate(flow) if o.layer is not None and _roles(flow)[o.layer] == "readout"]
    others = {i for i, o in enumerate(flow) if o.layer is not None} - set(readouts)
    counted = others | set(_blocks(flow, paths))
    end = readouts[-1] if readouts else len(flow) - 1
    assert len(structure.units("shortest")) == min(len(counted.intersection(path)) for path in paths[end])


def _path_sum(flow: list[Operation]) -> int:
    """Σ over paths to the last output of the cube of their activations, path by path."""
    used = {source for operation in flow for source in operation.sources}
    output = max(set(range(len(flow))) - used)
    return sum(sum(flow[i].activation is not None for i in path) ** 3 for path in _paths(flow)[output])


@pytest.mark.parametrize("seed", range(40))
def test_path_sums_of_random_flows_are_those_of_enumerated_paths(seed: int) -> None:
    flow = _random_flow(seed)
    assert Structure(flow).path_sum() == _path_sum(flow)


@pytest.mark.parametrize("model", [_Odd(), ammup.resnet(4, width=4), ammup.cnn(3, width=4)])
def test_path_sums_of_nets_are_those_of_enumerated_paths(model: nn.Module) -> None:
    structure = structure_of(model)
    assert structure.path_sum() == _path_sum(list(structure.flow))
