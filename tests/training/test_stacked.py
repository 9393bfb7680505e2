"""Stacks: their size, selections of replicas, and models that cannot be stacked."""

from functools import partial

import numpy as np
import pytest
import torch
from naive_training import NETS, feed_of
from torch import nn

from ammup.data.dataset import Data
from ammup.errors import InputError
from ammup.models.factory import build_model
from ammup.training.runs import Training
from ammup.training.stacked import StackedReplicas, StackedTrainer

LRS = [0.01, 0.3, 3.0]


def test_smaller_stacks_give_the_same_training(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    build = partial(build_model, NETS["cnn"], 3)
    large = StackedTrainer(build, feed_of(data), Training(batch_size=16, dtype="float64"))
    expected = large.train(LRS, 0)
    monkeypatch.setattr("ammup.training.stacked.CPU_BYTES", 1)
    small = StackedTrainer(build, feed_of(data), Training(batch_size=16, dtype="float64"))
    actual = small.train(LRS, 0)
    assert (large.size or 0) > 1
    assert small.size == 1
    for a, b in zip(expected, actual, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-10)


def test_the_size_of_a_stack_is_the_largest_within_the_limit(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica counts twice the outputs of all modules for 16 images; the logits also as output of the Sequential."""
    build = lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 10))  # noqa: E731
    bytes_per_replica = 2 * 16 * 4 * (192 + 12 + 12 + 10 + 10)
    for limit, expected in ((3 * bytes_per_replica, 3), (3 * bytes_per_replica - 1, 2), (0, 1)):
        monkeypatch.setattr("ammup.training.stacked.CPU_BYTES", limit)
        trainer = StackedTrainer(build, feed_of(data, dtype=torch.float32), Training(batch_size=16))
        assert trainer.group_size(0) == expected


def test_weights_are_copies_and_a_selection_keeps_the_order(data: Data) -> None:
    training = Training(batch_size=16, dtype="float64", momentum=0.9)
    model = build_model(NETS["frozen layer"], 3, 0).double()
    group = StackedReplicas(model, feed_of(data), training, LRS, 0)
    group.advance(2)
    complete = [group.weights(i) for i in range(3)]
    group.select(torch.tensor([True, False, True]))
    assert group.active.tolist() == [0, 2]
    assert group.lrs.tolist() == [0.01, 3.0]
    selected = [group.weights(i) for i in range(2)]
    for one, earlier in zip(selected, (complete[0], complete[2]), strict=True):
        assert all(torch.equal(one[name], value) for name, value in earlier.items())
    group.advance(3)
    for i, earlier in enumerate(selected):
        changed = {name for name, value in group.weights(i).items() if not torch.equal(value, earlier[name])}
        assert changed == {name for name, p in model.named_parameters() if p.requires_grad}


def test_error_for_a_model_that_vmap_rejects_recommends_the_loop(data: Data) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = nn.Linear(192, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z: torch.Tensor = self.readout(x.flatten(1))
            return z if z.sum().item() < 1e9 else -z  # item() of a batched tensor is an error

    trainer = StackedTrainer(lambda seed: Branching(), feed_of(data, dtype=torch.float32), Training(batch_size=16))
    with pytest.raises(InputError, match=r"cannot be trained in a stack .*item.*; use strategy='loop'"):
        trainer.train(LRS, 0)
