"""PathSum in closed form against sums over the number of branches passed and against walking every path."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from jaxtyping import config

from ammup import InputError, fit_power_law
from ammup.theory.pathsum import (
    MAX_PATHS,
    enumerate_path_sum,
    log_path_sum,
    path_sum,
    pathsum_lr,
    residual_graph,
)

SMALL = [1, 2, 3]
DIAMOND = {"in": ["a", "b"], "a": ["out"], "b": ["out"], "out": ()}


@pytest.fixture
def _as_installed() -> Iterator[None]:
    """Without the type checker of the tests, as users call: what is not declared gets as far as our own checks."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def _binomial_sum(n_blocks: int, branch: int, outside: int) -> int:
    return sum(math.comb(n_blocks, j) * (outside + branch * j) ** 3 for j in range(n_blocks + 1))


def _subset_sum(n_blocks: int, branch: int, outside: int) -> int:
    """Every choice of branch or skip in each block, one by one."""
    return sum((outside + branch * sum(taken)) ** 3 for taken in product((0, 1), repeat=n_blocks))


@pytest.mark.parametrize("branch", SMALL)
@pytest.mark.parametrize("outside", [0, *SMALL])
@pytest.mark.parametrize("n_blocks", range(1, 11))
def test_residual_path_sum_is_the_sum_over_paths(n_blocks: int, branch: int, outside: int) -> None:
    graph = residual_graph(n_blocks, branch=branch, outside=outside)
    closed = path_sum(n_blocks, branch=branch, outside=outside)
    assert closed == _subset_sum(n_blocks, branch, outside)
    assert closed == enumerate_path_sum(*graph)


@pytest.mark.parametrize("n_blocks", [64, 200, 2000])
def test_deep_residual_path_sum_is_exact(n_blocks: int) -> None:
    assert path_sum(n_blocks, branch=3, outside=5) == _binomial_sum(n_blocks, 3, 5)


def test_residual_path_sum_has_the_defaults_of_a_basic_block() -> None:
    assert path_sum(4) == path_sum(4, family="resnet", branch=2, outside=1) == 16 * (5**3 + 3 * 5 * 4)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("depth", [1, 2, 3, 17, 2000])
def test_a_plain_net_has_one_path(family: str, depth: int) -> None:
    assert path_sum(depth, family=family) == depth**3
    assert path_sum(depth, family=family) == enumerate_path_sum(*residual_graph(0, branch=1, outside=depth))
    assert log_path_sum(depth, family=family) == pytest.approx(3 * math.log(depth), rel=1e-14)


@pytest.mark.usefixtures("_as_installed")
def test_path_sum_of_numpy_integers_does_not_wrap() -> None:
    wrapped = path_sum(np.int64(300), branch=np.int64(10**7), outside=np.int8(100))
    assert type(wrapped) is int
    assert wrapped == _binomial_sum(300, 10**7, 100)


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize("depth", [1, 2, 5, 100, 2000])
@pytest.mark.parametrize(("branch", "outside"), [(1, 0), (2, 1), (3, 4)])
def test_log_path_sum_is_the_logarithm(family: str, depth: int, branch: int, outside: int) -> None:
    layers = {"family": family, "branch": branch, "outside": outside}
    assert log_path_sum(depth, **layers) == pytest.approx(math.log(path_sum(depth, **layers)), rel=1e-13, abs=1e-14)


def test_log_path_sum_needs_no_huge_integers() -> None:
    assert log_path_sum(10**15) == pytest.approx(10**15 * math.log(2), rel=1e-12)


@pytest.mark.parametrize("base", [None, 4, 7])
@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_lr_is_the_transfer_rule_from_its_anchor(family: str, base: int | None) -> None:
    depths = [3, 4, 9, 30]
    lr = pathsum_lr(depths, family=family, branch=3, outside=2, base_depth=base, base_lr=0.3)
    sums = [path_sum(d, family=family, branch=3, outside=2) for d in (base or 3, *depths)]
    np.testing.assert_allclose(lr, [0.3 * (s / sums[0]) ** -0.5 for s in sums[1:]], rtol=1e-12)


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_lr_at_the_anchor_is_the_base_lr(family: str) -> None:
    assert pathsum_lr([8, 3], family=family, base_lr=0.07)[0] == pytest.approx(0.07, rel=1e-14)
    assert pathsum_lr([8, 3], family=family, base_depth=3, base_lr=0.07)[1] == pytest.approx(0.07, rel=1e-14)
    assert pathsum_lr([8, 3], family=family)[0] == 1.0


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_lr_of_a_plain_net_is_an_exact_power_law(family: str) -> None:
    depths = [1, 3, 30, 2000]
    law = fit_power_law(depths, pathsum_lr(depths, family=family, base_lr=0.5))
    assert law.slope == pytest.approx(-1.5, abs=1e-12)
    assert law.prefactor == pytest.approx(0.5, rel=1e-12)


