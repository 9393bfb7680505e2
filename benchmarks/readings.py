"""Slopes of residual sweeps under different interpretations of the paper's set-up, whose ResNet slope is -1.435.

For every residual sweep in baselines/sweeps, its interpretations in baselines/sweeps/readings, and the given stores and
records: the slope by the best validation accuracy and by the best validation loss, with the smoothed optimum and with
the best grid point, and with depth counted as K blocks, as 2K + 1 and as 2K + 2 weight layers. Scaling, c, a fixed K,
learnable scales, padding and readout are variants of the experiment resnet-readings-cifar10. Their records were made by

    ammup sweep resnet-readings-cifar10 --profile small --store readings.db --set data.source=~/cifar10
    ammup fit readings.db --experiment resnet-readings-cifar10-c1-small --export c1.json

and so on. Print all of them with

    python benchmarks/readings.py
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ammup.experiments.analysis import read_sweeps
from ammup.experiments.record import SweepRecord
from ammup.format import with_interval
from ammup.stats.optimum import fit_sweep
from ammup.stats.peak import OPTIMA
from ammup.stats.power_law import PowerLaw, fit_power_law

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
DEPTHS: dict[str, Callable[[int], int]] = {"K": lambda k: k, "2K+1": lambda k: 2 * k + 1, "2K+2": lambda k: 2 * k + 2}


def slopes(record: SweepRecord) -> list[dict[str, str]]:
    """One row for each kind of optimum and each criterion."""
    by_loss = record.runs.assign(val_accuracy=-record.runs["val_loss"])
    return [
        {"sweep": record.experiment.name, "best": criterion, "optimum": kind, **_by_depth(runs, kind)}
        for criterion, runs in (("accuracy", record.runs), ("loss", by_loss))
        for kind in OPTIMA
    ]


def _by_depth(runs: pd.DataFrame, kind: str) -> dict[str, str]:
    """The slopes of all optima, including flagged ones: excluding them would be a further interpretation."""
    law = fit_sweep(runs, kind=kind, keep_flagged=True)
    lr_star, se = zip(*(law.lr_star(depth) for depth in law.optima), strict=True)
    fits = {name: fit_power_law([count(k) for k in law.optima], lr_star, se=se) for name, count in DEPTHS.items()}
    optima = " ".join(f"{depth}:{lr:.2g}" for depth, lr in zip(law.optima, lr_star, strict=True))
    return {**{f"slope on {name}": _text(fit) for name, fit in fits.items()}, "K:optimum": optima}


def _text(fit: PowerLaw) -> str:
    return with_interval(fit.slope, fit.slope_ci, ".2f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="*", help="stores and records in addition to baselines/sweeps")
    paths = parser.parse_args().paths
    records = [
        record
        for path in [*sorted(SWEEPS.glob("resnet*.json")), *sorted(SWEEPS.glob("readings/*.json")), *paths]
        for record in read_sweeps(path)
    ]
    rows = [row for record in records if "resnet" in record.experiment.name for row in slopes(record)]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
