"""Dependencies of operations against networkx, on random graphs."""

import networkx as nx
import numpy as np
import pytest

from ammup.models.reachability import Reachability


def _random(seed: int, size: int = 25) -> tuple[Reachability, nx.DiGraph]:
    """A graph in which an operation takes none, one or two of those before it."""
    rng = np.random.default_rng(seed)
    sources = [tuple(rng.choice(i, min(i, rng.integers(3)), replace=False).tolist()) for i in range(size)]
    graph = nx.DiGraph()
    graph.add_nodes_from(range(size))
    graph.add_edges_from((source, i) for i, taken in enumerate(sources) for source in taken)
    return Reachability(sources), graph


@pytest.mark.parametrize("seed", range(5))
def test_an_operation_depends_on_its_ancestors_and_on_itself(seed: int) -> None:
    reach, graph = _random(seed)
    for later in graph:
        before = {earlier for earlier in graph if reach.depends(later, earlier)}
        assert before == nx.ancestors(graph, later) | {later}


@pytest.mark.parametrize("seed", range(5))
def test_questions_about_several_leave_out_the_operation_itself(seed: int) -> None:
    reach, graph = _random(seed)
    chosen = set(np.random.default_rng(seed).choice(len(graph), 4, replace=False).tolist())
    for place in graph:
        assert reach.depends_on_any(place, chosen) == bool(nx.ancestors(graph, place) & chosen)
        assert reach.reaches_any(place, chosen) == bool(nx.descendants(graph, place) & chosen)


@pytest.mark.parametrize("seed", range(5))
def test_the_latest_common_operation_is_the_last_of_the_common_ancestors(seed: int) -> None:
    reach, graph = _random(seed)
    for one in graph:
        for other in graph:
            common = (nx.ancestors(graph, one) | {one}) & (nx.ancestors(graph, other) | {other})
            assert reach.latest_common(one, other) == max(common, default=None)


def test_the_latest_common_operation_need_not_dominate() -> None:
    """0 → 1 → 2, 0 → 2 and 1 → 3: both terms of the sum 3 depend on 1, which the path 0 → 2 → 3 avoids."""
    sources = [(), (0,), (1, 0), (1, 2)]
    graph = nx.DiGraph((source, i) for i, taken in enumerate(sources) for source in taken)
    assert Reachability(sources).latest_common(1, 2) == 1
    assert nx.immediate_dominators(graph, 0)[3] == 0


@pytest.mark.parametrize("seed", range(5))
def test_between_two_operations_are_the_inner_places_of_all_paths_and_the_end(seed: int) -> None:
    reach, graph = _random(seed, size=12)
    for start in graph:
        for end in graph:
            on_paths = {place for path in nx.all_simple_paths(graph, start, end) for place in path} - {start}
            assert set(reach.between(start, end, graph)) == on_paths
            assert reach.between(start, end, [end, start]) == ((end,) if end in on_paths else ())
