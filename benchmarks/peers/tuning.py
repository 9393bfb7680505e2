"""The frontier of tuning a deep net: accuracy lost at the target depth against all training steps spent.

Every method is replayed on the stored full grids (baselines/sweeps/grids.npz: 16 channels, plain SGD, one epoch; curves
between two learning rates are interpolated in log η, and a diverged neighbour counts as diverged). The base is the
smallest depth of a family, and the other depths are the targets. A method sees the runs of one seed. Its learning rate
is evaluated on the other seed: lost is the accuracy below the maximum of the other seed's smoothed curve, relative to
it. The seeds of these narrow nets differ so much that the full grid itself, which chooses the smoothed optimum of the
first seed, loses several percent: "against grid" is the difference. Families with one seed are left out.

* ammup, n probes: `ammup.tune` without a tuned rate: base and target included. The number of probes is not ended early.
* constant, L^-1, L^-3/2: the same base runs, no run at the target.
* 0.1, blind: no run at all.
* TPE + Hyperband, TPE + halving: Optuna, n trials at the target, the base's rate enqueued first; base runs included.
* random, n trials: complete runs at random rates of the grid.
* full grid: all rates at the target.

    pip install optuna
    python -m benchmarks.peers.tuning                # minutes
    python -m benchmarks.peers.tuning --trials 3 10 30 --json frontier.json
"""

import argparse
import json
import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ammup.tuning.answer import Tuned
from ammup.tuning.options import TuneBudget, TuneOptions
from ammup.tuning.progress import Progress, RunRequest
from ammup.tuning.tune import tune
from benchmarks.tracked.search import Grids

