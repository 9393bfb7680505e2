"""Turn the runs into the answer, with the reasons against trusting it."""

import math
from collections.abc import Iterator

from ammup.format import count_text
from ammup.stats.intervals import t_quantile
from ammup.tuning.answer import NextRun, Tuned
from ammup.tuning.base_rate import base_rate, estimate
from ammup.tuning.evidence import Evidence
from ammup.tuning.expected_loss import expected_loss
from ammup.tuning.plan import BASE_SD, Plan, base_edge, quality, rounded
from ammup.tuning.prediction import Prediction
from ammup.tuning.settings import RunSetting, SettingChange, decay_advice
from ammup.tuning.target import TargetEdge, target_edge, target_rate

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
    base, edge = base_rate(plan, evidence), target_edge(plan, evidence, prediction)
    z = t_quantile((1 + plan.options.level) / 2, math.inf)
    answer = target_rate(base, edge, prediction, z)
    made = count_text(edge.probes, "probe")
    probed = f"prediction ({prediction.rule}) and {made}" if edge.probes else "prediction only"
    at_base = count_text(len(evidence.tests(plan.base, others=plan.depths)), "run")
    return Tuned(
        target=plan.target,
        answer=answer,
        base=base,
        base_depth=plan.base,
        base_edge=estimate(edge.base, z * edge.base_sd, f"{at_base} after {plan.probe_steps} steps"),
        edge=estimate(edge.mean, z * edge.sd, probed),
        safety=answer.lr / 10**edge.mean,
        prediction=prediction,
        probes=edge.probes,
        loss=expected_loss(prediction.rule, settings[1]),
        next_run=_next_run(plan, edge, z),
        probe_steps=plan.probe_steps,
        steps=plan.steps,
        level=plan.options.level,
        runs=evidence.runs,
        notes=(*notes, *_notes(plan, evidence, answer.lr), *change.notes, *_advice(settings, base.lr, answer.lr)),
    )


def _next_run(plan: Plan, edge: TargetEdge, z: float) -> NextRun:
    """What one more probe would buy."""
    after = math.hypot(edge.ratio.sd_after_one(edge.probes % plan.options.seeds), edge.base_sd)
    return NextRun(
        depth=plan.target,
        lr=rounded(10 ** (edge.base + edge.ratio.median)),
        steps=plan.probe_steps,
        factor=10 ** (z * edge.sd),
        factor_after=10 ** (z * after),
    )


def _notes(plan: Plan, evidence: Evidence, lr: float) -> Iterator[str]:
    """What limits the trust in the answer."""
    attempts, trained = len(evidence.falls(plan.target)), evidence.trained(plan.target, others=plan.depths)
    if not attempts:
        yield f"nothing was trained at depth {plan.target}, so no probe shows that it trains at the answer"
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
        yield f"no stored sweep was trained with {target.optimizer}, and the interval is a guess"
    elif target.momentum or target.schedule not in (None, "constant"):
        yield "the expected loss comes from plain SGD at a constant rate, not from your setting"
    advice = decay_advice(target, base_lr, lr)
    if advice is not None:
        yield advice
