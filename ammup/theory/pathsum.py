"""PathSum, the transfer rule of Chen et al. (arXiv 2402.17440), for comparison with AM-µP.

    η* = const (Σ_p L_p³)^(-1/2) / q

The sum is over all paths p from input to output, L_p is the number of ReLUs on p, and q is the side of a convolution's
kernel. A plain net has one path. In a ResNet of K blocks with m layers each and c layers outside the blocks, C(K, j)
paths pass through j branches and therefore c + m j ReLUs. Over these paths L_p has mean μ = c + m K/2, variance
s = m² K/4 and third central moment 0, so

    Σ_p L_p³ = 2^K (μ³ + 3 μ s).

The sum is exponential in K, so for a ResNet the rule is not a power law in depth.
"""

import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ammup.architecture.architecture import FAMILIES
from ammup.arrays import Array
from ammup.errors import InputError, check_known, checked_integer
from ammup.stats.depths import checked_depths

Node = TypeVar("Node", bound=Hashable)

MAX_PATHS = 2**20


def path_sum(depth: int, *, family: str = "resnet", branch: int = 2, outside: int = 1) -> int:
    """Σ_p L_p³ in closed form, an exact integer at every depth.

    Args:
        depth: layers of an "mlp" or "cnn", each with a ReLU; blocks K of a "resnet".
        family: "mlp", "cnn" or "resnet".
        branch: m, layers in the branch of each block; used by "resnet" only.
        outside: c, ReLUs outside the blocks, such as the one after the stem or before the readout; "resnet" only.

    Raises:
        InputError: the family is unknown, or depth, branch or outside is invalid.

    Example:
        >>> from ammup.theory.pathsum import path_sum
        >>> path_sum(4, family="mlp"), path_sum(4, family="resnet", branch=2, outside=1)
        (64, 2960)
    """
    n_paths_log2, mean_cube = _path_moments(depth, family, branch, outside)
    return (mean_cube << n_paths_log2) // 8


def log_path_sum(depth: int, *, family: str = "resnet", branch: int = 2, outside: int = 1) -> float:
    """Natural logarithm of :func:`path_sum`, which does not overflow at any depth; same arguments and errors.

    Example:
        >>> from ammup.theory.pathsum import log_path_sum
        >>> round(log_path_sum(2000, family="resnet"), 6)
        1409.100066
    """
    n_paths_log2, mean_cube = _path_moments(depth, family, branch, outside)
    return (n_paths_log2 - 3) * math.log(2) + math.log(mean_cube)


def pathsum_lr(
    depths: Sequence[int] | ArrayLike,
    *,
    family: str,
    branch: int = 2,
    outside: int = 1,
    kernel: int = 1,
    base_depth: int | None = None,
    base_lr: float = 1.0,
    base_kernel: int | None = None,
) -> Array:
    """η* at each depth by PathSum: η_base (Σ L_p³ / Σ_base L_p³)^(-1/2) q_base/q.

    The rule determines η* up to a constant, which is chosen such that η* is ``base_lr`` at ``base_depth``, the anchor.
    Compare only curves with the same anchor. The rule assumes a specific initialization: Var[W] = 2/(n d_in), where
    d_in is the number of edges into the source of W, an output layer of variance ∝ 1/n², and zero biases. Its authors
    do not claim that it applies to Var[W] = c/(K n), so state the initialization of the nets that it is compared with.

    Args:
        depths: distinct depths, counted as in :func:`path_sum`.
        family: "mlp", "cnn" or "resnet".
        branch: m, layers in the branch of each block; used by "resnet" only.
        outside: c, ReLUs outside the blocks; used by "resnet" only.
        kernel: q, the kernel's side (not its cardinality) at ``depths``; 1 for dense layers.
        base_depth: the depth of the anchor, by default the first of ``depths``.
        base_lr: η* at the anchor; the result has the same units.
        base_kernel: the kernel's side at the anchor, by default ``kernel``.

    Returns:
        η*, shape (len(depths),).

    Raises:
        InputError: the family is unknown, a depth, size or learning rate is invalid, an "mlp" has a kernel, or a depth
            is so far from ``base_depth`` that η* overflows or underflows.

    Example:
        >>> from ammup.theory.pathsum import pathsum_lr
        >>> pathsum_lr([4, 16], family="cnn", kernel=3, base_lr=0.8).round(6).tolist()
        [0.8, 0.1]
        >>> pathsum_lr([4, 8, 16], family="resnet", base_lr=0.8).round(6).tolist()
        [0.8, 0.088491, 0.002246]
    """
    wanted = checked_depths(depths)
    if not 0 < base_lr < math.inf:
        raise InputError(f"base_lr={base_lr!r} must be positive and finite; give the learning rate at the base depth")
    (base,) = wanted[:1] if base_depth is None else checked_depths([base_depth])
    sums = np.array([log_path_sum(d, family=family, branch=branch, outside=outside) for d in (base, *wanted)])
    exponents = (sums[0] - sums[1:]) / 2 + math.log(base_lr * _kernel_ratio(family, kernel, base_kernel))
    limits = np.finfo(np.float64)
    if np.any((exponents < math.log(limits.tiny)) | (exponents > math.log(limits.max))):
        raise InputError(
            f"depths={list(wanted)} are too far from base_depth={base}: η* is outside the range of floats; "
            "choose a nearer base_depth, or use log_path_sum"
        )
    return np.asarray(np.exp(exponents))


