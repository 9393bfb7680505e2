"""The sweep kernel against a naive loop of plain PyTorch, replica by replica."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.measurement.data import Data
from ammup.measurement.factory import build_model
from ammup.measurement.feed import Feed
from ammup.measurement.replica import Trainer, Training
from ammup.measurement.training import TRAINERS
from ammup.models.initialization import random_stream, seeded

LRS = [0.01, 0.3, 3.0]
# Ends in NaN, but for nets with batch norm: the variance of their activations overflows, which torch's kernels meet
# each in its own way.
TOO_LARGE = 1e30
STEPS = 10


@pytest.fixture(scope="module")
def data() -> Data:
    return ammup.load_data("synthetic", image_size=8, train=16 * STEPS - 5, validation=50)


def _mlp(depth: int, seed: int) -> nn.Module:
    return ammup.mlp(depth, width=12, in_features=192, seed=seed)


def _user_net(depth: int, seed: int) -> nn.Module:
    """Not one of ours: view() refuses channels_last, BatchNorm2d has running statistics."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(6 if i else 3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU()]
    return nn.Sequential(*layers, _View(), nn.Linear(6 * 64, 10))


class _View(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)


NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "cnn": partial(ammup.cnn, width=6),
    "cnn, rectangle": partial(ammup.cnn, width=6, kernel=(5, 3)),
    "cnn, even": partial(ammup.cnn, width=6, kernel=2),
    "cnn, offsets": partial(ammup.cnn, width=6, kernel=[(0, 0), (0, 1), (-2, 0)]),
    "cnn, dilated": partial(ammup.cnn, width=6, dilation=2, groups=3, activation="gelu", in_channels=3),
    "cnn, zero": partial(ammup.cnn, width=6, padding="zero"),
    "cnn, 1d": partial(ammup.cnn, width=6, dims=1),
    "resnet": partial(ammup.resnet, width=6),
    "resnet, 1d": partial(ammup.resnet, width=6, dims=1, batchnorm=True),
    "resnet, batch norm": partial(ammup.resnet, width=6, batchnorm=True),
    "resnet, dropout": partial(ammup.resnet, width=6, dropout=0.3),
    "resnet, both": partial(ammup.resnet, width=6, dropout=0.3, batchnorm=True, branch=1),
    "user": _user_net,
}


def _feed(data: Data, *, batch_size: int = 16, dtype: torch.dtype = torch.float64, **kwargs: object) -> Feed:
    return Feed(data, batch_size=batch_size, device="cpu", dtype=dtype, **kwargs)


def _naive(
    factory: Callable[..., nn.Module], data: Data, lr: float, seed: int, *, momentum: float, weight_decay: float
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """What anybody would write, in float64."""
    model = build_model(factory, 3, seed).double()
    images = torch.tensor(data.train_images / 255.0).permute(0, 3, 1, 2)
    mean = images.mean((0, 2, 3), keepdim=True)
    images = ((images - mean) / (images - mean).square().mean((0, 2, 3), keepdim=True).sqrt()).contiguous()
    labels = torch.tensor(data.train_labels)
    sgd = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    order = torch.randperm(len(images), generator=random_stream("minibatches", seed, 0))
    losses = []
    with seeded("training", seed):
        for rows in order.split(16):
            sgd.zero_grad()
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            losses.append(float(loss.detach()))
            if math.isnan(losses[-1]):
                break
            loss.backward()
            sgd.step()
    return model.state_dict(), losses


def _normalizes(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=["plain", "momentum"])
def test_both_strategies_are_the_naive_loop(name: str, strategy: str, options: dict[str, float], data: Data) -> None:
    if options and name not in ("mlp", "resnet, both"):
        pytest.skip("momentum does not depend on the net")
    options = {"momentum": 0.0, "weight_decay": 0.0} | options
    build = partial(build_model, NETS[name], 3)
    trainer: Trainer = TRAINERS[strategy](build, _feed(data), Training(batch_size=16, dtype="float64", **options))
    lrs = LRS if _normalizes(build(0)) else [*LRS, TOO_LARGE]
    for seed in (0, 5):
        for lr, trained in zip(lrs, trainer.train(lrs, seed), strict=True):
            weights, losses = _naive(NETS[name], data, lr, seed, **options)
            finite = [loss for loss in losses if not math.isnan(loss)]
            assert len(trained.losses) == len(finite)
            if math.isnan(trained.val_loss):
                assert len(finite) < STEPS or any(value.isnan().any() for value in weights.values())
            else:
                np.testing.assert_allclose(trained.losses, finite, rtol=1e-10)
                for key, value in weights.items():
                    error = (trained.weights[key] - value).double().abs().max() / value.double().abs().max()
                    assert error < 1e-10, key
