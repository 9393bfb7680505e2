"""Measured η* of dense nets against the finite-depth law, with no fitted constant.

Prints, for plain ReLU nets (width = inputs = outputs) and for residual nets with one layer in each block, the law, the
measurement, their ratio and its standard error at each depth. The last column is the ratio to a simpler law of residual
nets, in which the gates of different blocks are independent; the measurement distinguishes the two.

    python benchmarks/dense_law.py --draws 24
"""

import argparse
import time
from functools import partial

import numpy as np
import torch

import ammup
from ammup.format import with_interval

PLAIN = (2, 3, 4, 6, 8, 12, 16)
RESIDUAL = (4, 8, 16, 32, 64)


def independent_gates_law(depths: tuple[int, ...], c: float = 2.0) -> list[float]:
    """η* of residual ReLU nets under the assumption that the gates of different blocks are independent."""
    laws = []
    for n_blocks in depths:
        x, alpha, tau, power, S = c / (2 * n_blocks), 1.0, 1.0, 1.0, []
        for block in range(1, n_blocks + 1):
            a = power / 2
            tau = (1 + x) ** 2 * tau + 2 * x * (1 + x) * alpha**2 + 2 * a * (1 + x) * alpha + a**2
            alpha = (1 + x) * alpha + a
            power *= 1 + x
            S.append(tau * (1 + x) ** (n_blocks - block))
        laws.append(float(np.mean(S) ** -0.5))
    return laws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=24, help="weight draws at each depth")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--plain-width", type=int, default=1024)
    parser.add_argument("--residual-width", type=int, default=512)
    args = parser.parse_args()
    n, m = args.plain_width, args.residual_width
    plain = partial(ammup.mlp, width=n, in_features=n, out_features=n, readout="he")
    residual = partial(ammup.resnet, dims=0, width=m, branch=1, c=2.0, in_channels=m, out_channels=m, readout="he")
    for title, factory, width, family, depths in (
        (f"plain dense ReLU, n = {n}", plain, n, "mlp", PLAIN),
        (f"residual dense, m = 1, c = 2, n = {m}", residual, m, "resnet", RESIDUAL),
    ):
        start = time.perf_counter()
        law = ammup.depth_exponent(
            factory,
            depths,
            inputs=torch.ones(1, width),
            part="label",
            seeds=range(args.first_seed, args.first_seed + args.draws),
        )
        curve = law.curve
        theory = ammup.finite_depth_law(depths, family=family)
        print(f"\n{title}, {args.draws} draws, {time.perf_counter() - start:.0f} s")
        simpler = independent_gates_law(depths) if family == "resnet" else [float("nan")] * len(depths)
        print(f"{'L':>4} {'law':>8} {'measured':>9} {'ratio':>7} {'s.e.':>6} {'ratio, independent gates':>25}")
        for i, (lr, se) in enumerate(zip(curve["lr_star"], curve["se_log10"], strict=True)):
            print(
                f"{depths[i]:4d} {theory[i]:8.4f} {lr:9.4f} {lr / theory[i]:7.3f} {np.log(10) * se:6.3f} "
                f"{lr / simpler[i]:25.3f}"
            )
        slope = with_interval(law.power_law.slope, law.power_law.slope_ci, ".3f")
        print(f"slope {slope}, law {law.reference:.3f}")


if __name__ == "__main__":
    main()
