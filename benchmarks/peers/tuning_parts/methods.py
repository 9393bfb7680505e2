"""The methods that are compared: which learning rate each of them finds, and how many steps it takes."""

import logging
import math
from collections.abc import Iterator

import numpy as np

from .curves import CHANCE, Curves, Family, range_curve
from .range_rules import steepest, valley
from .replay import ours

EXPONENTS = {"constant": 0.0, "L^-1/2": -0.5, "L^-1": -1.0, "L^-3/2": -1.5}
RANGE_RULES = {"torch-lr-finder": steepest, "fastai valley": valley}
BLIND = 0.1
Found = tuple[str, float, int]


def rates(family: Family, seed: int, target: int, *, trials: tuple[int, ...]) -> Iterator[Found]:
    """(Method, learning rate, steps) of each method that sees the runs of one seed."""
    source, base_steps = math.nan, 0
    for probes, tuned in ours(family, (seed,), target):
        yield f"ammup, {probes} probes", tuned.lr, tuned.spent_steps
        if probes == 0:
            source, base_steps = tuned.base.lr, tuned.spent_steps
        else:
            yield f"edge ratio, {probes} probes", source * tuned.edge.lr / tuned.base_edge.lr, tuned.spent_steps
    for rule, exponent in EXPONENTS.items():
        yield rule, source * (target / family.depths[0]) ** exponent, base_steps
    yield f"{BLIND:g}, blind", BLIND, 0
    curves = family.seeds[seed][target]
    for count in trials:
        for halving, name in ((False, "TPE + Hyperband"), (True, "TPE + halving")):
            lr, spent = by_optuna(curves, source, trials=count, halving=halving, seed=seed)
            yield f"{name}, {count} trials", lr, base_steps + spent
        random = np.random.default_rng([seed, target, count]).uniform(curves.u[0], curves.u[-1], count)
        chosen = max(10**random, key=curves.accuracy_at)
        yield f"random, {count} trials", float(chosen), count * curves.steps
    yield from by_range(family, seed, target)
    yield "full grid", curves.best, curves.u.size * curves.steps


def by_range(family: Family, seed: int, target: int) -> Iterator[Found]:
    """The rules for the range test at the target, where one is stored."""
    curve = range_curve(family, seed, target)
    if curve is None:
        return
    for name, rule in RANGE_RULES.items():
        yield name, rule(*curve), curve[0].size


def by_optuna(curves: Curves, lr: float, *, trials: int, halving: bool, seed: int) -> tuple[float, int]:
    """(Best learning rate, steps) of Optuna with the rate of the base enqueued."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    parts, spent = curves.scores.shape[1], 0
    pruners = optuna.pruners
    pruner = (
        pruners.SuccessiveHalvingPruner(min_resource=parts // 8)
        if halving
        else pruners.HyperbandPruner(min_resource=parts // 8, max_resource=parts)
    )
    low, high = (float(10**end) for end in (curves.u[0], curves.u[-1]))

    def objective(trial: optuna.Trial) -> float:
        nonlocal spent
        scores = curves.scores_at(rate := trial.suggest_float("lr", low, high, log=True))
        for part, score in enumerate(scores.tolist(), start=1):
            spent += round(curves.steps / parts)
            if not math.isfinite(score):
                return CHANCE
            trial.report(score, part)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curves.accuracy_at(rate)

    study = optuna.create_study(
        study_name="replay",  # Hyperband deals trials to its brackets by a hash of it
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        pruner=pruner,
    )
    study.enqueue_trial({"lr": min(max(lr, low), high)})
    study.optimize(objective, n_trials=trials)
    return float(study.best_params["lr"]), spent
