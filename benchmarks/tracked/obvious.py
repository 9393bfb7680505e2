"""A reference training loop in plain PyTorch: a DataLoader and torch.optim.SGD."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from ammup.data.dataset import Data


def standardized_data(data: "Data", dtype: torch.dtype = torch.float32) -> TensorDataset:
    """The training images, standardized by channel, with their labels."""
    mean, deviation = data.standardization()
    images = (torch.tensor(data.train_images[:] / 255.0) - torch.tensor(mean)) / torch.tensor(deviation)
    return TensorDataset(images.permute(0, 3, 1, 2).contiguous().to(dtype), torch.tensor(data.train_labels))


def train(
    model: nn.Module,
    data: TensorDataset,
    *,
    lr: float,
    steps: int,
    batch: int,
    order: Iterable[int] | None = None,
    device: str = "cpu",
) -> None:
    """Train for ``steps`` steps of SGD, in the order of the images that ``order`` gives, or in random order."""
    sgd = torch.optim.SGD(model.parameters(), lr=lr)
    loader = DataLoader(data, batch_size=batch, shuffle=order is None, sampler=order)
    for _, (images, labels) in zip(range(steps), loader, strict=False):
        sgd.zero_grad()
        F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
        sgd.step()
