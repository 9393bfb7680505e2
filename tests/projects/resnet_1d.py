"""A 1D ResNet without normalization; the last layer of each branch is divided by the number of blocks."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, n_blocks: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv1d(width, width, 3, padding=1, bias=False) for _ in range(2))
        fan_in = 3 * width
        nn.init.normal_(self.conv1.weight, std=(2 / fan_in) ** 0.5)
        nn.init.normal_(self.conv2.weight, std=(2 / fan_in / n_blocks) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(torch.relu(x))
        out = self.conv2(torch.relu(out))
        out += x
        return out


class Net(nn.Module):
    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width, depth) for _ in range(depth)))
        self.fc = nn.Linear(width, 10)
        nn.init.normal_(self.fc.weight, std=1 / width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x.flatten(1).unsqueeze(1)))
        return self.fc(torch.relu(x).mean(2))


def make_net(depth: int) -> nn.Module:
    return Net(depth)
