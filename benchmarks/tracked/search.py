"""What the adaptive search saves, and how often it ends where the full grid does: replayed on stored full grids."""

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
    """Full grids of learning rates, one for each experiment, depth and seed; axes: G grid, R rate, P part of the run.

    Attributes:
        experiment: name, [G].
        depth: [G].
        seed: [G].
        lrs: ascending, [G, R].
        accuracy: of validation, -1 where the run diverged, [G, R].
        steps: that each run took, [G, R].
        losses: mean training loss in each part, infinite once it is NaN, [G, R, P].
        lr_star: the measured η* that a search begins at, [G].
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
        """From an npz file."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{column.name: file[column.name] for column in fields(cls)})

    def write(self, path: Path) -> None:
        """As an npz file, losses in float32."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        np.savez_compressed(path, **columns | {"losses": self.losses.astype(np.float32)})

    def searched(self, grid: int, start: int) -> tuple[tuple[int, ...], float]:
        """(places left, replica-steps taken) of a search in one grid from a place on."""
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
        """A row for each grid: how many places off its best the search ends, and the steps of both."""
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
            for way, start in (("", measured), (" from the middle", len(accuracy) // 2)):
                left, taken = self.searched(grid, start)
                found = max(left, key=lambda place: accuracy[place], default=-1)
                row |= {f"off{way}": found - row["best"], f"steps{way}": taken}
                row |= {f"accuracy lost{way}": accuracy.max() - max(accuracy[list(left)], default=0.0)}
            rows.append(row)
        return pd.DataFrame(rows)


class AdaptiveSearch:
    """Over all stored grids, without training anything."""

    version = "1"

    def setup_cache(self) -> dict[str, float]:
        """Replayed once."""
        rows = Grids.read().replayed()
        return {
            "share": float(rows["steps"].sum() / rows["grid"].sum()),
            "missed": float((rows["off"].abs() > 1).mean()),
            "lost": float(rows["accuracy lost"].mean()),
        }

    def track_share_of_the_steps(self, found: dict[str, float]) -> float:
        """Steps of the search over those of the full grids."""
        return found["share"]

    def track_share_missed(self, found: dict[str, float]) -> float:
        """Grids where it ends neither at the best learning rate nor beside it."""
        return found["missed"]

    def track_accuracy_lost(self, found: dict[str, float]) -> float:
        """Mean over the grids."""
        return found["lost"]
