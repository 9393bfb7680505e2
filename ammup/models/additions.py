"""The residual additions of a flow, which is the list of the operations of a forward (see `ammup.models.flow`).

A residual addition is a sum of two or more terms that all depend on one operation, the fork, where

* one term, the skip, is computed from the fork without any weight layer and without a product of computed tensors, and
  another term, the branch, has a weight layer; or
* the skip is a projection, weight layers without a nonlinear operation, and the branch is nonlinear or has more layers.

So two convolutions of one input that are added (reparametrization, RepVGG) are not a residual addition, unless an
identity is added too. Terms that read different parts of the fork, such as chunks of its channels, have no skip.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from posixpath import commonpath

from ammup.models.operation import ATTENTION, RECURRENT, SELECTIONS, Operation
from ammup.models.reachability import Reachability

ATTENTION_PRODUCT = "scaled_dot_product_attention"
PRODUCTS_OF_VALUES = ("mul", "multiply", "matmul", "mm", "bmm", "einsum", "baddbmm", ATTENTION_PRODUCT)
NONLINEAR = ("softmax", ATTENTION, *RECURRENT, *(f"{name}_cell" for name in RECURRENT))


def is_product(operation: Operation) -> bool:
    """Whether the operation multiplies two computed tensors."""
    return operation.function in PRODUCTS_OF_VALUES and len(operation.sources) > 1


def is_nonlinear(operation: Operation) -> bool:
    """Whether the operation applies an activation, multiplies computed tensors, or is a module that does so."""
    attention = operation.layer is not None and operation.function == "" and operation.weight == ""
    return operation.activation is not None or is_product(operation) or operation.kind in NONLINEAR or attention


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
        """Describe the sum at index ``i``.

        If a term is itself a sum that no other operation reads, its terms are terms of this sum: x + f(x) + g(x).
        """
        terms = sources = self.flow[i].sources
        addition = self._residual(sources)
        if addition is None or addition.skip:
            inner = [source for source in sources if source in self._terms and self._readers[source] == [i]]
            merged = tuple(t for source in sources for t in (self._terms[source] if source in inner else (source,)))
            other = self._residual(merged)
            replaced = [self.found[source].fork for source in inner if source in self.found]
            if other is not None and all(fork == other.fork for fork in replaced):
                terms, addition = merged, other
                for source in inner:
                    self.found.pop(source, None)
        self._terms[i] = terms
        if addition is not None:
            self.found[i] = addition

    def blocks(self, stream: Collection[int]) -> dict[int, ResidualAddition]:
        """The additions that are residual blocks: those on the stream with at least one branch layer on the stream.

        An addition inside the branch of a block is part of that block and is not returned. A skip connection over the
        complete net, which is added in the module that contains all weight layers, does not count as such a block.

        Args:
            stream: indices of the operations on the paths from the inputs to the main output.
        """
        found = {
            i: block
            for i, block in self.found.items()
            if i in stream and any(layer in stream for layer in block.branch)
        }
        owners = {str(o.layer).rpartition(".")[0].replace(".", "/") for o in self.flow if o.layer is not None}
        net = commonpath(owners).replace("/", ".") if owners else ""
        inside = 0
        for i, block in found.items():
            if re.split("[:@]", self.flow[i].name)[0] != net:
                inside |= self._reach.span(block.fork, i) & ~(1 << i)
        return {i: block for i, block in found.items() if not inside >> i & 1}

    def _residual(self, terms: tuple[int, ...]) -> ResidualAddition | None:
        """The residual addition of these terms, or None."""
        fork = self._reach.latest_common(*terms) if len(terms) > 1 else None
        if fork is None or not any(self._reach.depends(fork, i) for i in self._inputs):
            return None
        spans = sorted((self._reach.span(fork, term) for term in terms), key=self._simplicity)
        identities = [span for span in spans if not span & (self._layers | self._products)]
        skips = identities or spans[:1]
        others = [span for span in spans if span not in skips]
        branch, skip = reduce(or_, others, 0), skips[0]
        if not branch & self._layers or self._reads_other_parts(fork, skip, branch):
            return None
        if not identities and not self._is_projection(skip, others):
            return None
        return ResidualAddition(fork=fork, skip=_places(skip & self._layers), branch=_places(branch & self._layers))

    def _simplicity(self, span: int) -> tuple[int, bool]:
        """(Number of weight layers in a bit mask, whether an operation is nonlinear). The skip is the smallest term."""
        return (span & self._layers).bit_count(), bool(span & self._nonlinear)

    def _is_projection(self, skip: int, others: Sequence[int]) -> bool:
        """Whether the skip has linear layers only, and another term is nonlinear or has more layers."""
        n_layers = (skip & self._layers).bit_count()
        deeper = any(span & self._nonlinear or (span & self._layers).bit_count() > n_layers for span in others)
        return n_layers > 0 and not skip & self._nonlinear and deeper

    def _reads_other_parts(self, fork: int, one: int, other: int) -> bool:
        """Whether the operations in two bit masks read different parts of the fork, such as two chunks."""
        readers = [[i for i in self._readers[fork] if span >> i & 1] for span in (one, other)]
        parts = [all(self.flow[i].function in SELECTIONS for i in places) for places in readers if places]
        return len(parts) == len(readers) and all(parts) and not set(readers[0]) & set(readers[1])


def _mask(places: Iterable[int]) -> int:
    return sum(1 << place for place in places)


def _places(mask: int) -> tuple[int, ...]:
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
