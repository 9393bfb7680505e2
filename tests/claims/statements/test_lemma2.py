"""Lemma 2: statistics on rows with a known result."""

import numpy as np
import pytest

from ammup.claims.claim import claim_named
from ammup.claims.statements.lemma2 import CLAIMS

SCATTER = np.array([[0.25], [0.5], [1.0], [2.25]])  # of mean 1


def _statistic(name: str, *means: float) -> float:
    """The statistic of a claim on scattered rows with these column means."""
    return claim_named(CLAIMS, name).statistic(SCATTER * np.array(means))


def test_parts_are_compared_by_the_means_of_their_columns() -> None:
    assert _statistic("lemma-2.sum", 2.0, 2.5) == pytest.approx(np.log(1.25))
    assert _statistic("lemma-2.unit-wise", 2.0, 2.5) == pytest.approx(np.log(1.25))
    for name in ("he", "mean-field"):
        slope = _statistic(f"lemma-2.output-part-{name}", 3 / 64, 3, 5 / 256, 5)
        assert slope == pytest.approx(-1)
