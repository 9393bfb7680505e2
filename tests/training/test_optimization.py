"""Training settings. Oracle: a plain loop that is written with the same classes of torch and torchvision."""

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedulers
from torchvision.transforms import v2

import ammup
from ammup import InputError
from ammup.data.minibatches import Feed
from ammup.models.factory import build_model
from ammup.models.streams import random_stream, seeded
from ammup.training.augmentation import build_augmentation
from ammup.training.components import Component, Schedule
from ammup.training.loop import LoopTrainer
from ammup.training.precision import DTYPES
from ammup.training.runs import Training

RNG = np.random.default_rng(5)
FLOATS, LABELS = RNG.standard_normal((70, 12)), RNG.integers(0, 4, 70)
VECTORS = ammup.load_data((FLOATS, LABELS), validation=10)
IMAGES = ammup.load_data((RNG.integers(0, 256, (70, 8, 8, 3), np.uint8), LABELS), validation=10)
BATCH, EPOCHS, STEPS = 16, 3, 12


def _net(depth: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(24 if i else 12, 24), nn.LayerNorm(24), nn.GELU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(24, 4))


def _batches(data: ammup.Data, seed: int, inputs: Callable[[Tensor, int], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = torch.tensor(data.train_images), torch.tensor(data.train_labels)
    step = 0
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=random_stream("minibatches", seed, epoch))
        for rows in order.split(BATCH):
            yield inputs(images[rows], step), labels[rows]
            step += 1


Settings = tuple[dict[str, Any], Callable[..., Any], Callable[..., Any] | None]
SGD = partial(torch.optim.SGD, momentum=0.9, nesterov=True)
WARM: Callable[..., Any] = lambda optimizer: schedulers.SequentialLR(  # noqa: E731
    optimizer,
    [schedulers.LinearLR(optimizer, 1 / 4, 1.0, 3), schedulers.CosineAnnealingLR(optimizer, STEPS - 4)],
    milestones=[4],
)
CASES: dict[str, Settings] = {
    "SGD": ({"optimizer": {"name": "SGD", "arguments": {"momentum": 0.9, "nesterov": True}}}, SGD, None),
    "AdamW": (
        {"optimizer": {"name": "AdamW", "arguments": {"weight_decay": 0.1, "betas": [0.9, 0.95]}}},
        partial(torch.optim.AdamW, weight_decay=0.1, betas=(0.9, 0.95)),
        None,
    ),
    "RMSprop": ({"optimizer": "RMSprop"}, torch.optim.RMSprop, None),
    "Adafactor": ({"optimizer": "Adafactor"}, torch.optim.Adafactor, None),
    "cosine": (
        {"optimizer": "Adam", "schedule": "CosineAnnealingLR"},
        torch.optim.Adam,
        partial(schedulers.CosineAnnealingLR, T_max=STEPS),
    ),
    "one cycle": (
        {"optimizer": "Adam", "schedule": {"name": "OneCycleLR", "arguments": {"pct_start": 0.4}}},
        torch.optim.Adam,
        lambda optimizer: schedulers.OneCycleLR(optimizer, 0.01, total_steps=STEPS, pct_start=0.4),
    ),
    "polynomial": (
        {"schedule": {"name": "PolynomialLR", "arguments": {"power": 2.0}}},
        torch.optim.SGD,
        partial(schedulers.PolynomialLR, total_iters=STEPS, power=2.0),
    ),
    "warm-up": ({"optimizer": "Adam", "schedule": "CosineAnnealingLR", "warmup": 4}, torch.optim.Adam, WARM),
    "per epoch": (
        {"schedule": {"name": "MultiStepLR", "per": "epoch", "arguments": {"milestones": [1, 2], "gamma": 0.3}}},
        torch.optim.SGD,
        None,  # in the loop below
    ),
}


def _plain_loop(
    name: str, lr: float, seed: int, *, smoothing: float = 0.0, clip: float | None = None, bf16: bool = False
) -> tuple[dict[str, Tensor], list[float]]:
    """A training loop as in the documentation of torch."""
    _, make_optimizer, make_schedule = CASES[name]
    model = build_model(_net, 2, seed).to(torch.float32 if bf16 else torch.float64)
    optimizer = make_optimizer(model.parameters(), lr=lr)
    schedule = make_schedule(optimizer) if make_schedule else None
    epochs = schedulers.MultiStepLR(optimizer, [1, 2], 0.3) if name == "per epoch" else None
    losses = []
    dtype = torch.float32 if bf16 else torch.float64
    with seeded("training", seed):
        for step, (x, y) in enumerate(_batches(VECTORS, seed, lambda rows, _: rows.to(dtype))):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(model(x), y, label_smoothing=smoothing)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if schedule:
                schedule.step()
            if epochs and (step + 1) % 4 == 0:
                epochs.step()
            losses.append(float(loss.detach()))
    return model.state_dict(), losses


def _training(settings: dict[str, Any], **options: Any) -> Training:
    optimizer, schedule = settings.get("optimizer"), settings.get("schedule")
    return Training(
        batch_size=BATCH,
        epochs=EPOCHS,
        optimizer=None if optimizer is None else Component.from_value("optimizer", optimizer),
        schedule=None if schedule is None else Schedule.from_value("schedule", schedule),
        warmup=settings.get("warmup"),
        **{"dtype": "float64", **options},
    )


def _trainer(training: Training, data: ammup.Data = VECTORS, net: Callable[..., nn.Module] = _net) -> LoopTrainer:
    augment = build_augmentation(training.augmentation)
    feed = Feed(data, batch_size=BATCH, device="cpu", dtype=DTYPES[training.dtype], augment=augment)
    return LoopTrainer(partial(build_model, net, 2), feed, training)


def _assert_equal(trainer: LoopTrainer, expected: tuple[dict[str, Tensor], list[float]], lr: float, seed: int) -> None:
    """To the bit."""
    (trained,) = trainer.train([lr], seed)
    assert trained.losses.tolist() == expected[1]
    assert all(torch.equal(trained.weights[name], tensor) for name, tensor in expected[0].items())


@pytest.mark.parametrize("name", CASES)
def test_a_run_equals_a_plain_loop_to_the_bit(name: str) -> None:
    assert VECTORS.train_images.shape == (60, 12)
    _assert_equal(_trainer(_training(CASES[name][0])), _plain_loop(name, 0.01, 1), 0.01, 1)


def test_label_smoothing_clipping_and_bfloat16_equal_a_plain_loop() -> None:
    settings = CASES["warm-up"][0]
    smoothed = _training(settings, label_smoothing=0.2, clip_norm=0.3)
    expected = _plain_loop("warm-up", 0.01, 2, smoothing=0.2, clip=0.3)[1]
    # The sum of a batch's losses divided by its size rounds differently from the mean that a plain loop computes.
    np.testing.assert_allclose(_trainer(smoothed).train([0.01], 2)[0].losses, expected, rtol=1e-12)
    low = _training(settings, dtype="bfloat16")
    _assert_equal(_trainer(low), _plain_loop("warm-up", 0.01, 2, bf16=True), 0.01, 2)
    losses = [_trainer(one).train([0.01], 2)[0].losses for one in (smoothed, _training(settings), low)]
    assert not torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[2], losses[1])


