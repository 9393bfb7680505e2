"""Learning rates by torch-lr-finder's range test, and how far they are from the optima of swept grids.

For each net of the sweeps in baselines/sweeps that has a whole grid, at each of its depths and seeds: a fresh net, the
range test over the grid's range on the grid's images and minibatch size, and what the finder's own plot suggests (the
steepest fall of the smoothed loss). Beside it stand η* as measured on one minibatch (which nobody claims to be the
best learning rate of a whole run: it shows what one gets for three steps' work), and the best of three of the grid's
points, chosen blindly: a factor of ten apart.

Cost is in training steps; the distance is the mean of |log10(found / best of the grid)| over depths and seeds, and the
accuracy lost is read from the grid, at its point next to the one found.

    pip install torch-lr-finder
    python -m benchmarks.peers.lr_finder ~/cifar10
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup.data.dataset import Data
from ammup.experiments.record import SweepRecord
from ammup.models.factory import Factory, build_model, named_factory
from ammup.models.streams import seeded
from benchmarks.tracked.obvious import standardized_data

mpl.use("Agg")
SWEEPS = Path(__file__).parents[2] / "baselines" / "sweeps"
MEASUREMENT_STEPS = 3  # a backward and a forward-mode pass are about three training steps


def suggested(model: nn.Module, images: TensorDataset, *, batch: int, low: float, high: float, steps: int) -> float:
    """The finder's own suggestion."""
    from torch_lr_finder import LRFinder

    model.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), lr=low)
    finder = LRFinder(model, sgd, nn.CrossEntropyLoss(), device="cpu")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        finder.range_test(DataLoader(images, batch_size=batch, shuffle=True), end_lr=high, num_iter=steps)
        _, lr = finder.plot(suggest_lr=True)
    mpl.pyplot.close("all")
    return float(lr)


def found(record: SweepRecord, factory: Factory, data: Data, *, steps: tuple[int, ...]) -> Iterator[dict[str, object]]:
    """A row for each way, depth and seed."""
    experiment = record.experiment
    images, batch = standardized_data(data), experiment.training.batch_size
    low, high = experiment.grid.learning_rates[0], experiment.grid.learning_rates[-1]
    for depth in experiment.grid.depths:
        for seed in experiment.grid.seed_numbers:
            runs = record.runs.query("depth == @depth and seed == @seed").sort_values("lr")
            if runs.empty:
                continue
            with seeded("lr-finder", seed):
                ways = {
                    f"torch-lr-finder, {n} steps": (
                        suggested(build_model(factory, depth, seed), images, batch=batch, low=low, high=high, steps=n),
                        n,
                    )
                    for n in steps
                }
            first = data.batch(batch, seed=seed)
            measured = ammup.measure_updates(build_model(factory, depth, seed), *first, loss="cross_entropy")
            ways["measured η*"] = float(measured.lr_star), MEASUREMENT_STEPS
            for lr in (1e-2, 1e-1, 1e0):
                ways[f"{lr:g}, blindly"] = lr, 0
            for way, (lr, cost) in ways.items():
                yield {"experiment": experiment.name, "depth": depth, "seed": seed, "way": way, "steps": cost} | scored(
                    runs, lr
                )


def scored(runs: pd.DataFrame, lr: float) -> dict[str, float]:
    """How far a learning rate is from the best of the grid, and what it loses."""
    accuracy, grid = runs["val_accuracy"].fillna(0.0).to_numpy(), np.log10(runs["lr"].to_numpy())
    best, near = int(accuracy.argmax()), int(np.abs(grid - np.log10(lr)).argmin())
    lost = accuracy[best] - accuracy[near]
    return {"lr": lr, "log10(found/best)": float(np.log10(lr) - grid[best]), "accuracy lost": float(lost)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the data of the sweeps, such as ~/cifar10")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 350], help="of the finder; its default is 100")
    parser.add_argument("--records", type=Path, nargs="+", default=sorted(SWEEPS.glob("*.json")))
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch_lr_finder")
    warnings.filterwarnings("ignore", message=".*TqdmExperimentalWarning.*")
    tables = []
    for path in given.records:
        record = SweepRecord.read(path)
        source = record.experiment.data
        data = ammup.load_data(
            given.data,
            image_size=source.image_size,
            train=source.train,
            validation=source.validation,
            seed=source.seed,
        )
        model = record.experiment.model
        factory = named_factory(model.factory, model.arguments, image_shape=data.image_shape, classes=len(data.classes))
        table = pd.DataFrame(found(record, factory, data, steps=tuple(given.steps)))
        table["distance"] = table["log10(found/best)"].abs()
        total = len(record.experiment.grid.learning_rates) * -(-source.train // record.experiment.training.batch_size)
        print(f"\n{record.experiment.name}: the grid takes {total} steps for each depth and seed")
        print(summary(table), flush=True)
        tables.append(table)
    print(f"\nall\n{summary(pd.concat(tables))}")


def summary(table: pd.DataFrame) -> str:
    """Means over depths and seeds, a line for each way."""
    columns = ["steps", "distance", "log10(found/best)", "accuracy lost"]
    return str(table.groupby("way", sort=False)[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
