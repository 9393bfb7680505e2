"""Rows of S̄ whose statistics are known."""

from collections.abc import Callable

import numpy as np
import pytest

RowsOf = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def rows_of() -> RowsOf:
    """Rows of S̄ that scatter, and whose column means are those of the given η*."""

    def rows(*lr_star: float) -> np.ndarray:
        scatter = np.array([0.25, 0.5, 1.0, 2.25])
        return scatter[:, None] * np.array(lr_star, dtype=np.float64) ** -2

    return rows
