"""The frontier of tuning a deep net: accuracy lost at the target depth against all training steps spent.

Every method is replayed on stored full grids (curves between two learning rates are interpolated in log η):

* plain SGD: five families of baselines/sweeps/grids.npz (16 channels, one epoch at a constant rate, two seeds);
* users' recipes of baselines/tuning (benchmarks/peers/tuning_runs.py): a ResNet with batch norm, momentum, weight decay
  and cosine, and a vision transformer with AdamW, warm-up and cosine, both with random crops and flips.

The base is the smallest depth of a family, and the other depths are the targets. A method sees the runs of one seed:
training losses and validation accuracies. Its learning rate is evaluated by the mean accuracy of the other seeds, of
users' recipes on test images that no method sees: lost is the accuracy below the maximum of the smoothed mean, relative
to it. The full grid, which chooses the smoothed optimum of the first seed, also loses by this measure.

* ammup, n probes: `ammup.tune` without a tuned rate: base and target included, with at most n probes.
* edge ratio, n probes: the base's rate times the ratio of the edges of `ammup, n probes`, not the predicted ratio.
* constant, L^-1/2, L^-1, L^-3/2: the same base runs, no run at the target.
* 0.1, blind: no run at all.
* TPE + Hyperband, TPE + halving: Optuna, n trials at the target, the base's rate enqueued first; base runs included.
* random, n trials: complete runs at random rates of the grid.
* torch-lr-finder, fastai valley: its range test at the target (users' recipes only), and the rules of both packages.
* full grid: all rates at the target.
* Prodigy, D-Adaptation, DoG, schedule-free: a complete training without a learning rate (users' recipes only), and one
  of as many steps as others spend on tuning and the final training.

Costs are what is spent before the final training, in complete trainings.

    pip install '.[peers]'
    python -m benchmarks.peers.tuning                # minutes
    python -m benchmarks.peers.tuning --trials 3 10 30 --json frontier.json --plot frontier.png
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers.tuning_parts.curves import Curves, Family, families
from benchmarks.peers.tuning_parts.methods import rates
from benchmarks.peers.tuning_parts.picture import plot_frontier
from benchmarks.peers.tuning_parts.records import Record
from benchmarks.peers.tuning_parts.replay import ours
from benchmarks.peers.tuning_parts.without_rate import WITHOUT_RATE_RUNS
from benchmarks.tracked.search import Grids

Row = dict[str, object]


def cases(family: Family, trials: tuple[int, ...]) -> Iterator[Row]:
    """One row for each seed, target and method: lr, steps, trainings, lost."""
    for seed in family.seeds:
        # Without another seed, the test images of this one.
        others = [c for number, c in family.seeds.items() if number != seed] or [family.seeds[seed]]
        for target in family.depths[1:]:
            goals = [curves[target] for curves in others]
            shared: Row = {"group": family.group, "family": family.name, "seed": seed, "depth": target}
            for method, lr, spent in rates(family, seed, target, trials=trials):
                yield shared | {
                    "method": method, "lr": lr, "steps": spent, "trainings": spent / goals[0].steps,
                    "lost": lost_at(goals, lr),
                }  # fmt: skip


def lost_at(goals: list[Curves], lr: float) -> float:
    """The mean accuracy of several seeds at a learning rate, below the smoothed maximum and relative to it."""
    return 1 - float(np.mean([curves.test_at(lr) for curves in goals])) / best_test(goals)[1]


def best_test(goals: list[Curves]) -> tuple[float, float]:
    """(Learning rate, accuracy) of the maximum of the smoothed mean over seeds."""
    mean = np.mean([curves.smoothed(curves.test) for curves in goals], axis=0)
    place = int(np.argmax(mean))
    return float(10 ** goals[0].u[place]), float(mean[place])


def without_rate(family: Family) -> Iterator[Row]:
    """One row for each stored run without a learning rate, evaluated by itself."""
    for (kind, seed, depth), record in family.others.items():
        if kind in WITHOUT_RATE_RUNS and seed in family.seeds:
            _, best = best_test([curves[depth] for curves in family.seeds.values()])
            _, trainings = WITHOUT_RATE_RUNS[kind]
            before = record.steps * (trainings - 1) // trainings  # one training is the final one
            yield {
                "group": family.group, "family": family.name, "seed": seed, "depth": depth, "method": kind,
                "steps": before, "trainings": trainings - 1.0, "lost": 1 - _accuracy(record) / best,
            }  # fmt: skip


def _accuracy(record: Record) -> float:
    return 0.1 if record.test is None else record.test


def all_seeds(family: Family) -> Iterator[Row]:
    """The rows of ammup with all seeds, as users run it: probes take turns, and the mean over seeds is evaluated.

    The accuracies at the target are not seen by the method.
    """
    for target in family.depths[1:]:
        goals = [curves[target] for curves in family.seeds.values()]
        best, _ = best_test(goals)
        for probes, tuned in ours(family, tuple(family.seeds), target):
            yield {
                "group": family.group, "family": family.name, "depth": target, "method": f"ammup, {probes} probes",
                "lr": tuned.lr, "trainings": tuned.spent_steps / tuned.steps, "lost": lost_at(goals, tuned.lr),
                "best": best, "factor": tuned.next_run.factor, "inside": tuned.interval[0] <= best <= tuned.interval[1],
            }  # fmt: skip


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """For each method the mean cost in complete trainings, and the mean and the largest relative loss."""
    groups = table.groupby("method", sort=False)
    means = groups.agg(
        trainings=("trainings", "mean"), lost=("lost", "mean"), worst=("lost", "max"), cases=("lost", "size")
    )
    return means.join(table.groupby(["method", "family"])["lost"].mean().unstack())


def shown(table: pd.DataFrame, extra: tuple[str, ...] = ()) -> str:
    """The frontier as text, with means of further columns."""
    every = frontier(table)
    if extra:
        every = every.join(table.groupby("method")[list(extra)].mean())
    percent = dict.fromkeys(every.columns.drop(["trainings", "cases", *(n for n in extra if n == "factor")]), "{:.1%}")
    forms = {**percent, "trainings": "{:.1f}", "factor": "{:.2f}"}
    return str(every.to_string(formatters={name: form.format for name, form in forms.items() if name in every}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[3, 10, 30], help="trials of Optuna and of random search"
    )
    parser.add_argument("--families", nargs="+", help="only these, such as resnet-sgd vit-adamw")
    parser.add_argument("--json", type=Path, help="also write all cases")
    parser.add_argument("--plot", type=Path, help="also draw the frontier")
    arguments = parser.parse_args()
    every = [
        family for family in families(Grids.read()) if arguments.families is None or family.name in arguments.families
    ]
    rows = [row for family in every for row in (*cases(family, tuple(arguments.trials)), *without_rate(family))]
    table = pd.DataFrame(rows)
    both = pd.DataFrame([row for family in every for row in all_seeds(family)])
    for group, part in table.groupby("group", sort=False):
        print(f"\n{group}\n{shown(part)}")
        print("with all seeds; inside: share of optima in the interval, factor: its mean")
        print(shown(both[both["group"] == group], ("inside", "factor")))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(table.to_dict("records")))
    if arguments.plot is not None:
        plot_frontier(table).savefig(arguments.plot, dpi=150)


if __name__ == "__main__":
    main()
