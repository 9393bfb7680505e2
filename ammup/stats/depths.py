"""Validation of depths, without SciPy: an invalid one is reported before anything that takes long is imported."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ammup.errors import InputError


def checked_depths(depths: Sequence[int] | ArrayLike, *, at_least: int = 1) -> tuple[int, ...]:
    """The depths as a tuple of distinct positive integers.

    Raises:
        InputError: other values, a repeated depth, or fewer than ``at_least`` depths.
    """
    try:
        values = np.atleast_1d(np.asarray(depths))
    except ValueError as error:  # lists of several lengths
        raise InputError(f"depths={depths!r}: expected integers of at least 1") from error
    if values.ndim != 1 or values.size < at_least:
        raise InputError(f"depths={depths!r} has {values.size} entries; give at least {at_least}")
    real = np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)
    if not real or not np.all(np.isfinite(values) & (values == np.floor(values)) & (values >= 1)):
        raise InputError(f"depths={depths!r}: expected integers of at least 1")
    integers = tuple(int(v) for v in values)
    if len(set(integers)) < len(integers):
        raise InputError(f"depths={list(integers)} contains a repeated depth; give each once")
    return integers
