"""The residual additions of a flow.

A residual addition is a sum of two or more terms that all depend on one operation, the fork, where

* one term, the skip, is computed from the fork without any weight layer and without a product of computed tensors, and
  another term, the branch, has a weight layer; or
* the skip is a projection, one or more weight layers without a nonlinear operation, and the branch is nonlinear.

So two convolutions of one input that are added (reparametrization, RepVGG) are not a residual addition, unless an
identity is added too. Terms that read different parts of the fork, such as chunks of its channels, have no skip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from ammup.models.operation import ATTENTION, RECURRENT, SELECTIONS, Operation
from ammup.models.reachability import Reachability

ATTENTION_PRODUCT = "scaled_dot_product_attention"
PRODUCTS_OF_VALUES = ("mul", "multiply", "matmul", "mm", "bmm", "einsum", "baddbmm", ATTENTION_PRODUCT)
NONLINEAR = ("softmax", ATTENTION, *RECURRENT, *(f"{name}_cell" for name in RECURRENT))


def is_product(operation: Operation) -> bool:
    """Whether it multiplies two computed tensors."""
    return operation.function in PRODUCTS_OF_VALUES and len(operation.sources) > 1


def is_nonlinear(operation: Operation) -> bool:
    """Whether it applies an activation, multiplies computed tensors, or contains either."""
    inside = operation.layer is not None and operation.function == "" and operation.weight == ""  # attention
    return operation.activation is not None or is_product(operation) or operation.kind in NONLINEAR or inside


@dataclass(frozen=True, kw_only=True)
class ResidualAddition:
    """A residual addition.

    Attributes:
        fork: index of the operation that all terms depend on.
        skip: indices of the weight layers of the skip, a projection.
        branch: indices of the weight layers of the branches.
    """

    fork: int
    skip: tuple[int, ...]
    branch: tuple[int, ...]


class Additions:
    """Finds the residual additions of a flow; ``found`` maps the index of each sum to its description."""

    def __init__(self, flow: Sequence[Operation], reach: Reachability) -> None:
        self.flow, self._reach = flow, reach
        self._layers = _mask(i for i, operation in enumerate(flow) if operation.layer is not None)
        self._nonlinear = _mask(i for i, operation in enumerate(flow) if is_nonlinear(operation))
        self._products = _mask(i for i, operation in enumerate(flow) if is_product(operation))
        self._inputs = [i for i, operation in enumerate(flow) if operation.is_input]
        self._readers: list[list[int]] = [[] for _ in flow]
        for i, operation in enumerate(flow):
            for source in operation.sources:
                self._readers[source].append(i)
        self.found: dict[int, ResidualAddition] = {}
        self._terms: dict[int, tuple[int, ...]] = {}
        for i, operation in enumerate(flow):
            if operation.function == "add":
                self._add(i)

    def _add(self, i: int) -> None:
        """Describe a sum. The terms of a sum that only this one reads are terms of this one (x + f(x) + g(x))."""
        sources = self.flow[i].sources
        inner = [source for source in sources if source in self._terms and self._readers[source] == [i]]
        terms = tuple(t for source in sources for t in (self._terms[source] if source in inner else (source,)))
        addition = self._residual(terms)
        replaced = [self.found[source].fork for source in inner if source in self.found]
        if addition is not None and all(fork == addition.fork for fork in replaced):
            for source in inner:
                self.found.pop(source, None)
        else:
            terms, addition = sources, self._residual(sources)
        self._terms[i] = terms
        if addition is not None:
            self.found[i] = addition

    def _residual(self, terms: tuple[int, ...]) -> ResidualAddition | None:
        """The residual addition of these terms, or None."""
        fork = self._reach.latest_common(*terms) if len(terms) > 1 else None
        if fork is None or not any(self._reach.depends(fork, i) for i in self._inputs):
            return None
        spans = sorted((self._reach.span(fork, term) for term in terms), key=lambda s: (s & self._layers).bit_count())
        identities = [span for span in spans if not span & (self._layers | self._products)]
        skips = identities or spans[:1]
        others = [span for span in spans if span not in skips]
        branch, skip = reduce(or_, others, 0), skips[0]
        if not branch & self._layers or self.reads_other_parts(fork, skip, branch):
            return None
        if not identities and (not skip & self._layers or skip & self._nonlinear or not branch & self._nonlinear):
            return None
        return ResidualAddition(fork=fork, skip=_places(skip & self._layers), branch=_places(branch & self._layers))

    def reads_other_parts(self, fork: int, one: int, other: int) -> bool:
        """Whether the operations in two bit masks read different parts of the fork, such as two chunks."""
        readers = [[i for i in self._readers[fork] if span >> i & 1] for span in (one, other)]
        parts = [all(self.flow[i].function in SELECTIONS for i in places) for places in readers if places]
        return len(parts) == len(readers) and all(parts) and not set(readers[0]) & set(readers[1])


def _mask(places: Iterable[int]) -> int:
    return sum(1 << place for place in places)


def _places(mask: int) -> tuple[int, ...]:
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
