"""CPU time to a standard error of 0.02 of the slope over depths, with and without variance reduction.

The nets are ReLU nets with the label part: dense ones on one sample over L = 4, 8, 16, 32, and convolutional and
residual ones on four images of 6x6 over L = 4, 8, 16. "one net at a time" is the public function on one net after
another, with four labels in each forward pass. "library" measures many nets in one call. "control variate" also uses
a control variate whose expectation is exact at any width: the squared gradient norms of dense nets on one sample, and
otherwise the mean squares of the units. The time of each method is multiplied by (s.e./0.02)², because the standard
error decreases with the square root of the number of draws. The methods alternate in one process.

    python benchmarks/variance_reduction.py --rounds 3
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import ammup
from ammup.claims.draws import Setting, clear_cache
from ammup.claims.statistics import slope_over
from ammup.stats.equivalence import jackknife

TARGET = 0.02
FAMILIES = ("mlp", "cnn", "resnet")


def setting(family: str, width: int) -> Setting:
    if family == "mlp":
        return Setting(
            family="mlp",
            depths=(4, 8, 16, 32),
            inputs=("ones", width),
            arguments=(("width", width), ("in_features", width), ("out_features", width), ("readout", "he")),
        )
    return Setting(family=family, depths=(4, 8, 16), inputs=("noise", 4, 3, 6, 6), arguments=(("width", width),))


def one_by_one(cells: Setting, seeds: range, *, label_draws: int = 4) -> np.ndarray:
    """S̄ of every seed and depth, measured with the public function, one net at a time."""
    x, _ = cells.batch
    return np.array(
        [
            [
                ammup.measure_updates(
                    cells.factory(depth, seed=seed), x, part="label", label_draws=label_draws, seed=seed
                ).S_bar
                for depth in cells.depths
            ]
            for seed in seeds
        ]
    )


def table(family: str, width: int, *, draws: int, rounds: int) -> None:
    """Print the lines of one family and width."""
    cells = setting(family, width)
    ways: dict[str, Callable[[range], np.ndarray]] = {
        "one net at a time, one label": partial(one_by_one, cells, label_draws=1),
        "one net at a time": partial(one_by_one, cells),
        "library, many nets at once": cells.S_bar,
        "library, and control variate": cells.S_bar_controlled,
    }
    if family != "mlp":
        del ways["one net at a time, one label"]
    for way in ways.values():  # imports and tracing are not timed
        way(range(10_000, 10_004))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for block in range(rounds):
        for name, way in ways.items():
            clear_cache()
            start = time.process_time()
            rows[name].append(way(range(block * draws, (block + 1) * draws)))
            seconds[name] += time.process_time() - start
    reference = 0.0
    for name in ways:
        estimate = jackknife(np.concatenate(rows[name]), slope_over(cells.depths))
        needed = seconds[name] * (estimate.se / TARGET) ** 2
        reference = needed if name == "one net at a time" else reference
        print(
            f"{family:<7} {width:5d} {name:<30} {estimate.value:7.3f} {estimate.se:6.3f} {seconds[name]:7.1f} "
            f"{needed:14.1f} {reference / needed:6.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=128, help="weight draws in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--families", choices=FAMILIES, nargs="+", default=FAMILIES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'family':<7} {'width':>5} {'method':<30} {'slope':>7}   s.e.   CPU s        to 0.02   gain")
    for family in args.families:
        for width in args.widths:
            table(family, width, draws=args.draws, rounds=args.rounds)


if __name__ == "__main__":
    main()
