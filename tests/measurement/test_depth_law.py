"""Depth laws as results: JSON, scatter between draws, and draws of zero."""

import json
from functools import partial

import numpy as np
import pytest
import torch

import ammup
from ammup import InputError
from ammup.stats.power_law import fit_maximal_lr

ONES = torch.ones(1, 16)
SMALL = partial(ammup.mlp, width=16, in_features=16, out_features=16, readout="he")


def test_json_has_no_nan() -> None:
    law = ammup.depth_exponent(SMALL, [2, 4], inputs=ONES, seeds=1)
    text = json.dumps(law.to_dict(), allow_nan=False)
    assert json.loads(text)["slope_ci"] == [None, None]
    assert json.loads(text)["curve"][0]["depth"] == 2


def test_scatter_that_a_few_draws_carry_is_pointed_out() -> None:
    law = ammup.depth_exponent(partial(SMALL, width=32), [2, 64], inputs=ONES, part="label", seeds=12)
    assert law.noisy_depths == (64,)


def test_a_net_that_died_counts_as_a_draw_of_zero() -> None:
    """ReLU nets of width 2 die often: their S̄ is 0, and leaving them out would bias the mean."""
    law = ammup.depth_exponent(partial(SMALL, width=2), [2, 8], inputs=ONES, part="label", seeds=24)
    dead = law.table["S_bar"] == 0
    assert dead.any()
    assert np.isinf(law.table["lr_star"][dead]).all()
    np.testing.assert_allclose(law.curve["lr_star"], law.table.groupby("depth")["S_bar"].mean() ** -0.5)
    json.dumps(law.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match="not all 0"):
        fit_maximal_lr({2: [1.0], 4: [0.0, 0.0]})
