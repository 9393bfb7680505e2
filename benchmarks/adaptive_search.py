"""Replay the adaptive search on full grids: the steps that it saves, and how often it finds the optimum.

The search is repeated for every (experiment, depth, seed) with a complete grid of 40 learning rates, on the stored
training losses of its runs. These are means over parts of a run (8 of 352 steps), so numbers of steps are rounded to
such parts. MARGIN and MOST of the search were chosen on seed 0 of the sweeps in baselines/sweeps, without other seeds.

    python benchmarks/adaptive_search.py                                # the grids in baselines/sweeps/grids.npz
    python benchmarks/adaptive_search.py RUNS.db [--keep GRIDS.npz]     # the grids of stores
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tracked.search import GRIDS, Grids

from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.format import with_interval

POINTS = 40


def grids_of(paths: list[Path]) -> Grids:
    """The complete grids of stores."""
    rows = [row for path in paths for row in _rows(path)]
    if not rows:
        raise SystemExit("no depth and seed has a complete grid of 40 learning rates and a measurement")
    return Grids(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def _rows(path: Path) -> Iterator[dict[str, object]]:
    """The fields of :class:`Grids` for each complete grid of a store."""
    with Store(path, mode="read") as store:
        for stored in store.experiments():
            points = len(Experiment.from_toml(stored.specification).grid.learning_rates)
            table, curves = store.table(stored.key), store.curves(stored.key)
            first = store.measurements(stored.key).query("step == 0").set_index(["depth", "seed"])["S_bar"]
            for (depth, seed), runs in table.groupby(["depth", "seed"]):
                if points != POINTS or len(runs) != points or (depth, seed) not in first.index:
                    continue
                if runs["diverged"].all():
                    continue
                runs = runs.sort_values("lr")
                yield {
                    "experiment": stored.name,
                    "depth": depth,
                    "seed": seed,
                    "lrs": runs["lr"].to_numpy(),
                    "accuracy": runs["val_accuracy"].fillna(-1.0).to_numpy(),
                    "steps": runs["steps"].to_numpy(),
                    "losses": _losses(runs, curves),
                    "lr_star": float(np.atleast_1d(first.loc[depth, seed])[0]) ** -0.5,
                }


def _losses(runs: pd.DataFrame, curves: dict[str, list[tuple[int, float]]]) -> NDArray[np.float64]:
    """Training losses by learning rate and part of the run, infinite after divergence."""
    finite = runs.loc[~runs["diverged"].astype(bool), "key"]
    ends = np.array([step for step, _ in curves[finite.iloc[0]]])
    losses = np.full((len(runs), len(ends)), np.inf)
    for place, (key, taken) in enumerate(zip(runs["key"], runs["steps"], strict=True)):
        reached = ends <= taken
        if reached.any():
            step, loss = (np.array(column, dtype=float) for column in zip(*curves[key], strict=True))
            losses[place, reached] = np.interp(ends[reached], step, loss)
    return losses


def summary(rows: pd.DataFrame) -> dict[str, object]:
    """Agreement with the full grids and its interval (Clopper and Pearson, 95 %), and the savings."""
    near, n = int((rows["off"].abs() <= 1).sum()), len(rows)
    interval = stats.binomtest(near, n).proportion_ci()
    return {
        "grids": n,
        "same or next": with_interval(near / n, interval, ".1%"),
        "same": f"{(rows['off'] == 0).mean():.1%}",
        "fewer steps": f"{rows['grid'].sum() / rows['steps'].sum():.2f}×",
        "from the middle": f"{rows['grid'].sum() / rows['steps from the middle'].sum():.2f}×",
        "accuracy lost": f"{rows['accuracy lost'].mean():.4f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="*")
    parser.add_argument("--keep", type=Path, help=f"write the grids of the stores to this file, such as {GRIDS.name}")
    arguments = parser.parse_args()
    grids = grids_of(arguments.stores) if arguments.stores else Grids.read()
    if arguments.keep:
        grids.write(arguments.keep)
    rows = grids.replayed()
    chosen = {"seed 0": rows[rows["seed"] == 0], "other seeds": rows[rows["seed"] != 0], "all": rows}
    parts = chosen | {str(name): group for name, group in rows.groupby("experiment")}
    print(pd.DataFrame({name: summary(part) for name, part in parts.items() if len(part)}).T.to_string())
    off = rows.loc[rows["off"].abs() > 1, ["experiment", "depth", "seed", "off", "accuracy lost"]]
    print(f"\nneither the same nor the next learning rate:\n{off.to_string(index=False)}")
    best = rows.pivot_table(index=["experiment", "depth"], columns="seed", values="best")
    if {0, 1} <= set(best):
        apart = (best[1] - best[0]).dropna().abs()
        near = f"same or next in {(apart <= 1).mean():.1%} of {len(apart)}"
        print(f"\nfull grids of seed 0 compared with seed 1: {near}")


if __name__ == "__main__":
    main()
