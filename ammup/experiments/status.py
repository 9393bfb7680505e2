"""How far a sweep has come."""

import pandas as pd

from ammup.experiments.experiment import Experiment


def status_of(experiment: Experiment, table: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
    """One row for each depth of the grid.

    Args:
        experiment: whose grid.
        table: stored runs of it, as :meth:`ammup.experiments.store.Store.table` gives them.
        left_out: cells that adaptive searches are done with; they count where the experiment asks for such a search.

    Returns:
        Columns depth, total, done, left_out, diverged, best_lr and val_accuracy: that of the best learning rate so far,
        averaged over the seeds that are done; NaN where there is none.
    """
    cells = pd.DataFrame([{"key": cell.key, "depth": cell.depth} for cell in experiment.cells()])
    runs = table[table["key"].isin(cells["key"])]
    left = left_out[left_out["key"].isin(cells["key"]) & ~left_out["key"].isin(runs["key"])]
    if experiment.search != "adaptive":
        left = left[:0]
    rows = []
    for depth, total in cells.groupby("depth").size().items():
        here = runs[runs["depth"] == depth]
        means = here[~here["diverged"]].groupby("lr")["val_accuracy"].mean()
        best = means.idxmax() if len(means) else float("nan")
        rows.append(
            {
                "depth": depth,
                "total": total,
                "done": len(here),
                "left_out": int((left["depth"] == depth).sum()),
                "diverged": int(here["diverged"].sum()),
                "best_lr": best,
                "val_accuracy": means.max() if len(means) else float("nan"),
            }
        )
    return pd.DataFrame(rows)
