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
Sides = tuple[set[int], set[int]]  # weight layers on the skip, in the branch


def _random_flow(seed: int, size: int = 16) -> list[Operation]:
    """An input or two, then weight layers, activations, sums, and functions of two tensors that are not sums."""
    rng = np.random.default_rng(seed)
    flow = [Operation(sources=(), is_input=True, name=f"input{i}") for i in range(rng.integers(1, 3))]
    while len(flow) < size:
        recent = range(max(0, len(flow) - 5), len(flow))
        one, other = sorted(rng.choice(recent, 2).tolist())
        kind = str(rng.choice(["layer", "activation", "add", "cat"], p=[0.35, 0.2, 0.35, 0.1]))
        binary = kind in ("add", "cat") and one != other
        flow.append(
            Operation(
                sources=(one, other) if binary else (other,),
                function=kind if kind in ("add", "cat") else "",
                name=f"{kind}{len(flow)}",
                layer=f"layer{len(flow)}" if kind == "layer" else None,
                weight=f"layer{len(flow)}.weight" if kind == "layer" else "",
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


def _residual(flow: list[Operation], paths: Paths, terms: list[int]) -> tuple[int, set[int], Sides] | None:
    """(fork, operations after the fork, sides) of a sum of these terms, if it is a residual addition."""
    reached = [{place for path in paths[term] for place in path} for term in terms]
    common = set.intersection(*reached)
    if len(terms) < 2 or not common:
        return None
    fork = max(common)
    spans = [{p for path in paths[term] if fork in path for p in path if p > fork} for term in terms]
    layers = [{p for p in span if flow[p].layer is not None} for span in spans]
    nonlinear = [any(flow[p].activation is not None for p in span) for span in spans]
    first = min(range(len(terms)), key=lambda k: (len(layers[k]), nonlinear[k]))
    others = [k for k in range(len(terms)) if layers[k] and (k != first or not layers[first])]
    deeper = any(nonlinear[k] or len(layers[k]) > len(layers[first]) for k in others if spans[k] != spans[first])
    if not others or (layers[first] and (nonlinear[first] or not deeper)):
        return None
    branch = set().union(*(layers[k] for k in others if spans[k] != spans[first]))
    return (fork, set().union(*spans), (layers[first], branch)) if branch else None


def _blocks(flow: list[Operation], paths: Paths) -> dict[int, Sides]:
    """The sides of each residual block that leads to the last operation."""
    found: dict[int, tuple[int, set[int], Sides]] = {}
    terms: dict[int, list[int]] = {}
    for i, operation in enumerate(flow):
        if operation.function != "add":
            continue
        terms[i] = list(operation.sources)
        block = _residual(flow, paths, terms[i])
        inner = [s for s in operation.sources if s in terms and sum(s in o.sources for o in flow) == 1]
        merged = [term for s in operation.sources for term in (terms[s] if s in inner else [s])]
        other = _residual(flow, paths, merged)
        unlike = [s for s in inner if s in found and other and found[s][0] != other[0]]
        if (block is None or block[2][0]) and other and not unlike:
            block, terms[i] = other, merged
            for s in inner:
                found.pop(s, None)
        if block:
            found[i] = block
    stream = {place for path in paths[-1] for place in path}
    found = {i: block for i, block in found.items() if i in stream and block[2][1] & stream}
    inside = set().union(*(span for _, span, _ in found.values()))
    return {i: sides for i, (_, _, sides) in found.items() if i not in inside}


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


SEEDS = range(100)


@pytest.mark.parametrize("seed", SEEDS)
def test_roles_are_those_of_enumerated_paths(seed: int) -> None:
    flow = _random_flow(seed)
    structure = Structure(flow)
    assert structure.n_blocks == len(_blocks(flow, _paths(flow)))
    assert {layer.name: layer.role for layer in structure.layers} == _roles(flow)


def test_random_flows_have_every_role() -> None:
    roles = [role for seed in SEEDS for role in _roles(_random_flow(seed)).values()]
    assert all(roles.count(role) >= 5 for role in ("plain", "branch", "last", "skip", "readout"))


def _counted(flow: list[Operation], paths: Paths) -> dict[str, set[int]]:
    """The operations that each convention counts."""
    roles, blocks = _roles(flow), _blocks(flow, paths)
    layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
    plain = {i for i in layers if roles[str(flow[i].layer)] == "plain"}
    first = [i for i in plain if not any(j in path for path in paths[i] for j in layers if j != i)]
    stem = {i for i in first if any(i in path for block in blocks for path in paths[block])}
    others = {i for i in layers if roles[str(flow[i].layer)] != "readout"}
    return {
        "paper": {*blocks, *plain} - stem,
        "blocks": {*blocks},
        "layers": {i for i in others if roles[str(flow[i].layer)] != "skip"},
        "relu": {o.sources[0] for o in flow if o.activation is not None},
        "shortest": {*others, *blocks},
        "update-bearing": {*blocks, *plain},
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_units_are_those_of_the_path_that_has_the_most_or_the_fewest(seed: int) -> None:
    flow = _random_flow(seed)
    paths, structure = _paths(flow), Structure(flow)
    for convention, counted in _counted(flow, paths).items():
        along = [tuple(flow[i].name for i in path if i in counted) for path in paths[-1]]
        number = (min if convention == "shortest" else max)(len(units) for units in along)
        assert len(structure.units(convention)) == number
        assert structure.units(convention) in along


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
