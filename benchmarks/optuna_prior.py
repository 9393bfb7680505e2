"""Does a transferred learning rate help an Optuna study? `python benchmarks/optuna_prior.py`.

Replay: the best learning rate of the shallowest depth of each stored sweep (CIFAR-10, baselines/sweeps) is transferred
to all other depths by the rule that `transfer_table` recommends for S̄ at initialization. At each of these depths, a
study with TPE maximizes the swept mean accuracy, interpolated in log η. The table shows after how many trials the best
accuracy so far is within 1 % of the best one of the grid: mean, median and 90 % quantile over sweeps, depths and seeds.
A study that does not get there counts with one trial more than it has.

`--train FOLDER` trains instead: the studies search learning rate, weight decay and batch size of a CNN of depth 8 on
2,000 images of CIFAR-10, and the learning rate is tuned at depth 2.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from ammup.errors import InputError
from ammup.experiments.analysis import law_of, read_sweep, rule_curves
from ammup.integrations.optuna import LrPrior
from ammup.transfer.carry import transfer_table

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
TRIALS = 25
CLOSE = 0.01
WIDE = (1e-4, 10.0)
GUESS = 0.1  # the accuracy of a diverged run

# Range of the learning rate, and learning rates of the first trials.
Way = tuple[tuple[float, float], tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One depth of a sweep: its accuracies, and the tuned learning rate of a shallower depth with its transfer."""

    name: str
    log_lr: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    base_lr: float
    prior: LrPrior

    @property
    def best_lr(self) -> float:
        """The learning rate with the largest accuracy."""
        return float(10 ** self.log_lr[self.accuracy.argmax()])

    @property
    def miss(self) -> float:
        """Log10 of best learning rate / transferred one."""
        return float(np.log10(self.best_lr / self.prior.lr))

    def value(self, low: float, high: float, trial: optuna.Trial) -> float:
        """The objective of a study."""
        lr = trial.suggest_float("lr", low, high, log=True)
        return float(np.interp(np.log10(lr), self.log_lr, self.accuracy))


def cases() -> Iterator[Case]:
    """All depths above the shallowest of the stored sweeps with 40 learning rates, for which a rule is recommended."""
    for path in sorted(SWEEPS.glob("*-small.json")):
        record = read_sweep(path)
        law = law_of(record, keep_flagged=True)
        base = min(law.optima)
        base_lr = law.lr_star(base)[0]
        measured = rule_curves(record)["measured"]
        for depth in sorted(set(law.optima) - {base}):
            runs = record.runs[record.runs["depth"] == depth]
            accuracy = runs["val_accuracy"].where(~runs["diverged"], GUESS).groupby(runs["lr"]).mean()
            try:
                prior = LrPrior.from_table(transfer_table(base_lr, base, depth, measured=measured))
            except InputError as error:
                print(f"{path.stem} L={depth}: {error}")
                continue
            yield Case(
                name=f"{path.stem} L={depth}",
                log_lr=np.log10(accuracy.index.to_numpy(dtype=float)),
                accuracy=accuracy.to_numpy(dtype=float),
                base_lr=base_lr,
                prior=prior,
            )


def ways(base_lr: float, prior: LrPrior) -> dict[str, Way]:
    """The compared ways to use the tuned learning rate of another depth, beginning with not at all."""
    around = (base_lr / 10, base_lr * 10)
    interval = (prior.low, prior.high)
    return {
        "1e-4 to 10": (WIDE, ()),
        "1e-4 to 10, tuned lr first": (WIDE, (base_lr,)),
        "tuned lr / 10 to x 10": (around, ()),
        "tuned lr / 10 to x 10, tuned lr first": (around, (base_lr,)),
        "1e-4 to 10, 3 from the prior first": (WIDE, prior.starts(3)),
        "prior": (interval, ()),
        "prior, 1 trial first": (interval, prior.starts(1)),
        "prior, 3 trials first": (interval, prior.starts(3)),
        "prior, 5 trials first": (interval, prior.starts(5)),
    }


