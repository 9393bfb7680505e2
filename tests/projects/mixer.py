"""An MLP-mixer: tokens are mixed, then channels, each in a residual branch behind a layer norm."""

from torch import Tensor, nn


class Branch(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.rise, self.fall = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fall(nn.functional.gelu(self.rise(x)))


class Block(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens, self.channels = Branch(tokens, 2 * tokens), Branch(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Net(nn.Module):
    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, stride=2)
        self.blocks = nn.Sequential(*(Block(16, width) for _ in range(depth)))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.fc(self.norm(self.blocks(x)).mean(1))


def make_net(depth: int) -> nn.Module:
    return Net(depth)
