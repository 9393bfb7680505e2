"""`train_replicas`: its records, its arguments, and the choice of a strategy."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from naive_training import NETS, STEPS, feed_of
from torch import nn

import ammup
from ammup.data.dataset import Data
from ammup.errors import InputError
from ammup.models.factory import build_model
from ammup.training import replicas
from ammup.training.replicas import choose_strategy
from ammup.training.runs import Training

LRS = [0.01, 0.3, 3.0]


def test_runs_of_both_strategies_record_the_same_training(data: Data) -> None:
    lrs = [0.3, 1e30]
    runs = {
        strategy: ammup.train_replicas(
            NETS["cnn"], 3, lrs=lrs, seeds=[0, 1], data=data, batch_size=16, strategy=strategy, dtype="float64"
        )
        for strategy in ("loop", "stacked")
    }
    for looped, stacked in zip(runs["loop"], runs["stacked"], strict=True):
        assert (looped.lr, looped.seed, looped.depth) == (stacked.lr, stacked.seed, stacked.depth)
        assert (looped.diverged, looped.steps) == (stacked.diverged, stacked.steps)
        assert looped.val_accuracy == stacked.val_accuracy or looped.diverged
        np.testing.assert_allclose(looped.val_loss, stacked.val_loss, rtol=1e-10)
        np.testing.assert_allclose(looped.curve, stacked.curve, rtol=1e-10)
    good, diverged = runs["loop"][:2]
    assert not good.diverged
    assert 0 <= good.val_accuracy <= 1
    assert (good.steps, len(good.curve), good.curve[-1][0]) == (STEPS, STEPS, STEPS)
    assert diverged.diverged
    assert diverged.steps < STEPS
    assert math.isnan(diverged.val_accuracy)
    assert math.isnan(diverged.train_loss)
    assert good.seconds > 0
    assert good.images_per_second > 0


@pytest.mark.parametrize(("loop", "stacked", "expected"), [(1.0, 2.9, "stacked"), (1.0, 3.1, "loop")])
def test_the_strategy_is_the_faster_one_per_replica(
    loop: float, stacked: float, expected: str, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"loop": loop, "stacked": stacked}
    monkeypatch.setattr(replicas, "seconds_per_step", lambda trainer, lrs, seed: times[trainer.strategy])
    choice = choose_strategy(partial(build_model, NETS["mlp"], 3), feed_of(data), Training(), lrs=LRS, seed=0)
    assert (choice.strategy, choice.loop, choice.stacked) == (expected, loop, stacked / 3)


def test_both_strategies_are_timed(data: Data) -> None:
    feed = feed_of(data, dtype=torch.float32)
    choice = choose_strategy(partial(build_model, NETS["mlp"], 3), feed, Training(batch_size=16), lrs=LRS, seed=0)
    assert choice.stacked is not None
    assert choice.strategy == ("stacked" if choice.stacked < choice.loop else "loop")
    alone = choose_strategy(partial(build_model, NETS["mlp"], 3), feed, Training(batch_size=16), lrs=LRS[:1], seed=0)
    assert (alone.strategy, alone.stacked) == ("loop", None)


def test_the_loop_is_chosen_for_a_model_that_cannot_be_stacked(data: Data) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = nn.Linear(192, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z: torch.Tensor = self.readout(x.flatten(1))
            return z if z.sum().item() < 1e9 else -z  # item() of a batched tensor is an error

    feed = feed_of(data, dtype=torch.float32)
    choice = choose_strategy(lambda seed: Branching(), feed, Training(batch_size=16), lrs=LRS, seed=0)
    assert choice.strategy == "loop"
    assert choice.stacked is None
    assert "item" in choice.reason


def test_grids_may_be_given_as_arrays_and_counts(data: Data) -> None:
    options = {"data": data, "batch_size": 64, "strategy": "loop"}
    listed = ammup.train_replicas(NETS["cnn"], 2, lrs=[0.1, 1.0], seeds=[0, 1], **options)
    counted = ammup.train_replicas(NETS["cnn"], 2, lrs=np.geomspace(0.1, 1.0, 2), seeds=2, **options)
    assert [(run.lr, run.seed, run.val_loss) for run in counted] == [(r.lr, r.seed, r.val_loss) for r in listed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "one or more distinct seeds"),
        ({"lrs": []}, "one or more distinct learning rates"),
        ({"lrs": [0.1, 0.1]}, "distinct"),
        ({"lrs": [float("nan")]}, "positive and finite"),
        ({"seeds": []}, "one or more distinct seeds"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"momentum": -1.0}, "momentum=-1.0"),
        ({"dtype": "float16"}, "dtype='float16'.*float32, float64, bfloat16"),
        ({"strategy": "fast"}, "strategy='fast'.*auto, loop, stacked"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"factory": partial(ammup.cnn, width=4, out_channels=3)}, r"returned \(2, 3\); expected one logit per class"),
        ({"factory": partial(ammup.cnn, width=4, in_channels=1)}, "failed on images"),
        ({"factory": lambda depth: 3}, "must return an nn.Module"),
    ],
)
def test_invalid_input_is_reported(arguments: dict[str, object], message: str, data: Data) -> None:
    given = {"factory": NETS["cnn"], "depth": 2, "lrs": [0.1], "seeds": [0], "data": data} | arguments
    with pytest.raises(InputError, match=message):
        ammup.train_replicas(**given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet, batch norm"])
def test_runs_on_a_gpu_equal_those_on_the_cpu(name: str, strategy: str, data: Data) -> None:
    runs = {
        device: ammup.train_replicas(
            NETS[name],
            3,
            lrs=LRS,
            seeds=[0],
            data=data,
            batch_size=16,
            dtype="float64",
            strategy=strategy,
            device=device,
        )
        for device in ("cpu", "cuda")
    }
    for expected, actual in zip(runs["cpu"], runs["cuda"], strict=True):
        np.testing.assert_allclose(actual.val_loss, expected.val_loss, rtol=1e-8)
        np.testing.assert_allclose(actual.curve, expected.curve, rtol=1e-8)
