"""Compare the steps of a short run, and means of S̄ over them, as predictors of swept optima.

Each candidate is η*(L) = M(S̄)^(-1/2), where M is a mean of S̄ over some steps of short runs at one small learning rate.
Candidates are ranked by the mean |log10 error| of predictions from the smallest depth on the sweeps of --select, and
validated on the other sweeps. Reads the records in baselines/sweeps and takes a few seconds.

    python benchmarks/late_rule.py
    python benchmarks/late_rule.py --select cnn-relu-cifar10-small,resnet-cifar10-small --top 10
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ammup.experiments.analysis import MEASURED, MEASURED_LATE, rule_curves
from ammup.experiments.record import SweepRecord
from ammup.stats.regret import SWEPT, transfer_regret

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
FIRST_STEPS, LAST_STEPS = (10, 50, 100, 150, 180, 260), (50, 100, 200, 350)
MEANS: dict[str, Callable[[pd.Series], float]] = {
    "arithmetic": lambda s: s.mean(),
    "geometric": lambda s: np.exp(np.log(s).mean()),
    "harmonic": lambda s: 1 / (1 / s).mean(),
    "quadratic": lambda s: np.sqrt((s**2).mean()),
    "90 % quantile": lambda s: s.quantile(0.9),
    "maximum": lambda s: s.max(),
}


def candidates(record: SweepRecord) -> dict[str, dict[int, float]]:
    """η* by depth of every mean over every window of steps, and of the transfer rules for comparison."""
    table = record.measurements
    curves = {}
    for first in FIRST_STEPS:
        for last in (last for last in LAST_STEPS if last > first):
            window = table[table["step"].between(first, last)]
            for name, mean in MEANS.items():
                curves[f"{name}, steps {first} to {last}"] = {
                    int(depth): float(mean(s)) ** -0.5 for depth, s in window.groupby("depth")["S_bar"]
                }
    return curves | {f"rule {rule}": curve for rule, curve in rule_curves(record).items()}


def table_of(records: list[SweepRecord], select: set[str]) -> pd.DataFrame:
    """One row for each candidate: |log10 error| and accuracy lost, by sweep and averaged over each set of sweeps."""
    columns: dict[tuple[str, str], pd.Series] = {}
    for record in records:
        regret = transfer_regret(record.runs, candidates(record), base=int(record.runs["depth"].min())).mean
        for figure in ("abs_log10_error", "accuracy_lost"):
            columns[figure, record.experiment.name] = regret.set_index("rule")[figure]
    table = pd.concat(columns, axis=1)
    for figure in ("abs_log10_error", "accuracy_lost"):
        names = list(table[figure].columns)
        for part, chosen in (("selection", True), ("validation", False)):
            members = [(figure, name) for name in names if (name in select) == chosen]
            table[figure, part] = table[members].mean(axis=1) if members else np.nan
    return table.drop(index=SWEPT).sort_values(("abs_log10_error", "selection"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--select",
        default="cnn-relu-cifar10-small,resnet-cifar10-small",
        help="sweeps that rank the candidates",
    )
    parser.add_argument("--top", type=int, default=8, help="number of candidates to print")
    arguments = parser.parse_args()
    records = [SweepRecord.read(path) for path in sorted(SWEEPS.glob("*.json"))]
    table = table_of(records, set(arguments.select.split(",")))
    rules = [name for name in table.index if name.startswith("rule ")]
    shown = table.loc[[*table.index.drop(rules)[: arguments.top], *rules]]
    for figure in ("abs_log10_error", "accuracy_lost"):
        print(f"\n{figure}, mean over the held-out depths; {MEASURED!r} is S̄ at initialization, {MEASURED_LATE!r} the "
              "geometric mean over the second half of the short runs")  # fmt: skip
        print(shown[figure].to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
