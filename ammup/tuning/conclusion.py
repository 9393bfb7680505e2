"""Turn the runs into the answer, with the reasons against trusting it."""

import math
from collections.abc import Iterator

from ammup.errors import InputError
from ammup.format import count_text
from ammup.stats.intervals import t_quantile
from ammup.tuning.answer import Estimate, NextRun, Tuned
from ammup.tuning.evidence import Evidence
from ammup.tuning.expected_loss import expected_loss
from ammup.tuning.plan import (
    BASE_SD,
    FINE,
    SAFETY,
    SAFETY_SD,
    Plan,
    answer_sd,
    base_edge,
    probes_made,
    quality,
    rounded,
    target_ratio,
)
from ammup.tuning.prediction import Prediction
from ammup.tuning.settings import RunSetting, SettingChange, decay_advice

# A neighbour of the tuned rate is called better if its score exceeds that of the tuned rate by this share.
BETTER = 0.02


def conclude(
    plan: Plan,
    evidence: Evidence,
    prediction: Prediction,
    *,
    change: SettingChange,
    settings: tuple[RunSetting, RunSetting],
    notes: tuple[str, ...],
) -> Tuned:
    """The answer from all runs.

    Raises:
        InputError: no complete run at the base ended well although no tuned rate was given.
    """
    base, made = _base(plan, evidence), probes_made(plan, evidence)
    edge, ratio = base_edge(plan, evidence, plan.base), target_ratio(plan, evidence, prediction)
    trained = evidence.trained(plan.target, others=plan.depths)
    lr = base.lr * 10**ratio.mean
    z = t_quantile((1 + plan.options.level) / 2, math.inf)
    sd = answer_sd(plan, evidence, ratio.sd, made)
    probed = f"prediction ({prediction.rule}) and {count_text(made, 'probe')}" if made else "prediction only"
    at_base = count_text(len(evidence.tests(plan.base, others=plan.depths)), "run")
    return Tuned(
        target=plan.target,
        answer=_estimate(math.log10(lr), z * sd, f"{base.lr:g} × edge ratio {10**ratio.mean:.3g} ({probed})"),
        base=base,
        base_depth=plan.base,
        base_edge=_estimate(edge.mean, z * edge.sd, f"{at_base} after {plan.probe_steps} steps"),
        edge=_estimate(edge.mean + ratio.mean, z * math.hypot(ratio.sd, edge.sd), probed),
        safety=base.lr / 10**edge.mean,
        prediction=prediction,
        probes=made,
        loss=expected_loss(made if trained else 0, prediction.rule, settings[1]),
        next_run=_next_run(plan, evidence, prediction, z),
        probe_steps=plan.probe_steps,
        steps=plan.steps,
        level=plan.options.level,
        runs=evidence.runs,
        notes=(*notes, *_notes(plan, evidence, lr), *change.notes, *_advice(settings, base.lr, lr)),
    )


def _next_run(plan: Plan, evidence: Evidence, prediction: Prediction, z: float) -> NextRun:
    """What one more probe would buy."""
    made = probes_made(plan, evidence)
    edge, ratio = base_edge(plan, evidence, plan.base), target_ratio(plan, evidence, prediction)
    return NextRun(
        depth=plan.target,
        lr=rounded(10 ** (edge.mean + ratio.median)),
        steps=plan.probe_steps,
        factor=10 ** (z * answer_sd(plan, evidence, ratio.sd, made)),
        factor_after=10 ** (z * answer_sd(plan, evidence, ratio.sd_after_one(made % plan.options.seeds), made + 1)),
    )


def _estimate(centre: float, half: float, source: str) -> Estimate:
    """An estimate from log10 of a learning rate and of half the width of its interval."""
    return Estimate(lr=rounded(10**centre), interval=_interval(centre, half), source=source)


def _interval(centre: float, half: float) -> tuple[float, float]:
    return rounded(10 ** (centre - half)), rounded(10 ** (centre + half))


