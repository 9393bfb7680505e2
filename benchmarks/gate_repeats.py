"""How often the gate passes a correct model again, and how often it fails a faulty one.

    python benchmarks/gate_repeats.py

For a small ViT and a small ConvNeXt, a baseline is recorded once. Then the correct model is checked against it with
other weight draws: from another seed root, or with additional random numbers drawn in the factory before the weights,
as after a harmless change of the code. Models with a planted fault are checked in the same way.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

import ammup
from ammup.gate.check_result import DepthCheck

DEPTHS = (2, 4, 8)
OUTCOMES = ("holds", "inconclusive", "moved", "does not hold")


class VitBlock(nn.Module):
    """Pre-norm self-attention and a feed-forward network, each in a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Vit(nn.Module):
    """A vision transformer on 8×8 images with patches of 2×2."""

    def __init__(self, depth: int, dim: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, dim))
        self.blocks = nn.Sequential(*(VitBlock(dim) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return out


class ConvNextBlock(nn.Module):
    """A depthwise convolution and a feed-forward network in a residual branch with a scale for each channel."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.mlp(h)).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """A ConvNeXt of one stage on 8×8 images; each branch is divided by the square root of the number of blocks."""

    def __init__(self, depth: int, dim: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 2, stride=2)
        self.blocks = nn.Sequential(*(ConvNextBlock(dim, depth**-0.5) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))
        return out


@torch.no_grad()
def _times(factor: float, *weights: Tensor) -> None:
    for weight in weights:
        weight.mul_(factor)


def _vit_without_skip(model: Vit) -> None:
    for block in model.blocks:
        block.forward = lambda x, b=block: b.mlp(b.norm2(x + b.attention(*[b.norm1(x)] * 3, need_weights=False)[0]))


# Faults that change η*. One feed-forward layer of the first block at 2x is not among them: it changes η* of these nets
# by less than 20 %, within the standard errors of two checks.
FAULTS: Mapping[type[nn.Module], Mapping[str, Callable[[Any], object]]] = {
    Vit: {
        "first layer 2x": lambda m: _times(2, m.embed.weight),
        "readout 2x": lambda m: _times(2, m.head.weight),
        "branches 2x": lambda m: [_times(2, b.attention.out_proj.weight, b.mlp[2].weight) for b in m.blocks],
        "skip of the feed-forward lost": _vit_without_skip,
    },
    ConvNext: {
        "first layer 2x": lambda m: _times(2, m.stem.weight),
        "readout 2x": lambda m: _times(2, m.head.weight),
        "branches not scaled": lambda m: _times(len(m.blocks) ** 0.5, *(b.scale for b in m.blocks)),
        "branches 2x": lambda m: _times(2, *(b.scale for b in m.blocks)),
    },
}


def build(depth: int, *, kind: type[nn.Module], fault: str = "", extra: int = 0) -> nn.Module:
    """A model whose factory first draws ``extra`` random numbers that it does not use."""
    torch.rand(extra)
    model = kind(depth)
    if fault:
        FAULTS[kind][fault](model)
    return model


class Gate:
    """A recorded baseline of a correct model, with which other models are compared.

    Args:
        kind: the model.
        folder: where the baseline is stored.
        margin: half the width of the allowed region.
    """

    def __init__(self, kind: type[nn.Module], folder: Path, margin: float) -> None:
        self.kind, self.margin, self.baseline = kind, margin, folder / f"{kind.__name__}.json"
        images, labels = ammup.load_data("synthetic", image_size=8).batch(8)
        self.batch = {"inputs": images, "targets": labels, "loss": "cross_entropy"}
        self.recorded = self._check(record=True)

    def compare(self, number: int, fault: str = "") -> DepthCheck:
        """Compare a model with the baseline, with other draws for each number of at least 1.

        Odd numbers change the seed root; even numbers draw additional random numbers in the factory.
        """
        if number % 2:
            return self._check(seed_root=number, fault=fault)
        return self._check(extra=number, fault=fault)

    def _check(self, *, record: bool = False, seed_root: int = 0, fault: str = "", extra: int = 0) -> DepthCheck:
        factory = partial(build, kind=self.kind, fault=fault, extra=extra)
        options = {"margin": self.margin, "baseline": self.baseline, "record": record, "seed_root": seed_root}
        return ammup.check_depth_exponent(factory, DEPTHS, **self.batch, **options)


@click.command(help=__doc__)
@click.option("--comparisons", default=20, show_default=True, help="Checks of each correct model.")
@click.option("--faulty", default=4, show_default=True, help="Checks of each faulty model.")
@click.option("--margin", default=0.3, show_default=True, help="Half the width of the allowed region.")
def main(comparisons: int, faulty: int, margin: float) -> None:
    torch.set_num_threads(1)
    click.echo(f"{'model':<9} {'variant':<30} {'draws':>6} {'slope':>7} {''.join(f'{name:>15}' for name in OUTCOMES)}")
    with tempfile.TemporaryDirectory() as folder:
        for kind, faults in FAULTS.items():
            gate = Gate(kind, Path(folder), margin)
            _print(kind, "recorded", [gate.recorded])
            for fault, repeats in (("", comparisons), *((fault, faulty) for fault in faults)):
                _print(kind, fault or "correct", [gate.compare(number, fault) for number in range(1, repeats + 1)])


def _print(kind: type[nn.Module], variant: str, checks: list[DepthCheck]) -> None:
    counts = Counter(check.outcome for check in checks)
    draws = sum(check.draws for check in checks) / len(checks)
    slope = sum(check.law.power_law.slope for check in checks) / len(checks)
    outcomes = "".join(f"{counts[name]:>15}" for name in OUTCOMES)
    click.echo(f"{kind.__name__:<9} {variant:<30} {draws:>6.0f} {slope:>7.2f} {outcomes}")


if __name__ == "__main__":
    main()