def new_study(seed: int, starts: tuple[float, ...]) -> optuna.Study:
    """A study with TPE and its first trials."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for lr in starts:
        study.enqueue_trial({"lr": lr})
    return study


def trials_needed(objective: Callable[[optuna.Trial], float], goal: float, starts: tuple[float, ...], seed: int) -> int:
    """The number of trials until a value reaches the goal; TRIALS + 1 if none does."""
    study = new_study(seed, starts)
    for number in range(1, TRIALS + 1):
        trial = study.ask()
        value = objective(trial)
        if value >= goal:
            return number
        study.tell(trial, value)
    return TRIALS + 1


def replay(seeds: int) -> None:
    """Print the cases, and a table with one row for each way."""
    rows, found = [], list(cases())
    for case in found:
        inside = case.prior.low <= case.best_lr <= case.prior.high
        print(f"{case.name:36} best {case.best_lr:.3g}, {case.prior}{'' if inside else '  OUTSIDE'}")
        for way, ((low, high), starts) in ways(case.base_lr, case.prior).items():
            objective, goal = partial(case.value, low, high), (1 - CLOSE) * float(case.accuracy.max())
            rows += [(way, trials_needed(objective, goal, starts, seed)) for seed in range(seeds)]
    rms = float(np.sqrt(np.mean([case.miss**2 for case in found])))
    print(f"the transferred learning rates miss the best ones by {rms:.2f} decades (root mean square)\n")
    groups = pd.DataFrame(rows, columns=["way", "trials"]).groupby("way", sort=False)["trials"]
    table = pd.DataFrame({"mean": groups.mean(), "median": groups.median(), "90 %": groups.quantile(0.9)})
    table[f"not within {TRIALS}"] = groups.agg(lambda trials: (trials > TRIALS).mean())
    print(table.round(2).to_string())


def trained(folder: Path, seeds: int, trials: int) -> None:
    """Print the best accuracy after several numbers of trials, for studies that train."""
    import ammup

    data = ammup.load_data(folder, image_size=8, train=2000, validation=1000)
    net, depth, base = partial(ammup.cnn, width=16), 8, 2

    def accuracy(at: int, lr: float, **settings: float | int) -> float:
        (run,) = ammup.train_replicas(net, at, lrs=[lr], seeds=[0], data=data, epochs=2, strategy="loop", **settings)
        return GUESS if run.diverged else run.val_accuracy

    def objective(low: float, high: float, trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", low, high, log=True)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
        return accuracy(depth, lr, weight_decay=decay, batch_size=trial.suggest_categorical("batch", [32, 64, 128]))

    grid = 10 ** np.arange(-2.5, 0.76, 0.25)
    base_lr = float(max(grid, key=lambda lr: accuracy(base, float(lr), batch_size=64)))
    inputs, targets = data.batch(64)
    law = ammup.depth_exponent(net, [2, 4, 8], inputs=inputs, targets=targets, loss="cross_entropy", seeds=8)
    prior = LrPrior.from_law(law, lr=base_lr, from_depth=base, to_depth=depth)
    print(f"tuned at depth {base}: {base_lr:.3g}; {prior}")
    chosen = ways(base_lr, prior)
    rows = []
    for way in ("1e-4 to 10", "tuned lr / 10 to x 10, tuned lr first", "prior, 3 trials first"):
        (low, high), starts = chosen[way]
        for seed in range(seeds):
            study = new_study(seed, starts)
            study.optimize(partial(objective, low, high), n_trials=trials)
            best = np.maximum.accumulate([trial.value for trial in study.trials])
            rows.append((way, *(best[n - 1] for n in (1, 3, 5, 10, trials)), study.best_params["lr"]))
            print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["way", *(f"after {n}" for n in (1, 3, 5, 10, trials)), "best lr"])
    print(table.groupby("way", sort=False).mean().round(3).to_string())


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="Train on the images of this folder.")
    parser.add_argument("--trials", type=int, default=15, help="Trials of a study that trains.")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.perf_counter()
    if arguments.train is None:
        replay(arguments.seeds)
    else:
        trained(arguments.train, arguments.seeds, arguments.trials)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
