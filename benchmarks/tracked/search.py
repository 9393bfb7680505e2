"""The adaptive search replayed on stored full grids: the steps that it saves, and how often it finds the optimum."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .moved import module

RECENT, adaptive_search = module("ammup.stats.search").RECENT, module("ammup.stats.search").adaptive_search

Array = NDArray[np.float64]
GRIDS = Path(__file__).parents[2] / "baselines" / "sweeps" / "grids.npz"


@dataclass(frozen=True, kw_only=True)
class Grids:
    """Full grids of learning rates, for each experiment, depth and seed; axes: G grid, R rate, P part of the run.

    Attributes:
        experiment: name of the experiment, [G].
        depth: depth, [G].
        seed: seed, [G].
        lrs: learning rates, ascending, [G, R].
        accuracy: validation accuracy, -1 if the run diverged, [G, R].
        steps: number of steps of each run, [G, R].
        losses: mean training loss in each part, infinite after divergence, [G, R, P].
        lr_star: the measured η* at which a search starts, [G].
    """

    experiment: NDArray[np.str_]
    depth: NDArray[np.int64]
    seed: NDArray[np.int64]
    lrs: Array
    accuracy: Array
    steps: NDArray[np.int64]
    losses: Array
    lr_star: Array

    @classmethod
    def read(cls, path: Path = GRIDS) -> "Grids":
        """Read an npz file."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{column.name: file[column.name] for column in fields(cls)})

    def write(self, path: Path) -> None:
        """Write an npz file, with the losses in float32."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        np.savez_compressed(path, **columns | {"losses": self.losses.astype(np.float32)})

    def searched(self, grid: int, start: int) -> tuple[tuple[int, ...], float]:
        """(Indices of the remaining learning rates, steps of all replicas) of a search in a grid from ``start``."""
        steps, losses = self.steps[grid], self.losses[grid].astype(np.float64)
        total, parts = steps.max(), losses.shape[1]
        recent = max(1, round(RECENT * parts))
        taken = np.zeros(len(steps))
        search = adaptive_search(len(steps), start)
        rung = next(search)
        while True:
            until = max(1, round(rung.share * parts))
            for place in rung.places:
                taken[place] = max(taken[place], min(until / parts * total, steps[place]))
            try:
                rung = search.send(
                    {place: float(losses[place, max(0, until - recent) : until].mean()) for place in rung.places}
                )
            except StopIteration as end:
                taken[list(end.value)] = steps[list(end.value)]
                return end.value, float(taken.sum())

    def replayed(self) -> pd.DataFrame:
        """One row for each grid: the index error of the search, and the steps of the grid and of the search."""
        rows = []
        for grid in range(len(self.depth)):
            accuracy = self.accuracy[grid]
            row: dict[str, object] = {
                "experiment": str(self.experiment[grid]),
                "depth": int(self.depth[grid]),
                "seed": int(self.seed[grid]),
                "best": int(accuracy.argmax()),
                "grid": int(self.steps[grid].sum()),
            }
            measured = int(np.abs(np.log(self.lrs[grid]) - np.log(self.lr_star[grid])).argmin())
            for suffix, start in (("", measured), (" from the middle", len(accuracy) // 2)):
                remaining, taken = self.searched(grid, start)
                best = max(remaining, key=lambda place: accuracy[place], default=-1)
                row |= {f"off{suffix}": best - row["best"], f"steps{suffix}": taken}
                row |= {f"accuracy lost{suffix}": accuracy.max() - max(accuracy[list(remaining)], default=0.0)}
            rows.append(row)
        return pd.DataFrame(rows)


class AdaptiveSearch:
    """The search over all stored grids, without training."""

    version = "1"

    def setup_cache(self) -> dict[str, float]:
        """Replay the search once."""
        rows = Grids.read().replayed()
        return {
            "share": float(rows["steps"].sum() / rows["grid"].sum()),
            "missed": float((rows["off"].abs() > 1).mean()),
            "lost": float(rows["accuracy lost"].mean()),
        }

    def track_share_of_the_steps(self, summary: dict[str, float]) -> float:
        """The steps of the search divided by those of the full grids."""
        return summary["share"]

    def track_share_missed(self, summary: dict[str, float]) -> float:
        """The fraction of grids in which the search misses the best learning rate by more than one index."""
        return summary["missed"]

    def track_accuracy_lost(self, summary: dict[str, float]) -> float:
        """The mean loss of accuracy over the grids."""
        return summary["lost"]