AUGMENTATION = (
    Component(name="RandomCrop", arguments={"size": 8, "padding": 2}),
    Component(name="RandomHorizontalFlip"),
    Component(name="ColorJitter", arguments={"brightness": 0.4}),
)


def _image_net(depth: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 4))


def test_augmentation_equals_a_plain_loop_with_the_transforms_of_torchvision() -> None:
    transform = v2.Compose([v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.4)])
    mean, deviation = (torch.tensor(255 * x).reshape(3, 1, 1) for x in IMAGES.standardization())

    def inputs(rows: Tensor, step: int) -> Tensor:
        with seeded("augmentation", 7, step):
            changed = torch.stack([transform(image) for image in rows.permute(0, 3, 1, 2)])
        return (changed - mean) / deviation

    model = build_model(_image_net, 2, 7).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with seeded("training", 7):
        for x, y in _batches(IMAGES, 7, inputs):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.contiguous()), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    training = _training({}, augmentation=AUGMENTATION)
    (trained,) = _trainer(training, IMAGES, _image_net).train([0.1], 7)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-9)
    (plain,) = _trainer(_training({}), IMAGES, _image_net).train([0.1], 7)
    assert not np.allclose(plain.losses, losses, rtol=1e-3)


@pytest.mark.parametrize("parts", [[12], [1, 12], [3, 4, 9, 12], list(range(1, 13))])
def test_training_in_parts_is_bit_identical(parts: list[int]) -> None:
    settings = {**CASES["warm-up"][0], "optimizer": "AdamW"}
    training = _training(settings, augmentation=AUGMENTATION, dtype="float32", clip_norm=1.0)
    trainer = _trainer(training, IMAGES, _image_net)
    (whole,) = trainer.train([0.01], 3)
    session = trainer.begin(3)
    for steps in parts:
        torch.manual_seed(steps)  # what happens between two parts must not matter
        session.advance([0.01], steps)
    (divided,) = session.trained([0.01], validate=True)
    assert torch.equal(divided.losses, whole.losses)
    assert divided.val_loss == whole.val_loss
    assert all(torch.equal(divided.weights[name], tensor) for name, tensor in whole.weights.items())


