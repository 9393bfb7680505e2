"""Probed edges, against nets whose edge is known, a loop of torch.optim and losses in closed form."""

import json
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ammup import InputError, cnn, load_data, probe_edges, transfer_lr, transfer_table
from ammup.measurement.edge_probe import MOST_RATES, NOT_TRAINED, edge_of_runs
from ammup.measurement.late_run import SgdRun
from ammup.models.factory import build_model

INPUTS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
BATCHES = [(INPUTS, INPUTS @ WEIGHTS.T)]


class _Scaled(nn.Module):
    """f(x) = depth · w x with f = 0 at the start: at depth d the curvature is d² times that at depth 1."""

    def __init__(self, depth: int, seed: int) -> None:
        super().__init__()
        self.depth = depth
        draw = torch.randn(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.weight = nn.Parameter(0.01 * draw / depth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.depth * x @ self.weight.T


def _curvature(depth: int) -> float:
    """The largest eigenvalue of the Hessian of half the mean squared error."""
    return float(depth**2 * torch.linalg.eigvalsh(INPUTS.T @ INPUTS / len(INPUTS))[-1])


def test_the_edge_of_a_quadratic_loss_is_two_over_its_curvature() -> None:
    edges = probe_edges(_Scaled, [1, 2, 4], loss="mse", lr=0.1, data=BATCHES, steps=60, seeds=2)
    curve = edges.curve.set_index("depth")["lr_star"]
    for depth in (1, 2, 4):
        # between the last learning rate that converges and the first one that diverges, which differ by two
        assert 0.5 < curve[depth] / (2 / _curvature(depth)) < 2
    # The runs at depth 2d and a learning rate of η/4 are those at depth d and η.
    assert curve[2] / curve[1] == pytest.approx(1 / 4, rel=1e-9)
    assert transfer_lr(0.3, 1, 4, rule="edge", edges=edges) == pytest.approx(0.3 / 16, rel=1e-9)
    assert edges.warnings == ()


@pytest.mark.parametrize("lr", [1e-3, 30.0])
def test_the_edge_is_found_from_below_and_from_above(lr: float) -> None:
    edge = probe_edges(_Scaled, [1], loss="mse", lr=lr, data=BATCHES, steps=60, seeds=1).curve["lr_star"][0]
    assert 0.5 < edge / (2 / _curvature(1)) < 2


def test_runs_are_those_of_torch_sgd_and_the_price_is_their_steps() -> None:
    data = load_data("synthetic", image_size=4, train=160, validation=16)
    net = partial(cnn, width=8)
    edges = probe_edges(net, [2], loss="cross_entropy", lr=0.5, data=data, steps=10, seeds=[3], batch_size=32)
    row = edges.table.iloc[0]
    model = build_model(net, 2, 3).train()
    sgd, losses = torch.optim.SGD(model.parameters(), lr=0.5), []
    batches = SgdRun(data=data, lr=0.5, steps=10, batch_size=32, loss="cross_entropy")._batches(
        3, 0, torch.device("cpu")
    )
    for (images, labels), _ in zip(batches, range(10), strict=False):
        sgd.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert row["loss"] == pytest.approx(np.mean(losses[-2:]), rel=1e-5)
    assert edges.training_steps == edges.table["steps"].sum() <= 10 * len(edges.table)
    table = transfer_table(0.1, 2, 2, edges=edges).set_index("rule")
    assert table.loc["edge", "price"] == edges.training_steps


def test_a_loss_above_chance_counts_as_chance() -> None:
    runs = pd.DataFrame(
        [(0, 0.1, 1.0, False), (0, 1.0, 0.5, False), (0, 10.0, 1e9, False), (0, 100.0, math.nan, True)],
        columns=["seed", "lr", "loss", "diverged"],
    )
    # The decrease of 1.5 at 1 halves in the middle of the straight line to the decrease of 0 at 10.
    assert edge_of_runs(runs, 2.0).lr == pytest.approx(10**0.5)


def test_diverged_runs_end_early_and_count_as_chance() -> None:
    edges = probe_edges(_Scaled, [1], loss="mse", lr=1e150, data=BATCHES, steps=60, seeds=1)
    first = edges.table.iloc[0]
    assert first["diverged"]
    assert first["steps"] < 60
    assert math.isnan(first["loss"])
    assert len(edges.table) == MOST_RATES  # none of them trains
    assert any(NOT_TRAINED in text for text in edges.warnings)


def test_the_loss_without_training_is_that_of_a_constant() -> None:
    inputs, labels = torch.ones(8, 3), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    for loss, targets, expected in [
        ("cross_entropy", labels, 0.5 * math.log(2) + 0.5 * math.log(4)),
        ("mse", labels.double()[:, None], float(labels.double().var(correction=0) / 2)),
        ("mse", labels, (0.25 + 2 * 0.25 * 0.75) / 6),
    ]:
        run = SgdRun(data=[(inputs, targets)], lr=0.1, steps=1, batch_size=8, loss=loss)
        assert run.constant_loss(0) == pytest.approx(expected)


def test_a_callable_loss_starts_at_its_first_value() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs, targets) / 2

    named = probe_edges(_Scaled, [1], loss="mse", lr=0.1, data=BATCHES, steps=30, seeds=1)
    given = probe_edges(_Scaled, [1], loss=loss, lr=0.1, data=BATCHES, steps=30, seeds=1)
    model = _Scaled(1, 0)
    assert given.chance[1] == pytest.approx(loss(model(INPUTS), BATCHES[0][1]).item())
    both = named.table.merge(given.table, on=["seed", "lr"]).dropna()
    assert len(both) > 3
    assert both["loss_x"].tolist() == pytest.approx(both["loss_y"].tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "lr=0.0 must be positive and finite"),
        ({"steps": 1}, "steps"),
        ({"seeds": []}, "at least one seed"),
        ({"depths": []}, "depths"),
        ({"loss": "hinge"}, "unknown loss='hinge'"),
    ],
)
def test_bad_arguments_are_reported(arguments: dict, message: str) -> None:
    given = {"factory": _Scaled, "depths": [1], "loss": "mse", "lr": 0.1, "data": BATCHES, "steps": 4} | arguments
    with pytest.raises(InputError, match=message):
        probe_edges(**given)


def test_json_has_no_nan() -> None:
    edges = probe_edges(_Scaled, [1], loss="mse", lr=0.1, data=BATCHES, steps=20, seeds=1)
    content = json.loads(json.dumps(edges.to_dict(), allow_nan=False))
    assert content["curve"][0]["se_log10"] is None  # of one seed
    assert content["curve"][0]["flags"] == []
    assert content["training_steps"] == edges.training_steps
    assert [run["diverged"] for run in content["runs"]] == edges.table["diverged"].tolist()
