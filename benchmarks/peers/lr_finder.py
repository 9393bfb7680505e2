"""Compare the learning rates of the range test of torch-lr-finder with the optima of swept grids.

For each sweep in baselines/sweeps, and each of its depths and seeds, the range test is run with a new net over the
range of the grid, on the same images and with the same minibatch size. The result is the suggestion of the finder's
plot (the steepest descent of the smoothed loss). It is compared with η* measured on one minibatch, which costs three
training steps and is not meant to be the best learning rate of a complete run, and with three fixed learning rates.

The cost is in training steps. The distance is the mean of |log10(found / best of the grid)| over depths and seeds. The
accuracy lost is taken from the nearest grid point.

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
MEASUREMENT_STEPS = 3  # a backward and a forward-mode pass cost about as much as three training steps


def suggested(model: nn.Module, images: TensorDataset, *, batch: int, low: float, high: float, steps: int) -> float:
    """The learning rate that torch-lr-finder suggests."""
    from torch_lr_finder import LRFinder

    model.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), lr=low)
    finder = LRFinder(model, sgd, nn.CrossEntropyLoss(), device="cpu")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        finder.range_test(DataLoader(images, batch_size=batch, shuffle=True), end_lr=high, num_iter=steps)
        _, lr = finder.plot(suggest_lr=True)
    mpl.pyplot.close("all")
    return float(lr)


def suggestions(
    record: SweepRecord, factory: Factory, data: Data, *, steps: tuple[int, ...]
) -> Iterator[dict[str, object]]:
    """One row for each method, depth and seed."""
    experiment = record.experiment
    images, batch = standardized_data(data), experiment.training.batch_size
    low, high = experiment.grid.learning_rates[0], experiment.grid.learning_rates[-1]
    for depth in experiment.grid.depths:
        for seed in experiment.grid.seed_numbers:
            runs = record.runs.query("depth == @depth and seed == @seed").sort_values("lr")
            if runs.empty:
                continue
            with seeded("lr-finder", seed):
                results = {
                    f"torch-lr-finder, {n} steps": (
                        suggested(build_model(factory, depth, seed), images, batch=batch, low=low, high=high, steps=n),
                        n,
                    )
                    for n in steps
                }
            first = data.batch(batch, seed=seed)
            measured = ammup.measure_updates(build_model(factory, depth, seed), *first, loss="cross_entropy")
            results["measured η*"] = float(measured.lr_star), MEASUREMENT_STEPS
            for lr in (1e-2, 1e-1, 1e0):
                results[f"{lr:g}, fixed"] = lr, 0
            for method, (lr, cost) in results.items():
                yield {
                    "experiment": experiment.name,
                    "depth": depth,
                    "seed": seed,
                    "method": method,
                    "steps": cost,
                } | grid_errors(runs, lr)


def grid_errors(runs: pd.DataFrame, lr: float) -> dict[str, float]:
    """The log10 distance of a learning rate from the best grid point, and the accuracy that it loses."""
    accuracy, grid = runs["val_accuracy"].fillna(0.0).to_numpy(), np.log10(runs["lr"].to_numpy())
    best, nearest = int(accuracy.argmax()), int(np.abs(grid - np.log10(lr)).argmin())
    lost = accuracy[best] - accuracy[nearest]
    return {"lr": lr, "log10(found/best)": float(np.log10(lr) - grid[best]), "accuracy lost": float(lost)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data of the sweeps, such as ~/cifar10")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 350], help="steps of the finder")
    parser.add_argument("--records", type=Path, nargs="+", default=sorted(SWEEPS.glob("*.json")))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch_lr_finder")
    warnings.filterwarnings("ignore", message=".*TqdmExperimentalWarning.*")
    tables = []
    for path in arguments.records:
        record = SweepRecord.read(path)
        source = record.experiment.data
        data = ammup.load_data(
            arguments.data,
            image_size=source.image_size,
            train=source.train,
            validation=source.validation,
            seed=source.seed,
        )
        model = record.experiment.model
        factory = named_factory(model.factory, model.arguments, image_shape=data.image_shape, classes=len(data.classes))
        table = pd.DataFrame(suggestions(record, factory, data, steps=tuple(arguments.steps)))
        table["distance"] = table["log10(found/best)"].abs()
        total = len(record.experiment.grid.learning_rates) * -(-source.train // record.experiment.training.batch_size)
        print(f"\n{record.experiment.name}: the grid takes {total} steps for each depth and seed")
        print(summary(table), flush=True)
        tables.append(table)
    print(f"\nall\n{summary(pd.concat(tables))}")


def summary(table: pd.DataFrame) -> str:
    """Means over depths and seeds, one line for each method."""
    columns = ["steps", "distance", "log10(found/best)", "accuracy lost"]
    return str(table.groupby("method", sort=False)[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