def test_the_strategies_see_the_same_augmented_images() -> None:
    training = _training({}, augmentation=AUGMENTATION)
    net = lambda depth, seed: ammup.cnn(depth, width=4, out_channels=4, seed=seed)  # noqa: E731
    options = {"lrs": [0.1, 1.0], "seeds": 1, "data": IMAGES, "batch_size": BATCH, "dtype": "float64", "device": "cpu"}
    loop, stacked = (
        ammup.train_replicas(net, 2, **options, augmentation=training.augmentation, strategy=strategy)
        for strategy in ("loop", "stacked")
    )
    for one, other in zip(loop, stacked, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-9)


def test_auto_uses_the_loop_where_stacks_do_not_apply() -> None:
    (run, _) = ammup.train_replicas(
        _net, 2, lrs=[0.01, 0.1], seeds=1, data=VECTORS, batch_size=BATCH, optimizer="Adam", device="cpu"
    )
    assert run.strategy == "loop"


def test_old_settings_have_no_new_fields() -> None:
    assert Training(warmup=0, label_smoothing=0.0, clip_norm=0, augmentation=()) == Training()
    assert Training().plain
    assert not replace(Training(), label_smoothing=0.1).plain
    assert replace(Training(), augmentation=AUGMENTATION).plain


class _Own(torch.optim.SGD):
    """An optimizer of a user."""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "LBFGS"}, "optimizer LBFGS needs a closure"),
        ({"optimizer": "AdamX"}, "unknown optimizer 'AdamX'; nearest of 15: Adam"),
        ({"optimizer": "Optimizer"}, "unknown optimizer 'Optimizer'"),
        ({"optimizer": "Adam", "weight_decay": 0.1}, "momentum and weight_decay are those of SGD"),
        ({"optimizer": {"name": "Adam", "arguments": {"beta": 1}}}, "optimizer Adam rejects the arguments {'beta': 1}"),
        ({"optimizer": {"name": "Adam", "args": {}}}, "expected the name of a class"),
        ({"optimizer": {"name": "Adam", "arguments": {"eps": float("nan")}}}, "contain NaN or infinity"),
        ({"optimizer": ""}, "name is empty"),
        (
            {"optimizer": "SparseAdam"},
            "optimizer SparseAdam rejects the arguments {}: SparseAdam does not support dense",
        ),
        ({"optimizer": "own_module:missing"}, "optimizer 'own_module:missing' cannot be imported"),
        ({"optimizer": "own_module:net"}, "optimizer 'own_module:net' is not a subclass of torch.optim"),
        ({"schedule": "ReduceLROnPlateau"}, "needs a validation loss during training"),
        ({"schedule": "StepLR"}, "schedule StepLR rejects the arguments {}: .*step_size"),
        ({"schedule": {"name": "StepLR", "per": "day"}}, "unknown per='day'; expected one of: step, epoch"),
        ({"schedule": {"name": "ExponentialLR", "per": "epoch"}, "warmup": 2}, "warmup=2 counts steps"),
        ({"warmup": 12}, "warmup=12 must be below 12, the number of training steps"),
        ({"warmup": -1}, "warmup=-1 must be finite and at least 0"),
        ({"clip_norm": float("nan")}, "clip_norm=nan must be finite"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0 must be at least 0 and below 1"),
        ({"augmentation": ["MixUp"]}, "augmentation MixUp mixes the labels of a batch"),
        ({"augmentation": ["Random"]}, "unknown augmentation 'Random'; nearest of"),
        ({"augmentation": ["RandomCrop"]}, "augmentation RandomCrop rejects the arguments {}: .*size"),
        (
            {"augmentation": [{"name": "RandomResize", "arguments": {"min_size": 3, "max_size": 9}}]},
            "the augmentation of 16 images of .* failed: stack expects each tensor to be equal size",
        ),
        ({"augmentation": ["own_module:Bright"]}, "gave images of torch.float32 .*expected uint8"),
        ({"optimizer": "Adam", "strategy": "stacked"}, "strategy 'stacked' is for SGD at a constant learning rate"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1.5

    module = types.ModuleType("own_module")
    module.net, module.Bright = _net, Bright  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_module", module)
    options = {"lrs": [0.01], "seeds": 1, "batch_size": BATCH, "epochs": EPOCHS, "device": "cpu"}
    with pytest.raises(InputError, match=message.replace("{}", r"\{\}").replace("{'", r"\{'").replace("1}", r"1\}")):
        ammup.train_replicas(_image_net, 2, data=IMAGES, **{**options, **settings})


def test_classes_of_the_user_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_module")
    module.Own = _Own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_module", module)
    options = {"lrs": [0.1], "seeds": 1, "data": VECTORS, "batch_size": BATCH, "strategy": "loop", "device": "cpu"}
    (own,) = ammup.train_replicas(_net, 2, optimizer="own_module:Own", **options)
    (sgd,) = ammup.train_replicas(_net, 2, **options)
    assert own.val_loss == sgd.val_loss
