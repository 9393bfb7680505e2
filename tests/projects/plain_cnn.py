"""A plain CNN with He initialization written by hand."""

import itertools
import math

from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        channels = [3] + [width] * depth
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, padding_mode="circular") for a, b in itertools.pairwise(channels)
        )
        self.fc = nn.Linear(width, 10)
        for i, conv in enumerate(self.convs):
            fan_in = conv.in_channels * 9
            gain = 2.0 if i else 1.0
            nn.init.normal_(conv.weight, std=math.sqrt(gain / fan_in))
            nn.init.zeros_(conv.bias)
        nn.init.normal_(self.fc.weight, std=1 / width)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x).relu()
        return self.fc(x.mean((2, 3)))


def make_net(depth: int) -> nn.Module:
    return Net(depth)
