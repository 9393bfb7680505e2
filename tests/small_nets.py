"""Small nets of every family, and batches for them."""

from functools import partial

import torch
from torch import nn

import ammup

PLUS = [(0, 0), (1, 0), (0, 1), (-1, -1)]
IMAGES = (2, 3, 4, 5)

NETS = {
    "mlp": (partial(ammup.mlp, width=[5, 6, 4], in_features=7, activation="gelu"), (3, 7)),
    "mlp he": (partial(ammup.mlp, width=5, in_features=7, readout="he"), (1, 7)),
    "cnn circular": (partial(ammup.cnn, width=4), IMAGES),
    "cnn zero": (partial(ammup.cnn, width=4, padding="zero", head="field"), IMAGES),
    "cnn rectangle": (partial(ammup.cnn, width=[4, 3, 5], kernel=(1, 3), activation="gelu"), IMAGES),
    "cnn even": (partial(ammup.cnn, width=4, kernel=2), IMAGES),
    "cnn offsets": (partial(ammup.cnn, width=4, kernel=PLUS, groups=2), IMAGES),
    "cnn offsets zero": (partial(ammup.cnn, width=4, kernel=PLUS, padding="zero"), IMAGES),
    "cnn 1d": (partial(ammup.cnn, width=4, dims=1, head="field"), (2, 3, 6)),
    "cnn 1d zero": (partial(ammup.cnn, width=4, dims=1, kernel=[0, 2], padding="zero"), (2, 3, 6)),
    "resnet": (partial(ammup.resnet, width=4), IMAGES),
    "resnet last": (partial(ammup.resnet, width=4, scaled="last", padding="zero", readout="he"), IMAGES),
    "resnet dense": (partial(ammup.resnet, width=6, dims=0, branch=1, in_channels=7), (2, 7)),
    "resnet 1d": (partial(ammup.resnet, width=4, dims=1, branch=3, head="field"), (2, 3, 6)),
    "resnet mixed": (partial(ammup.resnet, width=4, branch=("conv", "conv", "dense"), groups=2, dilation=2), IMAGES),
    "resnet projection": (partial(ammup.resnet, width=4, projections=[2]), IMAGES),
    "resnet batch norm": (partial(ammup.resnet, width=4, batchnorm=True), IMAGES),
}


def net_and_inputs(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A net of depth 3 in float64, and a batch for it."""
    factory, shape = NETS[name]
    generator = torch.Generator().manual_seed(0)
    return factory(3, seed=1).double(), torch.randn(shape, generator=generator, dtype=torch.float64)


class UserNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(x).relu()).relu())
