"""Measured η* of plain nets over batches and positions against the finite-depth law, with no fitted constant.

Dense nets on batches; convolutions in 1D and 2D, circular and zero padding, kernels of any support, white noise and
images, single samples and batches. Label part, mse, field head. Prints law, measurement, ratio and standard error.

    python benchmarks/plain_law.py --draws 24 --channels 128
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import ammup
from ammup.fitting.power_law import maximal_lr_of

PLUS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def images(batch: int, size: int) -> torch.Tensor:
    return ammup.load_data("synthetic", image_size=size).batch(batch)[0]


def configurations(channels: int) -> list[tuple[str, Callable[..., torch.nn.Module], torch.Tensor, tuple[int, ...]]]:
    dense = partial(ammup.mlp, width=512, out_features=512, readout="he")
    conv = partial(ammup.cnn, width=channels, out_channels=channels, head="field", readout="he")
    line, plane = partial(conv, dims=1, in_channels=channels), partial(conv, dims=2)
    of_noise, of_images = partial(plane, in_channels=channels), partial(plane, in_channels=3)
    row, square = noise(1, channels, 12), noise(1, channels, 5, 5)
    return [
        ("dense, 8 samples of noise", partial(dense, in_features=512), noise(8, 512), (2, 4, 8)),
        ("dense, 16 images", partial(dense, in_features=192), images(16, 8), (2, 4, 8)),
        ("dense, 16 images, GELU", partial(dense, in_features=192, activation="gelu"), images(16, 8), (2, 4, 8)),
        ("1D, k = 3, circular", line, row, (2, 4, 8)),
        ("1D, k = 3, zero", partial(line, padding="zero"), row, (2, 4, 8)),
        ("1D, k = 5, zero", partial(line, kernel=5, padding="zero"), row, (2, 4)),
        ("1D, k = 3, GELU, mean-field", partial(line, activation="gelu", readout="mean-field"), row, (2, 4)),
        ("1D, k = 3, batch of 4", line, noise(4, channels, 8), (2, 4)),
        ("2D, 3×3, circular", of_noise, square, (2, 4)),
        ("2D, 3×3, zero", partial(of_noise, padding="zero"), square, (2, 4)),
        ("2D, 1×3, circular", partial(of_noise, kernel=(1, 3)), square, (2, 4)),
        ("2D, plus, circular", partial(of_noise, kernel=PLUS), square, (2, 4)),
        ("2D, one tap off the centre", partial(of_noise, kernel=[(1, 2)]), square, (2, 4)),
        ("2D, 3×3, one image, circular", of_images, images(1, 8), (2, 4, 8)),
        ("2D, 3×3, one image, zero", partial(of_images, padding="zero"), images(1, 8), (2, 4, 8)),
        ("2D, 3×3, 8 images, zero", partial(of_images, padding="zero"), images(8, 8), (2, 4)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=24, help="weight draws at each depth")
    parser.add_argument("--channels", type=int, default=128, help="channels of the convolutions")
    args = parser.parse_args()
    errors = []
    print(f"{'net':<30} {'L':>3} {'law':>9} {'measured':>9} {'ratio':>7} {'s.e.':>6} {'seconds':>8}")
    for name, factory, inputs, depths in configurations(args.channels):
        for depth in depths:
            start = time.perf_counter()
            nets = [factory(depth, seed=seed) for seed in range(args.draws)]
            S = [ammup.measure_updates(net, inputs, part="label", seed=seed).S_bar for seed, net in enumerate(nets)]
            lr_star, se = maximal_lr_of(S)
            law = nets[0].law.lr_star(depth, inputs.double().numpy())
            errors.append(abs(lr_star / law - 1))
            seconds = time.perf_counter() - start
            ratio = f"{lr_star / law:7.3f} {np.log(10) * se:6.3f}"
            print(f"{name:<30} {depth:3d} {law:9.4f} {lr_star:9.4f} {ratio} {seconds:8.1f}", flush=True)
    print(f"{len(errors)} cells: median error {np.median(errors):.1%}, worst {np.max(errors):.1%}")


if __name__ == "__main__":
    main()
