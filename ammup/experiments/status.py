"""Which stored cells belong to a grid, and the progress of its sweep."""

import numpy as np
import pandas as pd

from ammup.experiments.experiment import Experiment


def of_grid(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The rows of a table (columns depth, lr, seed) that are cells of the experiment's current grid."""
    grid = experiment.grid
    sides = {"depth": grid.depths, "lr": grid.learning_rates, "seed": grid.seed_numbers}
    inside = np.logical_and.reduce([table[name].isin(side).to_numpy() for name, side in sides.items()])
    return table[inside].reset_index(drop=True)


def status_of(experiment: Experiment, table: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
    """One row for each depth of the grid.

    Args:
        experiment: with the grid.
        table: its stored runs, as :meth:`ammup.experiments.store.Store.runs` returns them.
        left_out: cells that adaptive searches left out; they count if the experiment is such a search.

    Returns:
        Columns depth, total, done, left_out, diverged, best_lr and val_accuracy: that of the best learning rate so far,
        averaged over the seeds that are done; NaN where there is none.
    """
    here_of = {int(str(depth)): runs for depth, runs in of_grid(table, experiment).groupby("depth")}
    left = of_grid(left_out, experiment) if experiment.search == "adaptive" else left_out[:0]
    grid, rows = experiment.grid, []
    for depth in sorted(grid.depths):
        here = here_of.get(depth, table[:0])
        done = pd.MultiIndex.from_frame(here[["seed", "lr"]])
        others = pd.MultiIndex.from_frame(left.loc[left["depth"] == depth, ["seed", "lr"]])
        means = here[~here["diverged"]].groupby("lr")["val_accuracy"].mean()
        best = means.idxmax() if len(means) else float("nan")
        rows.append(
            {
                "depth": depth,
                "total": len(grid.learning_rates) * len(grid.seed_numbers),
                "done": len(here),
                "left_out": int((~others.isin(done)).sum()),
                "diverged": int(here["diverged"].sum()),
                "best_lr": best,
                "val_accuracy": means.max() if len(means) else float("nan"),
            }
        )
    return pd.DataFrame(rows)
