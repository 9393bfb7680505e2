"""The stream of a forward, from its inputs to its main output, and the paths with the most and the fewest units.

Gates are not part of the stream. A gate is a factor of a product that only scales the other factor:

* attention weights: a value that is computed from a softmax;
* a bounded value (sigmoid, tanh, …) that is computed by weight layers from the value that it multiplies
  (squeeze-and-excitation).
"""

from collections.abc import Iterable, Sequence

from ammup.models.additions import ATTENTION_PRODUCT, is_product
from ammup.models.operation import Operation
from ammup.models.reachability import Reachability

BOUNDED = ("softmax", "sigmoid", "hardsigmoid", "tanh", "hardtanh", "relu6", "clamp", "clip")


class MainPath:
    """The stream of a flow to one output.

    Args:
        flow: the operations.
        reach: the dependencies between the operations.
        output: index of the main output.
    """

    def __init__(self, flow: Sequence[Operation], reach: Reachability, output: int) -> None:
        self._flow, self._reach, self._output = flow, reach, output
        self._layers = [i for i, operation in enumerate(flow) if operation.layer is not None]
        attention = _derived(flow, ("softmax",), through_layers=True)
        bounded = _derived(flow, BOUNDED, through_layers=False)
        self._sources = [self._stream_sources(i, attention, bounded) for i in range(len(flow))]

    def members(self) -> frozenset[int]:
        """The operations on any path of the stream."""
        found = {self._output}
        for i in range(self._output, -1, -1):
            if i in found:
                found.update(self._sources[i])
        return frozenset(found)

    def longest(self, counted: Iterable[int]) -> list[int]:
        """The counted operations on the path that has the most of them."""
        return self._extreme(frozenset(counted), sign=1)

    def shortest(self, counted: Iterable[int]) -> list[int]:
        """The counted operations on the path that has the fewest of them."""
        return self._extreme(frozenset(counted), sign=-1)

    def _extreme(self, counted: frozenset[int], *, sign: int) -> list[int]:
        lengths: list[int | None] = []  # counted operations on the best path to each operation; None without a path
        previous: list[int | None] = []
        for i, operation in enumerate(self._flow):
            lengths.append(0 if operation.is_input else None)
            previous.append(None)
            for source in self._sources[i]:
                length, best = lengths[source], lengths[i]
                if length is not None and (best is None or sign * length > sign * best):
                    lengths[i], previous[i] = length, source
            length = lengths[i]
            if length is not None and i in counted:
                lengths[i] = length + 1
        path: list[int] = []
        place: int | None = self._output
        while place is not None:
            path.append(place)
            place = previous[place]
        return [i for i in reversed(path) if i in counted]

    def _stream_sources(self, i: int, attention: Sequence[bool], bounded: Sequence[bool]) -> tuple[int, ...]:
        """The sources of an operation, except those that are gates."""
        operation = self._flow[i]
        sources = operation.sources
        if not is_product(operation):
            return sources
        if operation.function == ATTENTION_PRODUCT:  # query, key, value and perhaps a mask
            return sources[2:3] or sources
        if any(attention[source] for source in sources) and not all(attention[source] for source in sources):
            return tuple(source for source in sources if not attention[source])
        gates = [s for s in sources if bounded[s] and len(sources) == 2 and self._scales(s, sources)]
        return sources if len(gates) != 1 else tuple(source for source in sources if source not in gates)

    def _scales(self, gate: int, factors: Sequence[int]) -> bool:
        """Whether one of two factors, ``gate``, has weight layers after the latest common operation, but not the other.

        The latest common operation is the last one that both factors depend on.
        """
        (stream,) = set(factors) - {gate}
        fork = self._reach.latest_common(gate, stream)
        if fork is None:
            return False
        return bool(self._reach.between(fork, gate, self._layers)) and not self._reach.between(
            fork, stream, self._layers
        )


def _derived(flow: Sequence[Operation], kinds: Sequence[str], *, through_layers: bool) -> list[bool]:
    """For each operation, whether it is of one of these kinds, or computed only from such operations."""
    found: list[bool] = []
    for operation in flow:
        passes = bool(operation.sources) and (through_layers or operation.layer is None)
        found.append(operation.kind in kinds or (passes and all(found[source] for source in operation.sources)))
    return found
