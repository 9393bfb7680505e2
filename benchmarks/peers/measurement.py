"""Compare the CPU time of four methods for the depth exponent of η*, at equal standard errors of the slope.

* "coordinate check": the common method with hooks. For each weight draw and each learning rate of a grid, a new net
  runs a forward pass with hooks on the units, a step of torch.optim.SGD, and another forward pass. η* is the learning
  rate with S̄ = 1, interpolated between two points of the grid.
* "mup": the same with `mup.coord_check.get_coord_data` (pip install mup). It records the mean absolute output of every
  module and no differences, and thus gives no η*. Only its time is printed, for the same nets, weight draws and
  learning rates, with two steps each.
* "plain": `ammup.measure_updates` for one net after another; the mean over weight draws.
* "library": `ammup.depth_exponent`, all draws and depths in one call.

All except mup estimate the same S̄ from the same weight draws, and the time of each is multiplied by (s.e./0.02)². The
methods alternate in one process, after a warm-up. benchmarks/variance_reduction.py shows the additional gain of the
control variate of dense nets.

    python -m benchmarks.peers.measurement --rounds 3
"""

import argparse
import copy
import importlib.util
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

import ammup
from ammup.claims.statistics import slope_over
from ammup.stats.equivalence import jackknife
from benchmarks.tracked.measurement import step_moment

Array = NDArray[np.float64]
Rows = Callable[[range], Array]  # seeds -> S̄ [seed, depth] at learning rate 1

DEPTHS = (4, 8, 16, 32)
TARGET = 0.02
LRS = np.geomspace(1e-3, 10, 9)


def coordinate_check(factory: Callable[..., nn.Module], images: Tensor, labels: Tensor, seeds: range) -> Array:
    """S̄ = η*^(-2), with η* interpolated between two points of a grid of learning rates."""
    rows = []
    for seed in seeds:
        row = []
        for depth in DEPTHS:
            S = [step_moment(factory(depth, seed=seed), images, labels, lr) for lr in LRS]
            row.append(float(np.exp(np.interp(0.0, np.log(S), np.log(LRS)))) ** -2)
        rows.append(row)
    return np.array(rows)


def mup_check(factory: Callable[..., nn.Module], images: Tensor, labels: Tensor, seeds: range) -> None:
    """Run the coordinate check of mup, whose records are discarded."""
    from mup.coord_check import get_coord_data

    for seed in seeds:
        for lr in LRS:
            models = {depth: partial(factory, depth, seed=seed) for depth in DEPTHS}
            get_coord_data(
                models, [(images, labels)], optimizer="sgd", mup=False, lr=lr, nsteps=2, nseeds=1, cuda=False
            )


def plain(factory: Callable[..., nn.Module], images: Tensor, labels: Tensor, seeds: range) -> Array:
    """S̄ of one net after another."""
    return np.array(
        [
            [
                ammup.measure_updates(factory(depth, seed=seed), images, labels, loss="cross_entropy").S_bar
                for depth in DEPTHS
            ]
            for seed in seeds
        ]
    )


def library(factory: Callable[..., nn.Module], images: Tensor, labels: Tensor, seeds: range) -> Array:
    """S̄ of the complete depth curve in one call."""
    law = ammup.depth_exponent(factory, DEPTHS, inputs=images, targets=labels, loss="cross_entropy", seeds=list(seeds))
    return law.table.pivot(index="seed", columns="depth", values="S_bar").to_numpy()


def check_equality(factory: Callable[..., nn.Module], images: Tensor, labels: Tensor) -> None:
    """Check in float64 that plain and library give the S̄ of an actual step with a small learning rate."""
    exact = partial(_double, factory)
    lr = 1e-5
    by_hooks = [step_moment(exact(depth, seed=0), images.double(), labels, lr) / lr**2 for depth in DEPTHS]
    for way in (plain, library):
        np.testing.assert_allclose(way(exact, images.double(), labels, range(2))[0], by_hooks, rtol=1e-2)


def _double(factory: Callable[..., nn.Module], depth: int, seed: int) -> nn.Module:
    return copy.deepcopy(factory(depth, seed=seed)).double()


def compare(name: str, ways: dict[str, Rows], *, draws: int, rounds: int) -> None:
    """Print the time of each method, scaled to the target standard error, and its ratio to the fastest."""
    rows: dict[str, list[Array]] = {way: [] for way in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for turn in range(-1, rounds):
        for way, measure in ways.items():
            seeds = range(turn * draws, (turn + 1) * draws) if turn >= 0 else range(10_000, 10_002)
            start = time.process_time()
            found = measure(seeds)
            if turn >= 0:
                seconds[way] += time.process_time() - start
                rows[way].append(found)
    estimates = {way: jackknife(np.concatenate(found), slope_over(DEPTHS)) for way, found in rows.items()}
    needed = {way: seconds[way] * (estimate.se / TARGET) ** 2 for way, estimate in estimates.items()}
    best = min(needed.values())
    for way, estimate in estimates.items():
        print(
            f"{name:<34} {way:<30} {estimate.value:6.2f} {estimate.se:6.3f} {seconds[way]:7.1f} {needed[way]:14.1f} "
            f"{needed[way] / best:9.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=16, help="weight draws in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    size = {"draws": arguments.draws, "rounds": arguments.rounds}
    data = ammup.load_data("synthetic", image_size=8)
    images, labels = data.batch(16)
    print(f"{'net':<34} {'method':<30} {'slope':>6} {'s.e.':>6} {'CPU s':>7} {'CPU s to 0.02':>14} {'× the best':>9}")
    for width in (16, 64):
        for family, net in (("cnn", ammup.cnn), ("resnet", ammup.resnet)):
            factory = partial(net, width=width)
            check_equality(factory, images, labels)
            ways = {
                f"coordinate check, {len(LRS)} rates": partial(coordinate_check, factory, images, labels),
                "plain": partial(plain, factory, images, labels),
                "library": partial(library, factory, images, labels),
            }
            compare(f"{family}, width {width}, cross-entropy", ways, **size)
            if importlib.util.find_spec("mup"):
                start = time.process_time()
                mup_check(factory, images, labels, range(1))
                seconds = (time.process_time() - start) * size["draws"] * size["rounds"]
                print(f"{'':<34} {'mup.coord_check (no η*)':<30} {'':>6} {'':>6} {seconds:7.1f}")


if __name__ == "__main__":
    main()