def test_lr_of_a_residual_net_at_fixed_values() -> None:
    """2^K ((2 + K)³ + 3 K (2 + K)) by hand for m = c = 2."""
    lr = pathsum_lr([2, 4, 8, 16], family="resnet", branch=2, outside=2)
    assert lr == pytest.approx([1, (352 / 4608) ** 0.5, (352 / 317440) ** 0.5, (352 / 438829056) ** 0.5], rel=1e-12)
    assert lr.round(4).tolist() == [1.0, 0.2764, 0.0333, 0.0009]


def test_lr_of_a_residual_net_is_no_power_law_but_falls_as_a_root_of_two_a_block() -> None:
    lr = pathsum_lr([2, 3, 8, 9, 16, 17], family="resnet", outside=2)
    slopes = [fit_power_law([d, d + 1], lr[i : i + 2]).slope for i, d in ((0, 2), (2, 8), (4, 16))]
    assert slopes == pytest.approx([-1.7, -4.1, -7.0], abs=0.05)
    ratio = np.divide(*pathsum_lr([1901, 1900], family="resnet", base_depth=1900))
    assert ratio == pytest.approx(0.5**0.5, rel=2e-3)
    assert ratio < 0.5**0.5


@pytest.mark.parametrize("depths", [[1, 2000], [4, 500, 2000]])
def test_lr_of_two_thousand_blocks_is_a_number(depths: list[int]) -> None:
    lr = pathsum_lr(depths, family="resnet")
    exponent = (log_path_sum(depths[0]) - log_path_sum(2000)) / 2
    assert np.log(lr[-1]) == pytest.approx(exponent, rel=1e-13)
    assert lr[-1] > 0


