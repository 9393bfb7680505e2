"""Nets of every kind that is trained, and the training loop of plain PyTorch that the sweep kernel is compared with."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.models.factory import build_model
from ammup.models.nets import CNN
from ammup.models.streams import random_stream, seeded

STEPS = 10


def _mlp(depth: int, seed: int, **options: str) -> nn.Module:
    return ammup.mlp(depth, width=12, in_features=192, seed=seed, **options)


def _user_net(depth: int, seed: int) -> nn.Module:
    """A user's net: view() rejects channels_last, BatchNorm2d has running statistics."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(6 if i else 3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU()]
    return nn.Sequential(*layers, _View(), nn.Linear(6 * 64, 10))


def _frozen_net(depth: int, seed: int) -> nn.Module:
    net = ammup.cnn(depth, width=6, seed=seed)
    for parameter in net.layers[1].parameters():
        parameter.requires_grad_(False)
    return net


def _tied(depth: int, seed: int) -> nn.Module:
    net = _mlp(depth, seed)
    net.layers[2].weight = net.layers[1].weight
    return net


class _Doubled(CNN):
    """A subclass of a library class that overrides the forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def _subclass(depth: int, seed: int) -> nn.Module:
    net = ammup.cnn(depth, width=6, seed=seed)
    net.__class__ = _Doubled
    return net


def _hooked(depth: int, seed: int) -> nn.Module:
    net = ammup.resnet(depth, width=6, seed=seed)
    net.blocks[1].register_forward_hook(lambda module, inputs, output: 0.5 * output)
    return net


class _View(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


def _pooled_field(depth: int, seed: int, **options: object) -> nn.Module:
    net = ammup.cnn(depth, width=6, head="field", seed=seed, **options)
    net.readout = nn.Sequential(net.readout, _Mean())
    return net


NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "cnn": partial(ammup.cnn, width=6),
    "cnn, rectangle": partial(ammup.cnn, width=6, kernel=(5, 3)),
    "cnn, even": partial(ammup.cnn, width=6, kernel=2),
    "cnn, offsets": partial(ammup.cnn, width=6, kernel=[(0, 0), (0, 1), (-2, 0)]),
    "cnn, dilated": partial(ammup.cnn, width=6, dilation=2, groups=3, activation="gelu", in_channels=3),
    "cnn, zero": partial(ammup.cnn, width=6, padding="zero"),
    "cnn, 1d": partial(ammup.cnn, width=6, dims=1),
    "cnn, 1d, zero, gelu": partial(ammup.cnn, width=6, dims=1, padding="zero", activation="gelu"),
    "cnn, 1d, offsets": partial(ammup.cnn, width=6, dims=1, kernel=[(0,), (2,), (-1,)], activation="gelu"),
    "cnn, 1d, zero, offsets": partial(ammup.cnn, width=6, dims=1, kernel=[(0,), (2,)], padding="zero"),
    "cnn, 1d, even, field": partial(_pooled_field, dims=1, kernel=4, activation="linear"),
    "cnn, zero, offsets": partial(ammup.cnn, width=6, kernel=[(0, 0), (1, 2)], padding="zero", activation="gelu"),
    "resnet": partial(ammup.resnet, width=6),
    "resnet, gelu": partial(ammup.resnet, width=6, activation="gelu", branch=("conv", "dense"), batchnorm=True),
    "resnet, zero": partial(ammup.resnet, width=6, padding="zero", dropout=0.3, projections=(2,)),
    "resnet, 1d, dropout": partial(ammup.resnet, width=6, dims=1, dropout=0.3, projections=(1, 3), dilation=2),
    "resnet, 1d": partial(ammup.resnet, width=6, dims=1, batchnorm=True),
    "resnet, batch norm": partial(ammup.resnet, width=6, batchnorm=True),
    "resnet, dropout": partial(ammup.resnet, width=6, dropout=0.3),
    "resnet, both": partial(ammup.resnet, width=6, dropout=0.3, batchnorm=True, branch=1),
    "user": _user_net,
    "frozen layer": _frozen_net,
    "mlp, tied": _tied,
    "mlp, gelu": partial(_mlp, activation="gelu"),
    "mlp, linear": partial(_mlp, activation="linear"),
    "a subclass of CNN": _subclass,
    "resnet with a hook": _hooked,
}


def feed_of(data: Data, *, batch_size: int = 16, dtype: torch.dtype = torch.float64, **kwargs: object) -> Feed:
    return Feed(data, batch_size=batch_size, device="cpu", dtype=dtype, **kwargs)


Naive = tuple[dict[str, torch.Tensor], list[float]]
_MEMO: dict[tuple[object, ...], tuple[Data, Naive]] = {}  # both strategies are compared with it


def naive(name: str, data: Data, lr: float, seed: int, **options: float) -> Naive:
    key = (name, id(data), lr, seed, *sorted(options.items()))
    if key not in _MEMO:
        _MEMO[key] = (data, _trained_naively(name, data, lr, seed, **options))
    return _MEMO[key][1]


def _trained_naively(name: str, data: Data, lr: float, seed: int, *, momentum: float, weight_decay: float) -> Naive:
    """The usual training loop, in float64."""
    model = build_model(NETS[name], 3, seed).double()
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
