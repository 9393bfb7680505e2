"""Small nets that the constructs are placed in, and the batches that they take."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zoo_parts.case import Forward, Loss, Problem

FEATURES, WIDTH, CLASSES, BATCH = 6, 8, 4, 8


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        """The function of the input."""
        return self.function(x)


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """The residual addition."""
        return x + self.branch(x)


def drawn(*shape: int) -> Tensor:
    """Standard normal values that depend on the shape only."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def labels(n: int = BATCH) -> Tensor:
    """Class indices."""
    return torch.arange(n) % CLASSES


def dense(*layers: nn.Module | Callable[[Tensor], Any]) -> nn.Sequential:
    """Two linear layers around ``layers``, which map 8 features to 8, then a readout."""
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        *map(as_module, layers),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, CLASSES),
    )


def convolutional(*layers: nn.Module | Callable[[Tensor], Any]) -> nn.Sequential:
    """Two convolutions around ``layers``, which map 8 channels to 8, then pooling and a readout."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1), *map(as_module, layers), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip


def as_module(layer: nn.Module | Callable[[Tensor], Any]) -> nn.Module:
    """A function as a module; a module as it is."""
    return layer if isinstance(layer, nn.Module) else Apply(layer)


def vectors(model: nn.Module, loss: Loss = "cross_entropy", targets: Any = None) -> Problem:
    """A batch of feature vectors (8, 6)."""
    return Problem(
        model=model, inputs=drawn(BATCH, FEATURES), targets=labels() if targets is None else targets, loss=loss
    )


def images(model: nn.Module, side: int = 8) -> Problem:
    """A batch of images (8, 3, side, side)."""
    return Problem(model=model, inputs=drawn(BATCH, 3, side, side), targets=labels())


def sequences(model: nn.Module, length: int = 5) -> Problem:
    """A batch of sequences of vectors (8, length, 6)."""
    return Problem(model=model, inputs=drawn(BATCH, length, FEATURES), targets=labels())


def tokens(model: nn.Module, length: int = 5, vocabulary: int = 12) -> Problem:
    """A batch of token sequences (8, length)."""
    indices = (torch.arange(BATCH * length) * 7 % vocabulary).reshape(BATCH, length)
    return Problem(model=model, inputs=indices, targets=labels(), forward=call)


def call(model: nn.Module, inputs: Any) -> Any:
    """``forward=`` for inputs that are not one float tensor."""
    return model(inputs)


def called(forward: Forward, model: nn.Module, inputs: Any, targets: Any = None) -> Problem:
    """A model that is called in its own way."""
    return Problem(model=model, inputs=inputs, targets=labels() if targets is None else targets, forward=forward)
