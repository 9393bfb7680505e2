"""CPU time of the finite-depth law: one pass for the mean of all units against S_l of every unit, and their difference.

python benchmarks/law_speed.py [--images 32] [--size 8]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

import ammup
from ammup.architecture.architecture import Architecture
from ammup.models.factory import architecture_of
from ammup.theory.finite_depth import finite_depth_lrs
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import unit_moments
from ammup.theory.wide_net import wide_net


def timed(compute: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """The result, and the CPU seconds of all threads."""
    start = time.process_time()
    return compute(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--size", type=int, default=8, help="height and width of the images")
    args = parser.parse_args()
    inputs, classes = ammup.load_data("synthetic", image_size=args.size).batch(args.images)
    batch, gradient = inputs.double().numpy(), LossGradient(loss="cross_entropy", part="total", classes=classes.numpy())
    print(f"{'net':<8} {'depths':<12} {'every unit':>11} {'one pass':>9} {'ratio':>6} {'largest difference of η*':>25}")
    for factory, depths in ((ammup.cnn, (2, 4, 8, 16)), (ammup.resnet, (2, 4, 8))):
        nets: list[Architecture] = [net for d in depths if (net := architecture_of(factory, d)) is not None]
        found, seconds = timed(lambda nets=nets: finite_depth_lrs(nets, batch, gradient))
        units, before = timed(
            lambda nets=nets: np.array([unit_moments(wide_net(net), batch, gradient).mean() ** -0.5 for net in nets])
        )
        print(
            f"{factory.__name__:<8} {','.join(map(str, depths)):<12} {before:9.1f} s {seconds:7.1f} s "
            f"{before / seconds:6.1f} {np.abs(found / units - 1).max():25.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
