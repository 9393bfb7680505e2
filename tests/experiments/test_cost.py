"""Estimated cost of a sweep."""

from dataclasses import replace

import pandas as pd
import pytest

from ammup.experiments.cost import Cost, estimate_cost
from ammup.experiments.experiment import Experiment


def test_hours_and_operations_are_sums_over_the_missing_cells() -> None:
    table = pd.DataFrame({"depth": [2, 3], "cells": [4, 2], "flops": [8e9, 6e9], "seconds": [10.0, 20.0]})
    cost = Cost(table=table, workers=2, strategy="loop", searched=False)
    assert cost.flops == 14e9
    assert cost.hours == pytest.approx((4 * 10 + 2 * 20) / 2 / 3600)


def test_operations_are_counted_from_the_layers(small: Experiment) -> None:
    """There are two operations per multiplication, three passes over 512 images and one pass over 128 images."""
    cells = [cell for cell in small.cells() if cell.depth == 2]
    cost = estimate_cost(small, cells, workers=1, device="cpu")
    (row,) = cost.table.to_dict("records")
    forward = 2 * (64 * (3 * 4 + 4 * 4) * 9 + 4 * 10)
    assert (row["depth"], row["cells"]) == (2, len(cells))
    assert row["flops"] == pytest.approx(len(cells) * forward * (3 * 512 + 128), rel=1e-6)
    assert row["seconds"] > 0


def test_a_search_uses_at_most_one_worker_per_depth_and_seed(small: Experiment) -> None:
    adaptive = replace(small, search="adaptive")
    cost = estimate_cost(adaptive, [cell for cell in small.cells() if cell.depth == 2], workers=16, device="cpu")
    assert (cost.workers, cost.searched) == (2, True)