def enumerate_path_sum(
    edges: Mapping[Node, Sequence[Node]], relu_nodes: Collection[Node], source: Node, sink: Node
) -> int:
    """Σ_p L_p³ over the paths of any small directed acyclic graph, by enumerating them.

    Args:
        edges: the successors of each node, () for none; a successor that is listed twice stands for two edges.
        relu_nodes: the nodes with a ReLU, which may include the source and the sink.
        source: the first node of every path.
        sink: the last node of every path.

    Raises:
        InputError: a node is not a key of ``edges``, the graph has a cycle or no path, or more than ``MAX_PATHS``.

    Example:
        >>> from ammup.theory.pathsum import enumerate_path_sum
        >>> enumerate_path_sum({"x": ["a", "sum"], "a": ["sum"], "sum": ()}, {"a"}, "x", "sum")
        1
    """
    _check_nodes(edges, relu_nodes, source, sink)
    counts = _paths_to(edges, sink)
    if not 0 < counts[source] <= MAX_PATHS:
        raise InputError(
            f"{counts[source]} paths lead from {source!r} to {sink!r}; 1 to {MAX_PATHS} can be enumerated: "
            "check the edges, or use path_sum for a ResNet"
        )
    without_dead_ends = {node: [s for s in successors if counts[s]] for node, successors in edges.items()}
    return sum(relus**3 for relus in _relus_of_paths(without_dead_ends, frozenset(relu_nodes), source, sink))


def residual_graph(
    n_blocks: int, *, branch: int, outside: int
) -> tuple[dict[int, list[int]], frozenset[int], int, int]:
    """The graph of a ResNet as arguments of :func:`enumerate_path_sum`: (edges, relu_nodes, source, sink).

    The layers outside the blocks come first; their position does not change the sum. With 0 blocks, the graph is a
    chain, as for a plain net.

    Args:
        n_blocks: K, at least 0.
        branch: m, layers in the branch of each block.
        outside: c, layers outside the blocks.

    Raises:
        InputError: an argument is not an integer or is too small.

    Example:
        >>> from ammup.theory.pathsum import enumerate_path_sum, path_sum, residual_graph
        >>> residual_graph(1, branch=1, outside=0)
        ({0: [1, 2], 1: [2], 2: []}, frozenset({1}), 0, 2)
        >>> enumerate_path_sum(*residual_graph(4, branch=2, outside=1)) == path_sum(4, branch=2, outside=1)
        True
    """
    blocks = checked_integer("n_blocks", n_blocks, at_least=0)
    m, c = _layer_counts(branch, outside)
    edges: dict[int, list[int]] = {0: []}
    relus = set(range(1, c + 1))
    tip = _append_chain(edges, 0, c)
    for _ in range(blocks):
        relus.update(range(tip + 1, tip + m + 1))
        total = _append_chain(edges, tip, m + 1)  # the branch's layers, then the addition of the skip
        edges[tip].append(total)
        tip = total
    return edges, frozenset(relus), 0, tip


def _path_moments(depth: int, family: str, branch: int, outside: int) -> tuple[int, int]:
    """(log2 of the number of paths, 8 times the mean of L_p³): both are integers, because 2μ and 4s are integers."""
    check_known("family", family, FAMILIES)
    (units,) = checked_depths([depth])
    m, c = _layer_counts(branch, outside)
    if family != "resnet":
        return 0, 8 * units**3
    twice_mean = 2 * c + m * units
    return units, twice_mean * (twice_mean**2 + 3 * m**2 * units)


def _layer_counts(branch: int, outside: int) -> tuple[int, int]:
    """(m, c), checked."""
    return checked_integer("branch", branch, at_least=1), checked_integer("outside", outside, at_least=0)


def _kernel_ratio(family: str, kernel: int, base_kernel: int | None) -> float:
    """q_base / q."""
    side = checked_integer("kernel", kernel, at_least=1)
    base_side = side if base_kernel is None else checked_integer("base_kernel", base_kernel, at_least=1)
    if family == "mlp" and (side, base_side) != (1, 1):
        raise InputError(f"kernel={side} and base_kernel={base_side}: family='mlp' has no kernel; leave both out")
    return base_side / side


def _check_nodes(edges: Mapping[Node, Sequence[Node]], relu_nodes: Collection[Node], source: Node, sink: Node) -> None:
    named = [source, sink, *relu_nodes, *(s for successors in edges.values() for s in successors)]
    unknown = [node for node in dict.fromkeys(named) if node not in edges]
    if unknown:
        raise InputError(f"nodes {unknown[:8]} are not keys of edges; give every node, with () if it has no successor")


def _paths_to(edges: Mapping[Node, Sequence[Node]], sink: Node) -> dict[Node, int]:
    """Number of paths from each node to the sink, without enumerating them."""
    counts: dict[Node, int] = {}
    try:
        for node in TopologicalSorter(edges).static_order():  # successors come first: they are passed as dependencies
            counts[node] = 1 if node == sink else sum(counts[s] for s in edges[node])
    except CycleError as error:
        raise InputError(f"edges contain the cycle {error.args[1][::-1]}; the graph must be acyclic") from error
    return counts


def _relus_of_paths(
    edges: Mapping[Node, Sequence[Node]], relu_nodes: Collection[Node], source: Node, sink: Node
) -> Iterator[int]:
    """Number of ReLUs on each path, by depth-first search without recursion: paths may be long."""
    stack = [(source, 0)]
    while stack:
        node, before = stack.pop()
        relus = before + (node in relu_nodes)
        if node == sink:
            yield relus
        else:
            stack.extend((successor, relus) for successor in edges[node])


def _append_chain(edges: dict[int, list[int]], start: int, length: int) -> int:
    """Append a chain of ``length`` new nodes after ``start``, with consecutive numbers; return the last node."""
    tip = start
    for node in range(len(edges), len(edges) + length):
        edges[tip].append(node)
        edges[node] = []
        tip = node
    return tip
