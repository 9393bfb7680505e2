"""The stored cells that belong to a grid, and the progress of its sweep."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ammup.experiments.experiment import Experiment


def unique_names(experiments: Sequence[Experiment]) -> list[str]:
    """Return the name of each experiment, with the first characters of its key if another one has the same name.

    Earlier versions did not add changed settings to the name, so that a store may contain a name several times.
    """
    counts = Counter(experiment.name for experiment in experiments)
    return [f"{one.name} ({one.key[:8]})" if counts[one.name] > 1 else one.name for one in experiments]


def rows_in_grid(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Select the rows of a table (columns depth, lr, seed) that are cells of the experiment's current grid."""
    grid = experiment.grid
    axes = {"depth": grid.depths, "lr": grid.learning_rates, "seed": grid.seed_numbers}
    inside = np.logical_and.reduce([table[name].isin(values).to_numpy() for name, values in axes.items()])
    return table[inside].reset_index(drop=True)


def status_of(experiment: Experiment, table: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
    """Summarize the progress of a sweep at each depth.

    Args:
        experiment: the experiment, with its grid.
        table: its stored runs, as :meth:`ammup.experiments.store.Store.runs` returns them.
        left_out: cells that adaptive searches left out; they count only if the experiment is an adaptive search.

    Returns:
        One row for each depth of the grid: depth, number of cells (total, done, left_out, diverged), best_lr and
        val_accuracy. The last two are the best learning rate so far and its validation accuracy, averaged over the
        seeds that are done; they are NaN if no run has ended without diverging.
    """
    runs_at = {int(str(depth)): runs for depth, runs in rows_in_grid(table, experiment).groupby("depth")}
    skipped = rows_in_grid(left_out, experiment) if experiment.search == "adaptive" else left_out[:0]
    grid, rows = experiment.grid, []
    for depth in sorted(grid.depths):
        runs = runs_at.get(depth, table[:0])
        done = pd.MultiIndex.from_frame(runs[["seed", "lr"]])
        skipped_here = pd.MultiIndex.from_frame(skipped.loc[skipped["depth"] == depth, ["seed", "lr"]])
        means = runs[~runs["diverged"]].groupby("lr")["val_accuracy"].mean()
        best = means.idxmax() if len(means) else float("nan")
        rows.append(
            {
                "depth": depth,
                "total": len(grid.learning_rates) * len(grid.seed_numbers),
                "done": len(runs),
                "left_out": int((~skipped_here.isin(done)).sum()),
                "diverged": int(runs["diverged"].sum()),
                "best_lr": best,
                "val_accuracy": means.max() if len(means) else float("nan"),
            }
        )
    return pd.DataFrame(rows)
