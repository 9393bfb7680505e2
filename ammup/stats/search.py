"""Which learning rates of a grid to train, how far, and which to drop: fewer steps for nearly the same best one.

Places are those of the learning rates in their ascending grid.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

# Shares of training at which learning rates are compared.
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
# A learning rate is dropped where its training loss is more than this above the lowest one, in nats, or where so many
# others have a lower one; but so many are kept, for a parabola through the best (stats/peak.py).
MARGIN, MOST, FEWEST = 0.15, 11, 5
# The loss that is compared is the mean over this share of the steps.
RECENT = 1 / 16
# The bracket that is tried first, around the start: every second place, from so many below to so many above. It grows
# until the best is so far from both of its ends.
BELOW, ABOVE, STRIDE, CLEARANCE = 4, 6, 2, 4


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What is to be trained next: all these places up to that share of their steps. Others are not asked for again."""

    places: tuple[int, ...]
    share: float


def adaptive_search(points: int, start: int) -> Generator[Rung, Mapping[int, float], tuple[int, ...]]:
    """Ask for parts of training runs, be sent their losses, and return the places that are to be trained to the end.

    The bracket around the start grows at the first share of the steps until the lowest training loss is well inside;
    then come the places between. At each further share those are dropped whose loss is above the lowest by more than
    MARGIN, or that are not among the MOST lowest, but the FEWEST lowest are kept. The losses are of one seed and on the
    same minibatches: they differ by their learning rate alone.

    How often that drops the best one, and what it saves: ``python benchmarks/adaptive_search.py RUNS.db``.

    Args:
        points: of the grid.
        start: the place to begin around, that of the measured η*.

    Yields:
        A rung; it is to be answered by ``send`` with the recent training loss of each of its places, infinite where a
        replica diverged.

    Returns:
        The places that are left, ascending; none where all diverge.

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
    wanted = {*range(start, max(-1, start - BELOW - 1), -STRIDE), *range(start, min(points, start + ABOVE + 1), STRIDE)}
    losses: dict[int, float] = {}
    while new := wanted - losses.keys():
        sent = yield Rung(places=tuple(sorted(new | losses.keys())), share=first)
        losses |= sent
        best = min(losses, key=lambda place: (losses[place], place))
        low, high = min(losses), max(losses)
        wanted |= {max(low - STRIDE, 0)} if best - low < CLEARANCE else set()
        wanted |= {min(high + STRIDE, points - 1)} if high - best < CLEARANCE and losses[high] < float("inf") else set()
    between = {place + side for place in _kept(losses) for side in (-1, 1) if 0 <= place + side < points}
    if between - losses.keys():
        losses |= yield Rung(places=tuple(sorted(between | losses.keys())), share=first)
    kept = _kept(losses)
    for share in SHARES[1:]:
        if not kept:
            break
        losses = dict((yield Rung(places=kept, share=share)))
        kept = _kept(losses)
    return kept


def _kept(losses: Mapping[int, float]) -> tuple[int, ...]:
    """Places that are near enough to the best."""
    ranked = sorted((loss, place) for place, loss in losses.items() if loss < float("inf"))
    near = [place for rank, (loss, place) in enumerate(ranked) if rank < FEWEST or loss <= ranked[0][0] + MARGIN]
    return tuple(sorted(near[:MOST]))
