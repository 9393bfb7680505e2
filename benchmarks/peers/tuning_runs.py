"""Make the trainings that `python -m benchmarks.peers.tuning` replays, and store them in baselines/tuning.

For each recipe (a ResNet with momentum and cosine, a vision transformer with AdamW, warm-up and cosine; on 4,000
images of CIFAR-10 at 8×8), depth and seed: a full grid of learning rates, the range test of torch-lr-finder, and at
the target depths the optimizers that need no learning rate, for as many steps as one run and as the tuning of a rate.
Each run is stored when it ends, and stored runs are not made again.

    pip install '.[peers]'
    python -m benchmarks.peers.tuning_runs ~/cifar10 --seeds 2       # ten minutes of one core
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch

from benchmarks.peers.tuning_parts.real_runs import RANGE, Images, grid_of, range_test, run_without_rate
from benchmarks.peers.tuning_parts.recipes import RECIPES, Recipe
from benchmarks.peers.tuning_parts.records import GRID, NO_RATE, RANGE_TEST, Record, read, write
from benchmarks.peers.tuning_parts.without_rate import WITHOUT_RATE_RUNS

Key = tuple[str, int, float, int]


Runs = Iterator[tuple[Key, Callable[[], list[Record]]]]


def grids(recipe: Recipe, images: Images, seed: int, depths: tuple[int, ...]) -> Runs:
    """(First key, runs) of the full grids of a seed."""
    for depth in depths:
        yield (GRID, depth, recipe.lrs[0], seed), partial(grid_of, recipe, images, depth=depth, seed=seed)


def others(recipe: Recipe, images: Images, seed: int, depths: tuple[int, ...]) -> Runs:
    """(Key, runs) of the range tests and of the optimizers without a learning rate, at the targets."""
    for depth in depths:
        if depth == recipe.depths[0]:
            continue
        yield (RANGE_TEST, depth, RANGE[1], seed), partial(_one, range_test, recipe, images, depth=depth, seed=seed)
        for name in WITHOUT_RATE_RUNS:
            run = partial(_one, run_without_rate, recipe, images, name, depth=depth, seed=seed)
            yield (name, depth, NO_RATE, seed), run


def _one(run: Callable[..., Record], *arguments: object, **named: object) -> list[Record]:
    return [run(*arguments, **named)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data of the runs, such as ~/cifar10")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of every run")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = Images.load(arguments.data)
    # The smallest and the largest depth of all seeds first.
    for middle, wanted, seed, name in product(
        (False, True), (grids, others), range(arguments.seeds), arguments.recipes
    ):
        done, recipe = {record.key: record for record in read(name)}, RECIPES[name]
        depths = recipe.depths[1:-1] if middle else (recipe.depths[0], recipe.depths[-1])
        for key, run in wanted(recipe, images, seed, depths):
            if key in done:
                continue
            made = run()
            done |= {record.key: record for record in made}
            write(name, tuple(done.values()))
            for record in made:
                last = f"{record.losses[-1]:.3f}" if record.losses else "-"
                print(name, *record.key, f"loss {last} test {record.test} {record.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
