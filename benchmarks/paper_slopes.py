"""The paper's trained slopes, redone at the profile "coarse", with intervals and verdicts.

One row for each record baselines/sweeps/*-coarse.json (benchmarks/paper_sweeps.py): the slope of log η on log L that
the paper states; the slopes of the best grid point (argmax, the paper's definition), of the smoothed optimum and of the
edge; and the slopes that S̄ = 1 and the sharpness predict at initialization from the same images. Intervals are 95 %,
from the delete-one-seed jackknife and Student's t. They do not include that log η may not be linear in log L.

Verdict on the paper's slope, by each optimum: "confirmed" if the interval lies within MARGIN of it, "refuted" if it
lies wholly beyond, otherwise "not decided". MARGIN was chosen before the first record was made.

S̄ comes from the record; the sharpness is measured by `python benchmarks/rule_regret.py --measure 8`.

    python benchmarks/paper_slopes.py
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
from regret_parts import sharpness

import ammup
from ammup.experiments.record import SweepRecord
from ammup.format import with_interval
from ammup.stats.equivalence import INSIDE, OUTSIDE, Estimate, Region, jackknife
from ammup.stats.power_law import PowerLaw, fit_geometric_mean, fit_maximal_lr

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
MARGIN = 0.25
ALPHA = 0.025
OPTIMA = ("argmax", "smoothed", "edge")
VERDICTS = {INSIDE: "confirmed", OUTSIDE: "refuted"}


def predictions_of(record: SweepRecord, table: pd.DataFrame) -> dict[str, PowerLaw | None]:
    """The power laws of η* with S̄ = 1 and of 2/λ at initialization; None for what was not measured."""
    start = record.measurements[record.measurements["step"] == 0].groupby("depth")["S_bar"]
    S_bar = {int(str(depth)): draws.to_numpy() for depth, draws in start}
    edges = {depth: np.array(draws) for depth, draws in sharpness.of(record, table).items()}
    return {
        "S̄ = 1": fit_maximal_lr(S_bar) if len(S_bar) > 1 else None,
        "sharpness": fit_geometric_mean(edges) if len(edges) > 1 else None,
    }


def trained_slope(record: SweepRecord, kind: str) -> Estimate | None:
    """The slope of an optimum with its jackknife error over seeds; None if a fit has fewer than three depths."""
    seeds = sorted(set(record.runs["seed"]))

    def slope(chosen: np.ndarray) -> float:
        law = ammup.fit_sweep(
            record.runs[record.runs["seed"].isin(chosen)], kind=kind, chance=chance_of(record), keep_flagged=True
        ).power_law
        return math.nan if law is None else law.slope

    return jackknife(np.array(seeds, dtype=float), slope) if len(seeds) > 1 else None


def chance_of(record: SweepRecord) -> float:
    """The accuracy of a guess."""
    return record.experiment.data.chance or 0.1  # Imagenette has ten classes


def row_of(record: SweepRecord, table: pd.DataFrame) -> dict[str, str]:
    """The row of one record."""
    paper = record.experiment.paper_slope
    row = {
        "seeds": str(record.runs["seed"].nunique()),
        "CPU hours": str(record.provenance["core hours"]),
        "paper": "-" if paper is None else f"{paper:+.2f}",
    }
    for kind in OPTIMA:
        estimate = trained_slope(record, kind)
        row[kind] = "-" if estimate is None else with_interval(estimate.value, estimate.interval(ALPHA), "+.2f")
        if paper is not None and estimate is not None:
            row[kind] += " " + VERDICTS.get(estimate.against(Region.around(paper, MARGIN), ALPHA), "not decided")
    laws = predictions_of(record, table)
    return row | {
        name: "-" if law is None else with_interval(law.slope, law.slope_ci, "+.2f") for name, law in laws.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    table = sharpness.read()
    paths = sorted(SWEEPS.glob("*-coarse.json"))
    rows = {path.stem.removesuffix("-coarse"): row_of(SweepRecord.read(path), table) for path in paths}
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main()