PROBES = (0, 1, 3, 10)
CHANCE = 0.1
SMOOTH = 5  # rates in the moving mean of the full grid's choice
EXPONENTS = {"constant": 0.0, "L^-1": -1.0, "L^-3/2": -1.5}
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The stored runs of one family, depth and seed.

    Attributes:
        u: log10 of the learning rates, [R].
        accuracy: chance where a run diverged, [R].
        losses: mean loss of each part of a run, infinite after divergence, [R, P].
        steps: steps of a complete run.
    """

    u: Array
    accuracy: Array
    losses: Array
    steps: int

    def accuracy_at(self, lr: float) -> float:
        """Accuracy at any learning rate; outside the grid, that of its end."""
        return float(np.interp(math.log10(lr), self.u, self.accuracy))

    def losses_at(self, lr: float) -> Array:
        """Losses at any learning rate; infinite where a neighbour diverged."""
        place = float(np.interp(math.log10(lr), self.u, np.arange(self.u.size)))
        low = min(int(place), self.u.size - 2)
        weight = place - low
        with np.errstate(invalid="ignore"):
            mixed = (1 - weight) * self.losses[low] + weight * self.losses[low + 1]
        return np.where(np.isnan(mixed), np.inf, mixed)

    @property
    def smooth(self) -> Array:
        """The moving mean of the accuracies, [R]."""
        return np.convolve(np.pad(self.accuracy, SMOOTH // 2, mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid")

    @property
    def best(self) -> float:
        """The smoothed optimum."""
        return float(10 ** self.u[int(np.argmax(self.smooth))])


def read() -> dict[str, dict[int, dict[int, Curves]]]:
    """The curves by family, seed and depth, of families with two seeds."""
    grids = Grids.read()
    families: dict[str, dict[int, dict[int, Curves]]] = {}
    for row, name in enumerate(grids.experiment.tolist()):
        losses = grids.losses[row].astype(np.float64)
        curves = Curves(
            u=np.log10(grids.lrs[row]),
            accuracy=np.where(grids.accuracy[row] < 0, CHANCE, grids.accuracy[row]),
            losses=np.where(np.isfinite(losses), losses, np.inf),
            steps=int(grids.steps[row].max()),
        )
        families.setdefault(name, {}).setdefault(int(grids.seed[row]), {})[int(grids.depth[row])] = curves
    return {name: seeds for name, seeds in families.items() if len(seeds) > 1}


@dataclass(frozen=True, kw_only=True)
class GridTrainer:
    """Replays stored runs in `ammup.tune`; ``curves`` are by number of the seed and depth."""

    name: str
    curves: tuple[dict[int, Curves], ...]

    @property
    def identity(self) -> str:
        """The name."""
        return self.name

    def start(self, request: RunRequest) -> "GridSession":
        """Replay a run."""
        return GridSession(self.curves[request.seed][request.depth], request)


class GridSession:
    """One replayed run."""

    def __init__(self, curves: Curves, request: RunRequest) -> None:
        losses = curves.losses_at(request.lr)
        steps = np.linspace(0, curves.steps, losses.size + 1)[1:].round().astype(int)
        accuracy = curves.accuracy_at(request.lr)
        last = losses.size - 1
        self.reports = iter(
            Progress(int(step), float(loss), accuracy if part == last else None)
            for part, (step, loss) in enumerate(zip(steps, losses, strict=True))
        )

    def report(self, timeout: float) -> Progress | None:
        """The next stored loss."""
        return next(self.reports, None)

    def stop(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""


def ours(name: str, curves: tuple[dict[int, Curves], ...], base: int, target: int) -> Iterator[tuple[int, Tuned]]:
    """(Probes, answer) of ammup, with the given seeds."""
    first = curves[0]
    steps = first[target].steps
    low, high = (float(10**end) for end in (first[base].u[0], first[base].u[-1]))
    options = TuneOptions(lr_range=(low, high), precision=1.0001, seeds=len(curves), progress=False)
    trainer = GridTrainer(name=name, curves=curves)
    with tempfile.TemporaryDirectory() as folder:
        for probes in PROBES:
            yield probes, tune(
                trainer, depths=base, target=target, steps=steps, store=f"{folder}/runs.db", options=options,
                budget=TuneBudget(probes=probes),
            )  # fmt: skip


def by_optuna(curves: Curves, lr: float, *, trials: int, halving: bool, seed: int) -> tuple[float, int]:
    """(Best learning rate, steps) of Optuna with the rate of the base enqueued."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    parts, spent = curves.losses.shape[1], 0
    pruners = optuna.pruners
    pruner = (
        pruners.SuccessiveHalvingPruner(min_resource=parts // 8)
        if halving
        else pruners.HyperbandPruner(min_resource=parts // 8, max_resource=parts)
    )
    low, high = (float(10**end) for end in (curves.u[0], curves.u[-1]))

    def objective(trial: optuna.Trial) -> float:
        nonlocal spent
        losses = curves.losses_at(rate := trial.suggest_float("lr", low, high, log=True))
        for part, loss in enumerate(losses.tolist(), start=1):
            spent += round(curves.steps / parts)
            if not math.isfinite(loss):
                return CHANCE
            trial.report(-loss, part)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curves.accuracy_at(rate)

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5), pruner=pruner
    )
    study.enqueue_trial({"lr": min(max(lr, low), high)})
    study.optimize(objective, n_trials=trials)
    return float(study.best_params["lr"]), spent


def cases(trials: tuple[int, ...]) -> Iterator[dict[str, object]]:
    """One row for each family, seed, target and method: lr, steps, trainings, lost."""
    for family, seeds in read().items():
        for seed, curves in seeds.items():
            other = seeds[next(one for one in seeds if one != seed)]
            base = min(curves)
            for target in sorted(curves)[1:]:
                reference = float(other[target].smooth.max())
                for method, lr, spent in rates(family, curves, base, target, trials=trials, seed=seed):
                    lost = 1 - other[target].accuracy_at(lr) / reference
                    yield {
                        "family": family, "seed": seed, "depth": target, "method": method, "lr": lr, "steps": spent,
                        "trainings": spent / curves[target].steps, "lost": lost,
                    }  # fmt: skip


