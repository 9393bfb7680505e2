"""Lemma 4: the statistic on rows with a known result, and the tangent kernel against gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ammup.claims.claim import claim_named
from ammup.claims.draws import step_of, unit_vjp
from ammup.claims.statements import lemma4
from ammup.claims.statements.lemma4 import CLAIMS
from ammup.claims.statements.settings import DENSE

SCATTER = np.array([[0.25], [0.5], [1.0], [2.25]])  # of mean 1


def test_s_is_compared_with_the_kernel_at_two_units() -> None:
    claim = claim_named(CLAIMS, "lemma-4.magnitude")
    rows = SCATTER * np.array([2.0, 3.0, 5.0, 15.0])
    assert claim.statistic(rows) == pytest.approx(np.log((3 / 15) / (2 / 5)))


def test_the_tangent_kernel_is_the_jacobian_times_its_transpose() -> None:
    sizes = {"width": 6, "in_channels": 6, "out_channels": 6}
    setting = replace(DENSE.with_arguments(branch=1, **sizes).at(3), inputs=("ones", 6))
    step = step_of(setting, 0)
    u, v = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0))
    for unit in (0, 2):
        ours = lemma4._kernel_vector(step, unit, v)
        squares = sum(float(g.double().square().sum()) for g in unit_vjp(step, unit, v).values())
        assert float((v * ours).sum()) == pytest.approx(squares, rel=1e-4)
        other = lemma4._kernel_vector(step, unit, u)
        assert float((u * ours).sum()) == pytest.approx(float((v * other).sum()), rel=1e-3, abs=1e-4)
