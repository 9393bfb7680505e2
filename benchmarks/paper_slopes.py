"""The paper's trained slopes, redone at the profile "coarse", with intervals and verdicts.

One row for each record baselines/sweeps/*-coarse.json (benchmarks/paper_sweeps.py): the slope of log η on log L that
the paper states; the slopes of the best grid point (argmax, the paper's definition), of the smoothed optimum and of the
edge; and the slopes that S̄ = 1 and the sharpness predict at initialization from the same images. Intervals are 95 %,
from the delete-one-seed jackknife and Student's t. They do not include that log η may not be linear in log L.

Verdict on the paper's slope, by each optimum: "confirmed" if the interval lies within MARGIN of it, "refuted" if it
lies wholly beyond, otherwise "not decided". MARGIN was chosen before the first record was made.

    python benchmarks/paper_slopes.py measure --cifar10 ~/.cache/ammup/cifar10 --cifar100 ~/.cache/ammup/cifar100 \
        --imagenette ~/.cache/ammup/imagenette64
    python benchmarks/paper_slopes.py table
"""

import argparse
import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from paper_sweeps import source

import ammup
from ammup.atomic import write_atomically
from ammup.experiments.record import SweepRecord
from ammup.models.factory import named_factory
from ammup.stats.equivalence import INSIDE, OUTSIDE, Estimate, Region, jackknife

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
AT_INITIALIZATION = SWEEPS.parent / "studies" / "initialization.json"
MARGIN = 0.25
ALPHA = 0.025
OPTIMA = ("argmax", "smoothed", "edge")
MEASURES = {"S̄ = 1": "updates", "sharpness": "sharpness"}
IMAGES, DRAWS = 128, 8
VERDICTS = {INSIDE: "confirmed", OUTSIDE: "refuted"}

# By measure and depth: log10 of the learning rate of each draw.
Draws = dict[str, dict[str, list[float]]]


def records() -> Iterator[tuple[str, SweepRecord]]:
    """The records by name."""
    for path in sorted(SWEEPS.glob("*-coarse.json")):
        yield path.stem, SweepRecord.read(path)


def measured() -> dict[str, Draws]:
    """What was measured at initialization, by sweep."""
    return dict(json.loads(AT_INITIALIZATION.read_text())) if AT_INITIALIZATION.exists() else {}


def measure(arguments: argparse.Namespace) -> None:
    """Measure S̄ and the sharpness at initialization for every record that lacks them."""
    for name, record in records():
        found = measured()
        if name in found:
            continue
        path = source(name.removesuffix("-coarse"), arguments)
        if path is None:
            continue
        found[name] = {label: draws_of(record, kind, path) for label, kind in MEASURES.items()}
        write_atomically(AT_INITIALIZATION, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: measured", flush=True)


@lru_cache(maxsize=1)
def batch_of(path: str, image_size: int | None) -> Any:
    """Images and labels."""
    return ammup.load_data(path, image_size=image_size).batch(IMAGES)


def draws_of(record: SweepRecord, kind: str, path: str) -> dict[str, list[float]]:
    """log10 η at initialization of each weight draw, by depth."""
    experiment = record.experiment
    images, labels = batch_of(path, experiment.data.image_size)
    shape, classes = (images.shape[2], images.shape[3], images.shape[1]), round(1 / chance_of(record))
    model = experiment.model
    law = ammup.depth_exponent(
        named_factory(model.factory, model.arguments, image_shape=shape, classes=classes),
        experiment.grid.depths,
        inputs=images,
        targets=labels,
        loss="cross_entropy",
        seeds=DRAWS,
        measure=kind,
    )
    return {str(depth): np.log10(rows["lr_star"]).round(4).tolist() for depth, rows in law.table.groupby("depth")}


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


def predicted_slope(draws: dict[str, list[float]], *, mean_square: bool) -> Estimate:
    """The slope of what is measured at initialization: by (mean S̄)^(-1/2), or by the geometric mean of 2/λ."""
    x = np.log10([int(depth) for depth in draws])
    rows = np.array(list(draws.values())).T

    def slope(values: np.ndarray) -> float:
        means = -np.log10(np.mean(10 ** (-2 * values), axis=0)) / 2 if mean_square else values.mean(axis=0)
        return float(np.polyfit(x, means, 1)[0])

    return jackknife(rows, slope)


def text_of(estimate: Estimate | None) -> str:
    """Slope and interval."""
    if estimate is None:
        return "-"
    low, high = estimate.interval(ALPHA)
    return f"{estimate.value:+.2f} [{low:+.2f}, {high:+.2f}]"


def row_of(name: str, record: SweepRecord, found: Draws | None) -> dict[str, str]:
    """The row of one record."""
    paper = record.experiment.paper_slope
    row = {
        "seeds": str(record.runs["seed"].nunique()),
        "CPU hours": str(record.provenance["core hours"]),
        "paper": "-" if paper is None else f"{paper:+.2f}",
    }
    for kind in OPTIMA:
        estimate = trained_slope(record, kind)
        row[kind] = text_of(estimate)
        if paper is not None and estimate is not None:
            row[kind] += " " + VERDICTS.get(estimate.against(Region.around(paper, MARGIN), ALPHA), "not decided")
    for label, kind in MEASURES.items():
        row[label] = "-" if found is None else text_of(predicted_slope(found[label], mean_square=kind == "updates"))
    return row


def table() -> None:
    """Print the table."""
    found = measured()
    rows = {name.removesuffix("-coarse"): row_of(name, record, found.get(name)) for name, record in records()}
    print(pd.DataFrame(rows).T.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("table")
    command = commands.add_parser("measure")
    for name in ("cifar10", "cifar100", "imagenette"):
        command.add_argument(f"--{name}", default="", help="folder; without it, its sweeps are left out")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments)
    else:
        table()


if __name__ == "__main__":
    main()
