"""CPU time to a standard error of 0.02 of the slope over L = 4, 8, 16, 32, with and without variance reduction.

The nets are dense ReLU nets with one sample and the label part. "plain" is the mean over seeds, with one net and one
label at a time. "library" measures many nets in one call, with four labels in each forward pass, and uses the squared
gradient norms as control variate, whose expectation is exact at any width. The time of each method is multiplied by
(s.e./0.02)², because the standard error decreases with the square root of the number of draws. The methods alternate in
one process.

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

DEPTHS = (4, 8, 16, 32)
TARGET = 0.02


def setting(width: int, label_draws: int) -> Setting:
    sizes = (("width", width), ("in_features", width), ("out_features", width), ("readout", "he"))
    return Setting(family="mlp", depths=DEPTHS, inputs=("ones", width), arguments=sizes, label_draws=label_draws)


def one_by_one(width: int, label_draws: int, seeds: range) -> np.ndarray:
    """S̄ of every seed and depth, measured with the public function, one net at a time."""
    x = torch.ones(1, width)
    net = partial(ammup.mlp, width=width, in_features=width, out_features=width, readout="he")
    return np.array(
        [
            [
                ammup.measure_updates(net(depth, seed=seed), x, part="label", label_draws=label_draws, seed=seed).S_bar
                for depth in DEPTHS
            ]
            for seed in seeds
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=128, help="weight draws in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    args = parser.parse_args()
    print(f"{'width':>5} {'method':<42} {'slope':>7} {'s.e.':>6} {'CPU s':>7} {'CPU s to 0.02':>14} {'gain':>6}")
    for width in args.widths:
        ways: dict[str, Callable[[range], np.ndarray]] = {
            "plain, one label": partial(one_by_one, width, 1),
            "plain, four labels": partial(one_by_one, width, 4),
            "library, many nets at once": setting(width, 4).S_bar,
            "library, and control variate": setting(width, 4).S_bar_controlled,
        }
        for way in ways.values():  # imports and tracing are not timed
            way(range(10_000, 10_004))
        rows: dict[str, list[np.ndarray]] = {name: [] for name in ways}
        seconds = dict.fromkeys(ways, 0.0)
        for block in range(args.rounds):
            for name, way in ways.items():
                clear_cache()
                start = time.process_time()
                rows[name].append(way(range(block * args.draws, (block + 1) * args.draws)))
                seconds[name] += time.process_time() - start
        reference = 0.0
        for name in ways:
            estimate = jackknife(np.concatenate(rows[name]), slope_over(DEPTHS))
            needed = seconds[name] * (estimate.se / TARGET) ** 2
            reference = reference or needed
            print(
                f"{width:5d} {name:<42} {estimate.value:7.3f} {estimate.se:6.3f} {seconds[name]:7.1f} "
                f"{needed:14.1f} {reference / needed:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