def both_seeds() -> Iterator[dict[str, object]]:
    """The rows of ammup with both seeds, as users run it: probes alternate between seeds, and their mean is evaluated.

    The accuracies at the target are not seen by the method.
    """
    for family, seeds in read().items():
        curves = tuple(seeds.values())
        base = min(curves[0])
        for target in sorted(curves[0])[1:]:
            reference = float(np.mean([one[target].smooth for one in curves], axis=0).max())
            for probes, tuned in ours(family, curves, base, target):
                accuracy = float(np.mean([one[target].accuracy_at(tuned.lr) for one in curves]))
                yield {
                    "family": family, "depth": target, "method": f"ammup, {probes} probes", "lr": tuned.lr,
                    "trainings": tuned.spent_steps / tuned.steps, "lost": 1 - accuracy / reference,
                    "factor": tuned.next_run.factor,
                    "inside": tuned.interval[0] <= _mean_best(curves, target) <= tuned.interval[1],
                }  # fmt: skip


def _mean_best(curves: tuple[dict[int, Curves], ...], target: int) -> float:
    """The smoothed optimum of the mean over seeds."""
    mean = np.mean([one[target].smooth for one in curves], axis=0)
    return float(10 ** curves[0][target].u[int(np.argmax(mean))])


def rates(
    family: str, curves: dict[int, Curves], base: int, target: int, *, trials: tuple[int, ...], seed: int
) -> Iterator[tuple[str, float, int]]:
    """(Method, learning rate, steps) of each method."""
    source, base_steps = math.nan, 0
    for probes, tuned in ours(family, (curves,), base, target):
        yield f"ammup, {probes} probes", tuned.lr, tuned.spent_steps
        if probes == 0:
            source, base_steps = tuned.base.lr, tuned.spent_steps
    for rule, exponent in EXPONENTS.items():
        yield rule, source * (target / base) ** exponent, base_steps
    yield "0.1, blind", 0.1, 0
    goal = curves[target]
    for count in trials:
        for halving, name in ((False, "TPE + Hyperband"), (True, "TPE + halving")):
            lr, spent = by_optuna(goal, source, trials=count, halving=halving, seed=seed)
            yield f"{name}, {count} trials", lr, base_steps + spent
        random = np.random.default_rng([seed, target, count]).uniform(goal.u[0], goal.u[-1], count)
        chosen = max(10**random, key=goal.accuracy_at)
        yield f"random, {count} trials", float(chosen), count * goal.steps
    yield "full grid", goal.best, goal.u.size * goal.steps


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """For each method the mean cost in complete trainings, and the mean and the largest relative loss."""
    groups = table.groupby("method", sort=False)
    means = groups.agg(
        trainings=("trainings", "mean"), lost=("lost", "mean"), worst=("lost", "max"), cases=("lost", "size")
    )
    by_family = table.groupby(["method", "family"])["lost"].mean().unstack()
    by_family.columns = [str(name).removesuffix("-cifar10-small") for name in by_family]
    return means.join(by_family)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[3, 10, 30], help="trials of Optuna and of random search"
    )
    parser.add_argument("--json", type=Path, help="also write all cases")
    arguments = parser.parse_args()
    table = pd.DataFrame(cases(tuple(arguments.trials)))
    shown = frontier(table)
    percent = dict.fromkeys(shown.columns.drop(["trainings", "cases"]), "{:.1%}".format)
    print(shown.to_string(formatters={**percent, "trainings": "{:.1f}".format}))
    both = pd.DataFrame(both_seeds())
    print("\nammup with both seeds, evaluated on their mean; inside: share of optima in the interval, factor: its mean")
    shown = frontier(both).join(both.groupby("method")[["inside", "factor"]].mean())
    percent = dict.fromkeys(shown.columns.drop(["trainings", "cases", "factor"]), "{:.1%}".format)
    print(shown.to_string(formatters={**percent, "trainings": "{:.1f}".format, "factor": "{:.2f}".format}))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(table.to_dict("records")))


if __name__ == "__main__":
    main()
