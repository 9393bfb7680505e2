"""Rules that read a learning rate off the curve of a range test."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SKIPPED, SKIPPED_LAST = 10, 5  # points at both ends that torch-lr-finder and fastai leave out


def trimmed(lrs: Array, losses: Array) -> tuple[Array, Array]:
    """The curve without its ends."""
    return lrs[SKIPPED:-SKIPPED_LAST], losses[SKIPPED:-SKIPPED_LAST]


def steepest(lrs: Array, losses: Array) -> float:
    """The suggestion of torch-lr-finder: the rate at which the loss falls fastest (`LRFinder.plot`)."""
    lrs, losses = trimmed(lrs, losses)
    return float(lrs[int(np.gradient(losses).argmin())])


def valley(lrs: Array, losses: Array) -> float:
    """The suggestion of fastai: about the middle of the longest decreasing subsequence of losses.

    That is `valley` in fastai/callback/schedule.py (fastai 2, Apache-2.0), the default of `Learner.lr_find`.
    """
    lrs, losses = trimmed(lrs, losses)
    lengths = np.ones(losses.size, dtype=np.int64)
    for place in range(1, losses.size):
        lengths[place] = 1 + max(lengths[:place][losses[:place] > losses[place]], default=0)
    end, third = int(lengths.argmax()), int(lengths.max()) / 3
    # The subsequence is read as if it had no gaps, as fastai does.
    start = end - int(lengths.max()) if lengths.max() > 1 else 0
    return float(lrs[start + int(third) + int(third / 2)])
