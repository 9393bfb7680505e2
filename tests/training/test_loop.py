"""The loop strategy: micro-batches, streamed images, evaluation and the callback."""

from functools import partial

import pytest
import torch
from naive_training import NETS, STEPS, feed_of, naive
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Batch, Feed
from ammup.models.factory import build_model
from ammup.training import plan
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Training


def test_micro_batches_give_the_same_training_or_are_not_used(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MICRO_BATCH_BYTES", {"cpu": 5 * 6 * 64 * 8, "cuda": 0})  # five images of 6×8×8 doubles
    for name, expected in (("cnn", 4), ("user", 16), ("resnet, dropout", 16), ("resnet, batch norm", 16)):
        build = partial(build_model, NETS[name], 3)
        trainer = LoopTrainer(build, feed_of(data), Training(batch_size=16, dtype="float64"))
        (trained,) = trainer.train([0.1], 0)
        assert trainer.plan is not None
        assert trainer.plan.micro_batch == expected, name
        weights, _ = naive(name, data, 0.1, 0, momentum=0.0, weight_decay=0.0)
        for key, value in weights.items():
            torch.testing.assert_close(trained.weights[key].contiguous(), value, rtol=1e-10, atol=1e-12)


def test_streamed_images_give_exactly_the_losses_of_resident_ones(data: Data) -> None:
    """Also with dropout, although a DataLoader by default draws from the generator of the dropout masks."""
    training, losses = Training(batch_size=16), []
    for resident in (True, False):
        feed = Feed(data, batch_size=16, device="cpu", dtype=torch.float32, resident=resident, loader_workers=0)
        session = LoopTrainer(partial(build_model, NETS["resnet, both"], 3), feed, training).begin(0)
        session.advance([0.1], 4)
        losses.append(session.advance([0.1], STEPS)[0])
    assert torch.equal(*losses)


def test_validation_equals_the_naive_evaluation(data: Data) -> None:
    """In evaluation mode, with running statistics and without dropout."""
    name = "resnet, both"
    (run,) = ammup.train_replicas(
        NETS[name], 3, lrs=[0.1], seeds=[0], data=data, batch_size=16, dtype="float64", strategy="loop"
    )
    model = build_model(NETS[name], 3, 0).double()
    weights, _ = naive(name, data, 0.1, 0, momentum=0.0, weight_decay=0.0)
    model.load_state_dict(weights)
    model.eval()
    mean, deviation = data.standardization()
    images = torch.tensor((data.val_images / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(data.val_labels)
    with torch.no_grad():
        logits = model(images)
    assert run.val_loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-10)
    assert run.val_accuracy == float((logits.argmax(1) == labels).double().mean())


def test_the_callback_is_called_before_every_step_and_does_not_change_training(data: Data) -> None:
    training = Training(batch_size=16, dtype="float64")
    trainer = LoopTrainer(partial(build_model, NETS["resnet, both"], 3), feed_of(data), training)
    (plain,) = trainer.train([0.3], 1, steps=4)
    calls: list[tuple[int, int]] = []
    first: dict[str, torch.Tensor] = {}

    def callback(step: int, model: nn.Module, batch: Batch) -> None:
        if not calls:
            first.update({name: value.clone() for name, value in model.state_dict().items()})
        calls.append((step, len(batch[0])))

    with_callback = trainer.train_with_callback(0.3, 1, steps=4, callback=callback)
    assert calls == [(0, 16), (1, 16), (2, 16), (3, 16)]
    assert torch.equal(plain.losses, with_callback.losses)
    for name, value in build_model(NETS["resnet, both"], 3, 1).double().state_dict().items():
        assert torch.equal(first[name], value)
        assert torch.equal(plain.weights[name], with_callback.weights[name])


def test_the_plan_is_determined_once_for_all_replicas(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[plan.Plan] = []
    from_model = plan.Plan.from_model
    monkeypatch.setattr(plan.Plan, "from_model", lambda *a: plans.append(from_model(*a)) or plans[-1])
    trainer = LoopTrainer(partial(build_model, NETS["cnn"], 2), feed_of(data), Training(batch_size=16, dtype="float64"))
    trainer.train([0.1, 0.2], 0, steps=1)
    trainer.train([0.1], 1, steps=1)
    assert plans == [trainer.plan]