@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_lr_goes_with_one_over_the_side_of_the_kernel(family: str) -> None:
    lr = pathsum_lr([3, 6], family=family, base_lr=0.2)
    np.testing.assert_allclose(pathsum_lr([3, 6], family=family, base_lr=0.2, kernel=5, base_kernel=2), lr * 2 / 5)
    np.testing.assert_allclose(pathsum_lr([3, 6], family=family, base_lr=0.2, kernel=5, base_kernel=1), lr / 5)
    np.testing.assert_allclose(pathsum_lr([3, 6], family=family, base_lr=0.2, kernel=5), lr)


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "vgg"}, "unknown family='vgg'; expected one of: mlp, cnn, resnet"),
        ({"depths": [3, 3]}, "contains a repeated depth"),
        ({"depths": []}, "at least 1"),
        ({"depths": [0, 2]}, "at least 1"),
        ({"base_depth": 0}, "at least 1"),
        ({"base_lr": 0.0}, "base_lr=0.0 must be positive"),
        ({"base_lr": float("inf")}, "base_lr=inf must be positive and finite"),
        ({"base_lr": float("nan")}, "base_lr=nan must be positive and finite"),
        ({"branch": 0}, "branch=0: expected"),
        ({"branch": 1.5}, "branch=1.5: expected"),
        ({"outside": -1}, "outside=-1: expected"),
        ({"kernel": 0}, "kernel=0: expected"),
        ({"base_kernel": 0}, "base_kernel=0: expected"),
        ({"kernel": (3, 3)}, "kernel=.*expected an integer"),
        ({"family": "mlp", "kernel": 3}, "family='mlp' has no kernel"),
        ({"family": "mlp", "base_kernel": 3}, "family='mlp' has no kernel"),
        ({"family": "mlp", "kernel": 3, "base_kernel": 1}, "family='mlp' has no kernel"),
        ({"depths": [1, 3000]}, "too far from base_depth=1"),
        ({"depths": [1, 3], "base_depth": 3000}, "too far from base_depth=3000"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pathsum_lr(**{"depths": [2, 4], "family": "resnet", **arguments})


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize("count", [path_sum, log_path_sum])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "at least 1"),
        ({"depth": 2.5}, "integers"),
        ({"depth": 2, "family": "vit"}, "unknown family='vit'"),
        ({"depth": 2, "branch": 0}, "branch=0"),
        ({"depth": 2, "outside": -1}, "outside=-1"),
    ],
)
def test_unusable_sums_are_refused(count, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        count(**arguments)


@pytest.mark.parametrize(
    ("edges", "relus", "expected"),
    [
        (DIAMOND, set(), 0),
        (DIAMOND, {"a"}, 1),
        (DIAMOND, {"a", "b"}, 2),
        (DIAMOND, {"in", "a", "out"}, 3**3 + 2**3),  # the ends count as well
        ({"in": ["a", "out"], "a": ["out"], "out": ["late"], "late": ()}, {"a", "late"}, 1),  # paths end at the sink
        ({"in": ["a", "a"], "a": ["out"], "out": ()}, {"in", "a"}, 2 * 2**3),  # two edges
        ({"in": ["a", "dead"], "dead": ["end"], "end": (), "a": ["out"], "out": ()}, {"dead", "a"}, 1),
        ({"early": ["in"], "in": ["out"], "out": ()}, {"early", "out"}, 1),
    ],
)
def test_enumeration_of_small_graphs_by_hand(edges, relus, expected: int) -> None:
    assert enumerate_path_sum(edges, relus, "in", "out") == expected


def test_a_source_that_is_the_sink_is_one_path() -> None:
    assert enumerate_path_sum({"x": ["y"], "y": ()}, ["x", "y"], "x", "x") == 1


@pytest.mark.parametrize("seed", range(8))
def test_enumeration_agrees_with_powers_of_the_adjacency_matrix(seed: int) -> None:
    """Every node behind the source carries a ReLU: paths of L edges pass L of them, and (Aᴸ) counts those."""
    rng = np.random.default_rng(seed)
    n = 9
    adjacency = np.triu(rng.integers(0, 3, (n, n)), 1)
    adjacency[0, n - 1] = 1
    edges = {i: [j for j in range(n) for _ in range(adjacency[i, j])] for i in range(n)}
    by_length = [np.linalg.matrix_power(adjacency, length)[0, n - 1] for length in range(n)]
    expected = sum(length**3 * int(count) for length, count in enumerate(by_length))
    assert enumerate_path_sum(edges, range(1, n), 0, n - 1) == expected


def test_a_blind_alley_with_many_branches_is_not_walked() -> None:
    """2^200 walks end elsewhere; only one leads to the sink."""
    alley, _, _, end = residual_graph(200, branch=1, outside=0)
    edges = {**alley, "sink": (), 0: [*alley[0], "sink"]}
    assert edges[end] == []
    assert enumerate_path_sum(edges, {"sink"}, 0, "sink") == 1


@pytest.mark.parametrize(
    ("edges", "relus", "source", "sink", "message"),
    [
        ({"in": ["a"], "out": ()}, set(), "in", "out", r"\['a'\] are not keys"),
        (DIAMOND, {"c"}, "in", "out", r"\['c'\] are not keys"),
        (DIAMOND, {"a"}, "start", "out", r"\['start'\] are not keys"),
        (DIAMOND, {"a"}, "in", "end", r"\['end'\] are not keys"),
        ({"in": ["a"], "a": ["in", "out"], "out": ()}, {"a"}, "in", "out", "cycle"),
        ({"in": ["in", "out"], "out": ()}, {"in"}, "in", "out", "cycle"),
        ({"in": ["out"], "out": (), "far": ["away"], "away": ["far"]}, set(), "in", "out", "cycle"),
        (DIAMOND, {"a"}, "out", "in", "0 paths lead from 'out' to 'in'"),
    ],
)
def test_unusable_graphs_are_refused(edges, relus, source, sink, message: str) -> None:
    with pytest.raises(InputError, match=message):
        enumerate_path_sum(edges, relus, source, sink)


def test_a_cycle_is_shown_in_the_direction_of_its_edges() -> None:
    edges = {0: [1], 1: [2], 2: [3, 0], 3: ()}
    with pytest.raises(InputError, match=r"\[(0, 1, 2, 0|1, 2, 0, 1|2, 0, 1, 2)\]"):
        enumerate_path_sum(edges, set(), 0, 3)


def test_too_many_paths_are_counted_and_refused_before_they_are_walked() -> None:
    edges = {"in": ["out"] * MAX_PATHS, "out": ()}
    assert enumerate_path_sum(edges, {"out"}, "in", "out") == MAX_PATHS == 2**20
    edges["in"].append("out")
    with pytest.raises(InputError, match=f"{2**20 + 1} paths.*1 to {2**20}"):
        enumerate_path_sum(edges, {"out"}, "in", "out")
    with pytest.raises(InputError, match=f"{2**300} paths"):
        enumerate_path_sum(*residual_graph(300, branch=1, outside=1))


def test_residual_graph_is_the_net_that_it_should_be() -> None:
    edges, relus, source, sink = residual_graph(2, branch=2, outside=1)
    assert edges == {0: [1], 1: [2, 4], 2: [3], 3: [4], 4: [5, 7], 5: [6], 6: [7], 7: []}
    assert relus == {1, 2, 3, 5, 6}
    assert (source, sink) == (0, 7)


def test_a_long_branch_does_not_exhaust_the_recursion_limit() -> None:
    assert enumerate_path_sum(*residual_graph(1, branch=5000, outside=1)) == 1 + 5001**3


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize(("n_blocks", "branch", "outside"), [(-1, 1, 1), (2.0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_unusable_residual_graphs_are_refused(n_blocks, branch, outside) -> None:
    with pytest.raises(InputError, match="expected an integer"):
        residual_graph(n_blocks, branch=branch, outside=outside)
