"""Adaptive search over a grid of learning rates: fewer training steps for nearly the same best learning rate.

A place is the index of a learning rate in the ascending grid.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

# Learning rates are compared after these shares of the training steps.
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
# A learning rate is dropped if its training loss exceeds the lowest by more than MARGIN (nats), or if at least MOST
# others have a lower loss. The FEWEST best are never dropped, because a parabola is fitted to them
# (stats/peak.py).
MARGIN, MOST, FEWEST = 0.15, 11, 5
# The loss that is compared is the mean over this share of the steps.
RECENT = 1 / 16
# The first bracket around the start: every STRIDE-th place, from BELOW places below the start to ABOVE places above it.
# The bracket grows until the best place is at least CLEARANCE places from both ends.
BELOW, ABOVE, STRIDE, CLEARANCE = 4, 6, 2, 4


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A request to train the learning rates at ``places`` up to the fraction ``share`` of the training steps."""

    places: tuple[int, ...]
    share: float


def adaptive_search(points: int, start: int) -> Generator[Rung, Mapping[int, float], tuple[int, ...]]:
    """Generate requests for training losses, and return the places to train to the end.

    Losses are compared after increasing shares of the training steps. At the first share, the bracket around the start
    grows until the lowest training loss is well inside; then the places next to the best ones are added. At each later
    share, places are dropped whose loss exceeds the lowest by more than MARGIN or that are not among the MOST best. The
    FEWEST best that did not diverge are never dropped. All losses must come from one seed and the same minibatches, so
    that only the learning rate differs.

    ``python benchmarks/adaptive_search.py RUNS.db`` measures how many steps this saves and how often it drops the best
    learning rate.

    Args:
        points: number of learning rates in the grid.
        start: the place at which the search begins: that of the measured η*.

    Yields:
        A rung. The caller sends back the recent training loss of each of its places, infinite if the replica diverged.

    Returns:
        The remaining places, ascending; an empty tuple if all diverged.

    Example:
        >>> from ammup.stats.search import adaptive_search
        >>> search, steps = adaptive_search(40, start=20), 0
        >>> rung = next(search)
        >>> try:
        ...     while True:  # the loss is a parabola with its minimum at place 28
        ...         rung = search.send({place: (place - 28) ** 2 / 100 for place in rung.places})
        ... except StopIteration as end:
        ...     print(end.value)
        (25, 26, 27, 28, 29, 30, 31)
    """
    first = SHARES[0]
    below = range(start, max(-1, start - BELOW - 1), -STRIDE)
    above = range(start, min(points, start + ABOVE + 1), STRIDE)
    wanted = {*below, *above}
    losses: dict[int, float] = {}
    while new := wanted - losses.keys():
        sent = yield Rung(places=tuple(sorted(new | losses.keys())), share=first)
        losses |= sent
        best = min(losses, key=lambda place: (losses[place], place))
        low, high = min(losses), max(losses)
        if best - low < CLEARANCE:
            wanted.add(max(low - STRIDE, 0))
        if high - best < CLEARANCE and losses[high] < float("inf"):
            wanted.add(min(high + STRIDE, points - 1))
    neighbours = {place + side for place in _survivors(losses) for side in (-1, 1) if 0 <= place + side < points}
    if neighbours - losses.keys():
        losses |= yield Rung(places=tuple(sorted(neighbours | losses.keys())), share=first)
    survivors = _survivors(losses)
    for share in SHARES[1:]:
        if not survivors:
            break
        losses = dict((yield Rung(places=survivors, share=share)))
        survivors = _survivors(losses)
    return survivors


def _survivors(losses: Mapping[int, float]) -> tuple[int, ...]:
    """The places that are not dropped, ascending."""
    ranked = sorted((loss, place) for place, loss in losses.items() if loss < float("inf"))
    good = [place for rank, (loss, place) in enumerate(ranked) if rank < FEWEST or loss <= ranked[0][0] + MARGIN]
    return tuple(sorted(good[:MOST]))
