"""What the adaptive search saves, and how often it ends where the full grid does: replayed on full grids of a store.

Every (experiment, depth, seed) whose grid of 40 is whole is searched again, on the training losses that its runs left
behind. These are means over parts of the run (8 of 352 steps), so that shares of the steps are rounded to such parts.
MARGIN and MOST of the search were chosen on seed 0 of the sweeps in baselines/sweeps; other seeds had no part in it.

    python benchmarks/adaptive_search.py RUNS.db
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.fitting.search import RECENT, adaptive_search

Array = NDArray[np.float64]


class Grid:
    """The full grid of one depth and seed: accuracies, and losses by place and part of the run, infinite once lost."""

    def __init__(self, runs: pd.DataFrame, curves: dict[str, list[tuple[int, float]]]) -> None:
        runs = runs.sort_values("lr")
        self.lrs = runs["lr"].to_numpy()
        self.accuracy = runs["val_accuracy"].fillna(-1.0).to_numpy()
        self.steps = runs["steps"].to_numpy()
        whole = next(curves[key] for key, lost in zip(runs["key"], runs["diverged"], strict=True) if not lost)
        ends = np.array([step for step, _ in whole])
        self.total = int(ends[-1])
        self.losses = np.full((len(runs), len(ends)), np.inf)
        for place, key in enumerate(runs["key"]):
            reached = ends <= self.steps[place]
            if reached.any():
                step, loss = (np.array(column, dtype=float) for column in zip(*curves[key], strict=True))
                self.losses[place, reached] = np.interp(ends[reached], step, loss)

    def searched(self, start: int) -> tuple[tuple[int, ...], float]:
        """(places left, replica-steps taken)."""
        parts = self.losses.shape[1]
        recent = max(1, round(RECENT * parts))
        taken = np.zeros(len(self.lrs))
        search = adaptive_search(len(self.lrs), start)
        rung = next(search)
        while True:
            until = max(1, round(rung.share * parts))
            for place in rung.places:
                taken[place] = max(taken[place], min(until / parts * self.total, self.steps[place]))
            try:
                rung = search.send(
                    {place: float(self.losses[place, max(0, until - recent) : until].mean()) for place in rung.places}
                )
            except StopIteration as end:
                taken[list(end.value)] = self.steps[list(end.value)]
                return end.value, float(taken.sum())

    def place(self, lr: float) -> int:
        """The place next to a learning rate."""
        return int(np.argmin(np.abs(np.log(self.lrs) - np.log(lr))))


def replayed(path: Path) -> pd.DataFrame:
    """One row for each grid of a store: how far off the search ends, and the steps of both."""
    rows = []
    with Store(path, mode="read") as store:
        for stored in store.experiments():
            points = len(Experiment.from_toml(stored.specification).grid.learning_rates)
            table, curves = store.table(stored.key), store.curves(stored.key)
            first = store.measurements(stored.key).query("step == 0").set_index(["depth", "seed"])["S_bar"]
            for (depth, seed), runs in table.groupby(["depth", "seed"]):
                if len(runs) != points or points < 40 or (depth, seed) not in first.index or runs["diverged"].all():
                    continue
                grid = Grid(runs, curves)
                best = int(grid.accuracy.argmax())
                row = {
                    "experiment": stored.name,
                    "depth": depth,
                    "seed": seed,
                    "best": best,
                    "grid": int(grid.steps.sum()),
                }
                for way, start in (
                    ("", grid.place(float(np.atleast_1d(first.loc[depth, seed])[0]) ** -0.5)),
                    (" from the middle", points // 2),
                ):
                    left, taken = grid.searched(start)
                    found = max(left, key=lambda place: grid.accuracy[place], default=-1)
                    row[f"off{way}"], row[f"steps{way}"] = found - best, taken
                row["accuracy lost"] = grid.accuracy[best] - max(grid.accuracy[list(left)], default=0.0)
                rows.append(row)
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> dict[str, object]:
    """Agreement with its interval (Clopper and Pearson, 95 %), and what was saved."""
    near, n = int((rows["off"].abs() <= 1).sum()), len(rows)
    interval = stats.binomtest(near, n).proportion_ci()
    return {
        "grids": n,
        "same or next": f"{near / n:.1%} [{interval.low:.1%}, {interval.high:.1%}]",
        "same": f"{(rows['off'] == 0).mean():.1%}",
        "fewer steps": f"{rows['grid'].sum() / rows['steps'].sum():.2f}×",
        "from the middle": f"{rows['grid'].sum() / rows['steps from the middle'].sum():.2f}×",
        "accuracy lost": f"{rows['accuracy lost'].mean():.4f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="+")
    rows = pd.concat([replayed(path) for path in parser.parse_args().stores], ignore_index=True)
    if rows.empty:
        raise SystemExit("no depth and seed has a whole grid of at least 40 learning rates and a measurement")
    chosen = {"seed 0": rows[rows["seed"] == 0], "other seeds": rows[rows["seed"] != 0], "all": rows}
    parts = chosen | {str(name): group for name, group in rows.groupby("experiment")}
    print(pd.DataFrame({name: summary(part) for name, part in parts.items() if len(part)}).T.to_string())
    off = rows.loc[rows["off"].abs() > 1, ["experiment", "depth", "seed", "off", "accuracy lost"]]
    print(f"\nnot the same and not next:\n{off.to_string(index=False)}")
    best = rows.pivot_table(index=["experiment", "depth"], columns="seed", values="best")
    if {0, 1} <= set(best):
        apart = (best[1] - best[0]).dropna().abs()
        near = f"same or next in {(apart <= 1).mean():.1%} of {len(apart)}"
        print(f"\nthe full grids of seeds 0 and 1 against one another: {near}")


if __name__ == "__main__":
    main()
