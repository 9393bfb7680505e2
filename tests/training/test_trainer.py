"""Both strategies compared with a naive loop of plain PyTorch, replica by replica."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from naive_training import NETS, STEPS, feed_of, naive
from torch import nn

from ammup.data.dataset import Data
from ammup.models.factory import build_model
from ammup.training.loop import SingleReplica
from ammup.training.replicas import TRAINERS
from ammup.training.runs import Training
from ammup.training.stacked import StackedReplicas, StackedTrainer
from ammup.training.trainer import Trainer

LRS = [0.01, 0.3, 3.0]
# Diverges to NaN. Not used with batch norm, where the variance of the activations overflows and torch's kernels differ.
TOO_LARGE = 1e30
MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01}
CASES = [*((name, {}) for name in NETS), *((name, MOMENTUM) for name in ("mlp", "resnet, both", "frozen layer"))]


def _normalizes(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_both_strategies_equal_the_naive_loop(name: str, strategy: str, options: dict[str, float], data: Data) -> None:
    options = {"momentum": 0.0, "weight_decay": 0.0} | options
    build = partial(build_model, NETS[name], 3)
    trainer: Trainer = TRAINERS[strategy](build, feed_of(data), Training(batch_size=16, dtype="float64", **options))
    lrs = LRS if _normalizes(build(0)) else [*LRS, TOO_LARGE]
    for seed in (0, 5):
        for lr, trained in zip(lrs, trainer.train(lrs, seed), strict=True):
            weights, losses = naive(name, data, lr, seed, **options)
            finite = [loss for loss in losses if not math.isnan(loss)]
            assert len(trained.losses) == len(finite)
            if math.isnan(trained.val_loss):
                assert len(finite) < STEPS or any(value.isnan().any() for value in weights.values())
            else:
                np.testing.assert_allclose(trained.losses, finite, rtol=1e-10)
                for key, value in weights.items():
                    if name == "mlp, tied" and key not in trained.weights:
                        continue  # a stack contains it once
                    error = (trained.weights[key] - value).double().abs().max() / value.double().abs().max()
                    assert error < 1e-10, key


@pytest.mark.parametrize("name", ["cnn", "cnn, offsets", "resnet, batch norm", "mlp"])
def test_bfloat16_rounds_activations_and_not_weights(name: str, data: Data) -> None:
    """Losses agree to about two digits, and weights change by less than bfloat16 can represent."""
    build = partial(build_model, NETS[name], 3)
    losses = {}
    for strategy, dtype in (("loop", "float32"), ("loop", "bfloat16"), ("stacked", "bfloat16")):
        if strategy == "stacked" and "norm" in name:
            continue  # torch.func has no batch norm of bfloat16 activations with float32 statistics
        trainer = TRAINERS[strategy](build, feed_of(data, dtype=torch.float32), Training(batch_size=16, dtype=dtype))
        (trained,) = trainer.train([1e-5], 0)
        losses[strategy, dtype] = trained.losses
        assert all(w.dtype == torch.float32 for w in trained.weights.values() if w.is_floating_point())
        start = dict(build(0).named_parameters())
        moved = [(trained.weights[key] - value).abs().max() > 0 for key, value in start.items()]
        assert all(moved)
    exact = losses.pop(("loop", "float32"))
    for rounded in losses.values():
        assert not torch.equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, rtol=0.02)


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_diverged_replica_takes_no_further_steps(strategy: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []  # replicas in each step
    if strategy == "loop":
        step = SingleReplica.step
        monkeypatch.setattr(SingleReplica, "step", lambda *a: steps.append(1) or step(*a))
    else:
        step = StackedReplicas.step
        monkeypatch.setattr(StackedReplicas, "step", lambda *a: steps.append(len(a[0].active)) or step(*a))
    diverged, good = TRAINERS[strategy](
        partial(build_model, NETS["cnn"], 3), feed_of(data), Training(batch_size=16, dtype="float64")
    ).train([TOO_LARGE, 0.1], 0)
    assert (len(diverged.losses) < STEPS, len(good.losses)) == (True, STEPS)
    assert sum(steps) == len(diverged.losses) + 1 + STEPS


@pytest.mark.parametrize("name", ["cnn", "resnet, both"])
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_training_in_parts_equals_uninterrupted_training(strategy: str, name: str, data: Data) -> None:
    """With dropout, batch norm, replicas that begin later and replicas that are discarded."""
    rates, training = [0.02, TOO_LARGE, 0.1, 0.3], Training(batch_size=16, momentum=0.9)
    trainer = TRAINERS[strategy](partial(build_model, NETS[name], 3), feed_of(data, dtype=torch.float32), training)
    uninterrupted = dict(zip(rates, trainer.train(rates, 0), strict=True))
    torch.manual_seed(7)
    session = trainer.begin(0)
    session.advance([0.02, TOO_LARGE, 0.1], 2)
    torch.rand(3)  # other code may draw from the global generator
    losses = session.advance([0.3, 0.1, TOO_LARGE], 3)
    assert [len(one) for one in losses] == [3, 3, len(uninterrupted[TOO_LARGE].losses)]
    session.advance([0.3, 0.1], STEPS)
    for lr, part in zip([0.3, 0.1], session.trained([0.3, 0.1], validate=True), strict=True):
        expected = uninterrupted[lr]
        # In a stack with other replicas, the order of summation differs.
        tolerance = {"rtol": 0, "atol": 0} if strategy == "loop" else {"rtol": 1e-4, "atol": 1e-6}
        for weight, tensor in part.weights.items():
            torch.testing.assert_close(tensor, expected.weights[weight], **tolerance)
        torch.testing.assert_close(part.losses, expected.losses, **tolerance)
        assert part.val_accuracy == pytest.approx(expected.val_accuracy, abs=0 if strategy == "loop" else 0.05)
        assert part.seconds > 0


@pytest.mark.parametrize(("size", "expected"), [(1, [[1], [2], [3]]), (2, [[1, 2], [3]]), (5, [[1, 2, 3]])])
def test_learning_rates_are_divided_into_groups_of_the_given_size(
    size: int, expected: list[list[float]], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackedTrainer, "group_size", lambda self, seed: size)
    trainer = StackedTrainer(partial(build_model, NETS["mlp"], 2), feed_of(data), Training(batch_size=16))
    assert list(trainer.parts([1, 2, 3], 0)) == expected


def test_training_that_ends_early_is_not_validated(data: Data) -> None:
    build = partial(build_model, NETS["mlp"], 2)
    trainer = TRAINERS["loop"](build, feed_of(data), Training(batch_size=16, dtype="float64"))
    (short,) = trainer.train([0.1], 0, steps=3)
    (complete,) = trainer.train([0.1], 0)
    assert torch.equal(short.losses, complete.losses[:3])
    assert math.isnan(short.val_loss)
    assert not math.isnan(complete.val_loss)


def test_a_session_returns_losses_in_the_requested_order_and_discards_other_replicas(data: Data) -> None:
    build = partial(build_model, NETS["mlp"], 2)
    for strategy in ("loop", "stacked"):
        session = TRAINERS[strategy](build, feed_of(data), Training(batch_size=16, dtype="float64")).begin(0)
        first = session.advance([0.1, 0.5], 2)
        reversed_order = session.advance([0.5, 0.1], 2)
        assert torch.equal(first[0], reversed_order[1])
        assert not torch.equal(first[0], first[1])
        session.advance([0.5], 3)
        with pytest.raises(KeyError):
            session.trained([0.1], validate=False)


@pytest.mark.parametrize(("size", "released"), [(1, 2), (2, 0)])
def test_only_several_groups_release_the_memory_of_their_recorded_steps(
    size: int, released: int, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[StackedReplicas] = []
    monkeypatch.setattr(StackedTrainer, "group_size", lambda self, seed: size)
    monkeypatch.setattr(StackedReplicas, "release_cache", lambda self: calls.append(self))
    training = Training(batch_size=16, dtype="float64")
    StackedTrainer(partial(build_model, NETS["mlp"], 2), feed_of(data), training).begin(0).advance([0.1, 0.2], 1)
    assert len(calls) == released
