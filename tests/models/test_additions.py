"""Residual additions of small flows that are written out."""

import pytest
import torch

from ammup.models.additions import Additions, ResidualAddition, is_nonlinear, is_product
from ammup.models.operation import Operation
from ammup.models.reachability import Reachability


def _flow(*rows: str) -> list[Operation]:
    """An input, and rows such as "conv 0", "relu 1", "add 0 2"; "conv" and "linear" are weight layers."""
    flow = [Operation(sources=(), is_input=True)]
    for row in rows:
        kind, *sources = row.split()
        layer = f"net.{kind}{len(flow)}" if kind in ("conv", "linear") else None
        flow.append(
            Operation(
                sources=tuple(map(int, sources)),
                function=kind,
                name=f"block:{kind}{len(flow)}",
                layer=layer,
                weight=f"{layer}.weight" if layer else "",
                activation=torch.relu if kind == "relu" else None,
            )
        )
    return flow


def _found(flow: list[Operation]) -> dict[int, ResidualAddition]:
    return Additions(flow, Reachability(operation.sources for operation in flow)).found


def _sides(flow: list[Operation]) -> dict[int, tuple[int, tuple[int, ...], tuple[int, ...]]]:
    return {i: (found.fork, found.skip, found.branch) for i, found in _found(flow).items()}


RESIDUAL = {
    "identity": (["conv 0", "relu 1", "conv 2", "add 1 3"], {4: (1, (), (3,))}),
    "linear branch": (["conv 0", "conv 1", "add 1 2"], {3: (1, (), (2,))}),
    "norm on the skip": (["conv 0", "batch_norm 1", "conv 1", "add 2 3"], {4: (1, (), (3,))}),
    "projection": (["conv 0", "relu 1", "conv 2", "conv 1", "add 3 4"], {5: (1, (4,), (3,))}),
    "projection and a longer linear branch": (["conv 0", "conv 0", "conv 2", "add 1 3"], {4: (0, (1,), (2, 3))}),
    # x + f(x) + g(norm(x)), where f and g are read by the sum only: one block
    "parallel branches": (
        ["conv 0", "layer_norm 1", "conv 2", "conv 2", "add 1 3", "add 5 4"],
        {6: (1, (), (3, 4))},
    ),
    "parallel branches added first": (
        ["conv 0", "layer_norm 1", "conv 2", "conv 2", "add 3 4", "add 5 1"],
        {6: (1, (), (3, 4))},
    ),
    "reparametrized with an identity": (["conv 0", "conv 1", "conv 1", "add 2 3", "add 1 4"], {5: (1, (), (2, 3))}),
    "identity, then two convolutions": (["conv 0", "conv 1", "add 1 2", "conv 1", "add 3 4"], {5: (1, (), (2, 4))}),
}


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_residual_addition_has_a_skip_and_a_branch(name: str) -> None:
    rows, expected = RESIDUAL[name]
    assert _sides(_flow(*rows)) == expected


NOT_RESIDUAL = {
    "reparametrized": ["conv 0", "conv 1", "conv 1", "add 2 3"],
    "a branch without weights": ["conv 0", "relu 1", "add 1 2"],
    "a skip with an activation after its weights": ["conv 0", "conv 1", "relu 2", "conv 1", "relu 4", "add 3 5"],
    "parts of a split": ["conv 0", "chunk 1", "part 2", "part 2", "conv 4", "add 3 5"],
    "slices": ["conv 0", "getitem 1", "getitem 1", "conv 3", "add 2 4"],
    "a skip that mixes positions": ["conv 0", "softmax 1", "conv 1", "matmul 2 3", "conv 3", "add 4 5"],
    "one term": ["conv 0", "add 1"],
}


@pytest.mark.parametrize("name", NOT_RESIDUAL)
def test_other_sums_are_not_residual_additions(name: str) -> None:
    assert _sides(_flow(*NOT_RESIDUAL[name])) == {}


def test_a_long_skip_around_residual_blocks_is_an_addition_of_its_own() -> None:
    flow = _flow("conv 0", "batch_norm 1", "relu 2", "conv 3", "add 2 4", "add 1 5")
    assert list(_found(flow)) == [5, 6]


@pytest.mark.parametrize(("owner", "expected"), [("block", [7]), ("net", [5, 7])])
def test_an_addition_inside_a_branch_is_part_of_the_block_unless_the_block_is_the_net(
    owner: str, expected: list[int]
) -> None:
    flow = _flow("conv 0", "relu 1", "conv 2", "conv 3", "add 3 4", "conv 5", "add 1 6")
    outer = flow[-1]
    flow[-1] = Operation(sources=outer.sources, function="add", name=f"{owner}:add")
    additions = Additions(flow, Reachability(operation.sources for operation in flow))
    assert list(additions.blocks(range(len(flow)))) == expected


def test_additions_and_branches_outside_of_the_stream_are_not_blocks() -> None:
    flow = _flow("conv 0", "conv 1", "add 1 2", "conv 3", "add 3 4")
    additions = Additions(flow, Reachability(operation.sources for operation in flow))
    assert list(additions.blocks(range(len(flow)))) == [3, 5]
    assert list(additions.blocks({0, 1, 2, 3})) == [3]
    assert list(additions.blocks({0, 1, 3, 4, 5})) == [5]


def test_products_and_nonlinear_operations() -> None:
    relu, matmul, scaled, softmax = _flow("relu 0", "matmul 0 1", "mul 0", "softmax 0")[1:]
    assert [is_product(o) for o in (relu, matmul, scaled, softmax)] == [False, True, False, False]
    assert [is_nonlinear(o) for o in (relu, matmul, scaled, softmax)] == [True, True, False, True]
    attention = Operation(sources=(0,), layer="attention")
    assert is_nonlinear(attention)
    assert not is_nonlinear(Operation(sources=(0,), layer="fc", weight="fc.weight"))
