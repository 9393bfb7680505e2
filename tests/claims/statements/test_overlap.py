"""Overlap counting: sums against loops, and second moments against the closed form of the last layer."""

import numpy as np
import pytest
import torch

from ammup.claims.claim import claim_named, examine
from ammup.claims.statements import overlap
from ammup.claims.statements.overlap import CLAIMS
from ammup.stats.verdicts import HOLDS


def test_the_double_loop_counts_pairs() -> None:
    assert [overlap._double_loop(depth) for depth in (1, 2, 3)] == [1, 5, 14]


def test_the_identity_is_checked_at_60_depths_without_error() -> None:
    claim = claim_named(CLAIMS, "overlap.sum-identity")
    assert claim.rows(range(60)).tolist() == [[0]] * 60
    assert claim.statistic(np.array([[0.0], [2.0], [1.0]])) == 2
    assert examine(claim).verdict == HOLDS


def test_the_order_is_the_ratio_of_the_sums() -> None:
    claim = claim_named(CLAIMS, "overlap.sum-order")
    rows = claim.rows(range(1000))
    for depth in (1, 2, 7):
        layers = range(1, depth + 1)
        ours = sum(1 + 2 * (depth - max(one, other)) for one in layers for other in layers)
        assert rows[depth - 1, 0] == pytest.approx(ours / overlap._double_loop(depth))


def test_growth_is_the_log_of_the_last_over_the_first(rows_of) -> None:
    claim = claim_named(CLAIMS, "overlap.growth")
    assert claim.statistic(rows_of(1, 8**-0.5)) == pytest.approx(np.log(8)) == claim.stated.centre
    assert claim.guarded.centre == pytest.approx(np.log(1 / 15))  # 1 + 2 (l - h) is 15 at h = 1 and 1 at h = l = 8


def test_the_second_moment_of_the_last_layer_is_that_of_the_identity() -> None:
    """z = W x, so J Jᵀ v = |x|² v for the weights of the last layer."""
    rows = overlap._second_moments(range(4, 6))
    for seed, row in zip(range(4, 6), rows, strict=True):
        v = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        assert row[1] == pytest.approx(float(v.square().mean()), rel=1e-4)
        assert row[0] != pytest.approx(row[1], rel=0.01)
