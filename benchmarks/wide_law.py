"""Measured η* against the wide-limit law, with no fitted constant, over families, depths, data, losses and kernels.

Prints the law, the measurement, their ratio and its standard error (over weight draws) for every cell, followed by the
cases that the law does not cover. The images are synthetic. In deep cells, most of the difference is sampling error.

    python benchmarks/wide_law.py --draws 48
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

import ammup
from ammup.stats.power_law import maximal_lr_of
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import unit_moments

PLUS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]


@dataclass(frozen=True)
class Case:
    """One family on one batch at several depths."""

    name: str
    factory: Callable[..., nn.Module]
    depths: tuple[int, ...]
    inputs: Tensor
    targets: Tensor | None = None
    loss: str = "mse"
    part: str = "label"


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def images(batch: int, size: int) -> tuple[Tensor, Tensor]:
    return ammup.load_data("synthetic", image_size=size).batch(batch)


def cross_entropy(name: str, factory: Callable[..., nn.Module], depths: tuple[int, ...], batch: int, size: int) -> Case:
    """A case with cross-entropy and the classes of the images."""
    return Case(name, factory, depths, *images(batch, size), loss="cross_entropy", part="total")


def plain_dense() -> list[Case]:
    dense = partial(ammup.mlp, width=512, out_features=512, readout="he")
    deep = partial(ammup.mlp, width=1024, in_features=1024, out_features=1024, readout="he")
    few = partial(ammup.mlp, width=512, in_features=192)
    return [
        Case("dense, one sample", deep, (2, 8, 16, 32, 64), torch.ones(1, 1024)),
        Case("dense, 8 samples of noise", partial(dense, in_features=512), (2, 8), noise(8, 512)),
        Case("dense, 16 images", partial(dense, in_features=192), (2, 4, 8), images(16, 8)[0]),
        Case("dense, 16 images, GELU", partial(dense, in_features=192, activation="gelu"), (2, 8), images(16, 8)[0]),
        Case("dense, widths 256 to 1024", partial(_widening, out_features=512, readout="he"), (4, 8), noise(2, 192)),
        cross_entropy("dense, 16 images, cross-entropy", few, (2, 4, 8, 16), 16, 8),
    ]


def _widening(depth: int, *, seed: int, **settings: object) -> nn.Module:
    width = [256 * 2 ** (2 * layer // depth) for layer in range(depth)]
    width[-1] = 1024
    return ammup.mlp(depth, width=width, in_features=192, seed=seed, **settings)


def residual_dense() -> list[Case]:
    dense = partial(ammup.resnet, dims=0, width=512, in_channels=512, out_channels=512, readout="he")
    few = partial(ammup.resnet, dims=0, width=512, in_channels=192)
    one = torch.ones(1, 512)
    return [
        Case("residual dense, m = 1", partial(dense, branch=1), (4, 16, 64), one),
        Case("residual dense, m = 1, GELU", partial(dense, branch=1, activation="gelu"), (8,), one),
        Case("residual dense, m = 2, all", dense, (4, 16, 64), one),
        Case("residual dense, m = 2, last", partial(dense, scaled="last"), (4, 16, 64), one),
        Case("residual dense, m = 3, last", partial(dense, branch=3, scaled="last"), (8,), one),
        Case("residual dense, m = 2, c = 1", partial(dense, c=1.0), (8,), one),
        cross_entropy("residual dense, 8 images, cross-entropy", few, (4, 16), 8, 8),
    ]


def fields(channels: int) -> list[Case]:
    conv = partial(ammup.cnn, width=channels, out_channels=channels, head="field", readout="he")
    line, plane = partial(conv, dims=1, in_channels=channels), partial(conv, in_channels=channels)
    row, square, image = noise(1, channels, 12), noise(1, channels, 5, 5), images(1, 8)[0]
    return [
        Case("1D, k = 3", line, (2, 4, 8), row),
        Case("1D, k = 3, zero padding", partial(line, padding="zero"), (2, 8), row),
        Case("1D, k = 5, zero padding", partial(line, kernel=5, padding="zero"), (4,), row),
        Case("1D, k = 3, 32 positions", line, (2, 8), noise(1, channels, 32)),
        Case("1D, k = 3, GELU, mean-field", partial(line, activation="gelu", readout="mean-field"), (4,), row),
        Case("1D, k = 3, batch of 4", line, (4,), noise(4, channels, 8)),
        Case("2D, 3×3", plane, (2, 4), square),
        Case("2D, 3×3, zero padding", partial(plane, padding="zero"), (4,), square),
        Case("2D, 1×3", partial(plane, kernel=(1, 3)), (4,), square),
        Case("2D, plus", partial(plane, kernel=PLUS), (4,), square),
        Case("2D, one tap off the centre", partial(plane, kernel=[(1, 2)]), (4,), square),
        Case("2D, 4 groups", partial(plane, groups=4), (4,), square),
        Case("2D, one image", conv, (2, 8), image),
        Case("2D, 8 images, zero padding", partial(conv, padding="zero"), (4,), images(8, 6)[0]),
    ]


def pooled(channels: int) -> list[Case]:
    conv = partial(ammup.cnn, width=channels)
    return [
        cross_entropy("CNN, pooled, cross-entropy", conv, (2, 4, 8, 16), 4, 6),
        cross_entropy("CNN, pooled, zero padding", partial(conv, padding="zero"), (2, 8), 4, 6),
        cross_entropy("CNN, pooled, readout he", partial(conv, readout="he"), (2, 4), 4, 6),
        cross_entropy("CNN, pooled, GELU", partial(conv, activation="gelu"), (4,), 4, 6),
        cross_entropy("CNN, pooled, 5×5", partial(conv, kernel=5), (4,), 4, 6),
        cross_entropy("CNN, pooled, 16 images", conv, (4,), 16, 4),
        cross_entropy("CNN, pooled, 1D", partial(conv, dims=1), (4,), 4, 5),
        Case("CNN, pooled, mse, drawn labels", conv, (4,), images(4, 6)[0]),
        Case("CNN, pooled, mse, both parts", conv, (4,), *images(4, 6), part="total"),
    ]


def residual_convolutional(channels: int) -> list[Case]:
    net = partial(ammup.resnet, width=channels)
    return [
        cross_entropy("ResNet, m = 2, all", net, (2, 4, 8, 16, 32), 4, 5),
        cross_entropy("ResNet, m = 2, last", partial(net, scaled="last"), (2, 8, 16), 4, 5),
        cross_entropy("ResNet, m = 1", partial(net, branch=1), (8,), 4, 5),
        cross_entropy("ResNet, conv-conv-dense", partial(net, branch=("conv", "conv", "dense")), (4, 16), 4, 5),
        cross_entropy("ResNet, zero padding", partial(net, padding="zero"), (8,), 4, 5),
        cross_entropy("ResNet, GELU", partial(net, activation="gelu"), (4,), 4, 5),
        cross_entropy("ResNet, 1D", partial(net, dims=1), (8,), 4, 5),
        cross_entropy("ResNet, 4 groups", partial(net, groups=4), (4,), 4, 5),
        cross_entropy("ResNet, dilation 2", partial(net, dilation=2), (4,), 4, 5),
        Case("ResNet, field", partial(net, head="field", out_channels=channels, readout="he"), (4,), images(4, 5)[0]),
    ]


def not_derived(channels: int) -> list[Case]:
    """Cases without a law: the output part with as many outputs as channels, or modules that it does not cover."""
    dense = partial(ammup.mlp, width=512, in_features=512, out_features=512, readout="he")
    net = partial(ammup.resnet, width=channels)
    return [
        Case("dense, output part, 512 outputs, he", dense, (2, 4, 8), torch.ones(1, 512), part="output"),
        cross_entropy("ResNet, batch norm", partial(net, batchnorm=True), (4, 8), 4, 5),
        cross_entropy("ResNet, dropout 0.2", partial(net, dropout=0.2), (4,), 4, 5),
        cross_entropy("ResNet, projection at block 3", partial(net, projections=(3,)), (4,), 4, 6),
    ]


def measure(case: Case, depth: int, draws: int) -> tuple[float, float]:
    """The measured η* and its relative standard error."""
    S = []
    for seed in range(draws):
        net = case.factory(depth, seed=seed)
        moments = ammup.measure_updates(net, case.inputs, case.targets, loss=case.loss, part=case.part, seed=seed)
        S.append(moments.S_bar)
    lr_star, se = maximal_lr_of(S)
    return lr_star, float(np.log(10) * se)


def predict(case: Case, depth: int) -> float:
    """η* of the law, or NaN if there is none."""
    law = case.factory(depth, seed=0).law
    if law is None or "output part" in case.name:
        return float("nan")
    classes = None if case.targets is None else case.targets.numpy()
    gradient = LossGradient(loss=case.loss, part=case.part, classes=classes)
    return float(unit_moments(law, case.inputs.double().numpy(), gradient).mean() ** -0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=48, help="weight draws in each cell; twice as many for L >= 16")
    parser.add_argument("--channels", type=int, default=256, help="number of channels of the convolutions")
    parser.add_argument("--only", default="", help="run only the cases whose names contain this text")
    args = parser.parse_args()
    derived = [*plain_dense(), *residual_dense(), *fields(args.channels), *pooled(args.channels)]
    derived += residual_convolutional(args.channels)
    errors, start = [], time.perf_counter()
    for title, cases in (("law", derived), ("no law", not_derived(args.channels))):
        print(f"{'net':<42} {'L':>3} {'law':>9} {'measured':>9} {'ratio':>6} {'s.e.':>6}   ({title})")
        for case in (case for case in cases if args.only in case.name):
            for depth in case.depths:
                lr_star, se = measure(case, depth, args.draws * (2 if depth >= 16 else 1))
                law = predict(case, depth)
                errors += [abs(lr_star / law - 1)] * (not np.isnan(law))
                print(
                    f"{case.name:<42} {depth:3d} {law:9.4f} {lr_star:9.4f} {lr_star / law:6.3f} {se:6.3f}", flush=True
                )
    if errors:
        print(
            f"{len(errors)} cells with a law: median error {np.median(errors):.1%}, worst {np.max(errors):.1%}; "
            f"{time.perf_counter() - start:.0f} s"
        )


if __name__ == "__main__":
    main()
