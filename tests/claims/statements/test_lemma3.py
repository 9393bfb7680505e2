"""Lemma 3: statistics on rows with a known result."""

import numpy as np
import pytest

from ammup.claims.claim import claim_named
from ammup.claims.statements import lemma3
from ammup.claims.statements.lemma3 import CLAIMS, COMPARED, RECURSIONS

SCATTER = np.array([[0.25], [0.5], [1.0], [2.25]])  # of mean 1


def _statistic(name: str, *means: float) -> float:
    """The statistic of a claim on scattered rows with these column means."""
    return claim_named(CLAIMS, name).statistic(SCATTER * np.array(means))


def test_rows_that_follow_the_recursion_have_the_estimate_1() -> None:
    growths = [(1 + c / (2 * n_blocks)) ** n_blocks for c, n_blocks in RECURSIONS]
    means = [value for growth in growths for value in (0.7, 0.7 * growth)]
    assert _statistic("lemma-3.recursion", *means) == pytest.approx(1)
    assert _statistic("lemma-3.upper-bound", *means) == pytest.approx(np.log(1.5**4) / 2)
    assert _statistic("lemma-3.lower-bound", *means) == pytest.approx(16 * np.log1p(1 / 64) / 0.25)


def test_a_residual_net_is_compared_with_a_plain_one_at_two_depths() -> None:
    assert _statistic("lemma-3.comparison", 2.0, 3.0, 5.0, 15.0) == pytest.approx(np.log((3 / 15) / (2 / 5)))
    residual, plain = (setting.law() ** -2 for setting in COMPARED)
    assert lemma3._comparison_law() == pytest.approx(np.log(residual[1] / plain[1] / (residual[0] / plain[0])))
