"""Sweeps made by hand: parabolas of the accuracy in log10 of the learning rate."""

import numpy as np
import pandas as pd

LRS = np.geomspace(1e-4, 10, 40)
SPACING = np.log10(LRS[1] / LRS[0])


def swept_runs(
    depth: int = 4, *, top: float = 0.1, noise: float = 0.0, seeds: int = 2, width: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """A parabola in log10 lr with its top at ``top``, levelling off at 10 %, and another level for each seed."""
    rng = np.random.default_rng(seed)
    u = np.log10(LRS / top)
    rows = []
    for s in range(seeds):
        accuracy = np.maximum(0.5 - 0.4 * (u / width) ** 2, 0.1) + 0.01 * s + noise * rng.standard_normal(u.size)
        rows += [
            {"depth": depth, "lr": lr, "seed": s, "val_accuracy": a, "diverged": False}
            for lr, a in zip(LRS, accuracy, strict=True)
        ]
    return pd.DataFrame(rows)


def diverged(runs: pd.DataFrame, above: float, seed: int | None = None) -> pd.DataFrame:
    lost = (runs["lr"] > above) & (True if seed is None else runs["seed"] == seed)
    return runs.assign(diverged=lost, val_accuracy=runs["val_accuracy"].where(~lost))