def _base(plan: Plan, evidence: Evidence) -> Estimate:
    """The tuned learning rate of the base."""
    if plan.lr is not None:
        return Estimate(lr=plan.lr, interval=(plan.lr, plan.lr), source=f"given for depth {plan.base}, taken as exact")
    complete = [run for run in evidence.complete(plan.base) if math.isfinite(quality(run))]
    if not complete:
        raise InputError(
            f"no complete run at the base depth {plan.base} ended well; allow more runs, or give the tuned rate",
            python="pass lr=",
            option="pass --lr",
        )
    best = max(complete, key=quality)
    by = "score" if best.score is not None else "training loss"
    edge = base_edge(plan, evidence, plan.base)
    usual, usual_sd = edge.mean - SAFETY, math.hypot(SAFETY_SD, edge.sd)
    weight = usual_sd**2 / (usual_sd**2 + FINE**2)
    return _estimate(
        weight * math.log10(best.lr) + (1 - weight) * usual,
        t_quantile((1 + plan.options.level) / 2, math.inf) * FINE * math.sqrt(weight),
        f"best {by} of {count_text(len(complete), 'complete run')}, {best.lr:g}, and {10**-SAFETY:.2g} of the edge, as "
        "in stored sweeps",
    )


def _notes(plan: Plan, evidence: Evidence, lr: float) -> Iterator[str]:
    """What limits the trust in the answer."""
    attempts, trained = len(evidence.falls(plan.target)), evidence.trained(plan.target, others=plan.depths)
    if not attempts:
        yield f"nothing was trained at depth {plan.target}: the interval is that of the prediction"
    elif not trained:
        yield (
            f"none of {count_text(attempts, 'probe')} at depth {plan.target} trained within {plan.probe_steps} steps: "
            "the edge lies below them, or the depth needs more steps to start; allow more probes or longer ones"
        )
    elif not any(test.failed for test in evidence.tests(plan.target, others=plan.depths)):
        yield f"every probe at depth {plan.target} trained, so the edge may lie far above them"
    edge = base_edge(plan, evidence, plan.base)
    if edge.sd > BASE_SD:
        yield f"the edge at depth {plan.base} is known to a factor of {10 ** (1.96 * edge.sd):.2g} only"
    yield from _check_notes(plan, evidence)
    failed = sum(not run.is_evidence for run in evidence.runs)
    if failed:
        yield f"{failed} of {len(evidence.runs)} runs failed for a reason other than the learning rate"
    if plan.lr is None:
        yield "the base was searched with one seed; its best rate scatters by about a factor of 1.5 between seeds"
    if lr > 10**edge.mean and plan.target > plan.base:
        yield "the answer lies above the edge of the base, which no deeper net is known to support"


def _check_notes(plan: Plan, evidence: Evidence) -> Iterator[str]:
    """Whether half or twice the given rate is better at the base."""
    if plan.lr is None or not plan.options.check:
        return
    scores = {run.lr: quality(run) for run in evidence.complete(plan.base)}
    own = scores.get(rounded(plan.lr), -math.inf)
    if not math.isfinite(own):
        yield f"the given rate {plan.lr:g} did not train the base to the end"
        return
    better = [lr for lr in map(rounded, (plan.lr / 2, 2 * plan.lr)) if scores.get(lr, own) - own > BETTER * abs(own)]
    if len(better) == 1:  # if both are better, the differences are noise
        yield f"at depth {plan.base}, {better[0]:g} was better than the given rate {plan.lr:g} (one seed)"


def _advice(settings: tuple[RunSetting, RunSetting], base_lr: float, lr: float) -> Iterator[str]:
    """The sentences about the settings."""
    _, target = settings
    if target.unstated == RunSetting().unstated:
        yield "the training setting was not stated; rules for plain SGD were used for the prediction"
    elif target.adaptive:
        yield f"no stored sweep was trained with {target.optimizer}, so the interval rests on the probes alone"
    elif target.momentum or target.schedule not in (None, "constant"):
        yield "the expected loss comes from plain SGD at a constant rate, not from your setting"
    advice = decay_advice(target, base_lr, lr)
    if advice is not None:
        yield advice
