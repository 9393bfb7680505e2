"""The outputs of the commands that measure: exponent, depth, check, transfer and tune."""

from typing import Any

from ammup.schemas.model import Interval, Law, Output, Real, key


class Exponent(Law):
    """`ammup exponent --json`."""

    family: str = key("the family or factory")
    heading: str = key("what was measured, in words")
    sharpness: Law | None = key("the law of the edge of stability; only with --measure sharpness", default=None)


class Depth(Output):
    """`ammup depth --json`."""

    family: str = key("the family or factory")
    convention: str = key("the convention by which units are listed")
    units: dict[str, list[str]] = key("depth -> names of the depth units")
    counts: dict[str, dict[str, int]] = key("depth -> convention -> number of depth units")
    arguments: dict[str, dict[str, Any]] | None = key(
        "depth -> arguments of a published model; only for these", default=None
    )


class Check(Law):
    """`ammup check --json`."""

    about: str = key("what was measured, in words")
    outcome: str = key("holds, does not hold, moved or inconclusive")
    region: tuple[float, float] = key("allowed slopes")
    drift: Real = key("slope of the deeper half of the depths minus that of the shallower half")
    drift_interval: Interval = key("its confidence interval")
    allowed_drift: Real = key("largest allowed drift; null for no limit")
    seeds: int = key("number of weight draws at each depth")
    seeds_needed: int = key("number of weight draws with which the slope of a correct model passes")
    moved: list[str] = key("differences from the baseline that chance does not explain, in sentences")
    slope_change: Real = key("slope minus that of the baseline; null without one")
    slope_change_interval: Interval | None = key("its confidence interval")
    note: str = key("a difference from the baseline within the standard errors, in words, or empty")
    cause: str = key("likely cause of a failure, in words, or empty")
    causes: dict[str, float] = key("pattern of a fault -> its probability; empty unless the check failed")


class RuleRow(Output):
    """The learning rate of one rule at one depth."""

    depth: int = key("L")
    rule: str = key("name of the rule")
    lr: float = key("learning rate at this depth")
    low: Real = key("lower end of its confidence interval; null if the rule has none")
    high: Real = key("upper end")
    price: Real = key("cost of the measurement in training steps, at all depths together; 0 for a formula")
    assumption: str = key("what the rule assumes, in a sentence")
    recommended: bool = key("whether this rule is recommended at this depth")
    reason: str = key("why it is recommended, otherwise empty")


class TransferNote(Output):
    """A reason to distrust a rule."""

    kind: str = key("exponential, jump, rise, noisy, signal, sharpness, late, edge or setting")
    text: str = key("one sentence")


class Recommended(Output):
    """The recommendation for one depth."""

    depth: int = key("L")
    rule: str | None = key("name of the rule; null if none is recommended")
    lr: Real = key("its learning rate")
    low: Real = key("smallest learning rate of the plausible rules")
    high: Real = key("largest learning rate of the plausible rules")
    reason: str = key("why, in a sentence")


class Transfer(Output):
    """`ammup transfer --json`."""

    heading: str = key("what was measured and transferred, in words")
    rules: list[RuleRow] = key("one row for each depth and rule")
    warnings: list[TransferNote] = key("reasons to distrust rules")
    parametrization: str = key("the parametrization for which the learning rates hold")
    recommendations: list[Recommended] = key("one for each depth")


class Estimate(Output):
    """A learning rate with its interval."""

    lr: float = key("learning rate")
    interval: tuple[float, float] = key("its interval at the level of the answer")
    source: str = key("where it comes from, in words")


class PredictedRatio(Output):
    """A prediction of the ratio of two learning rates, before any training at the target depth."""

    log_ratio: float = key("mean of log10 of learning rate at target / learning rate at base")
    sd: float = key("its standard deviation in decades")
    rule: str = key("name of the rule")
    reason: str = key("why this rule, in a sentence")


class Loss(Output):
    """The relative loss of accuracy that an answer is expected to have."""

    mean: Real = key("mean over the cases of a replay")
    worst: Real = key("largest value of the replay")
    cases: int = key("number of cases")
    source: str = key("where the numbers come from")


class Next(Output):
    """What one more run would improve."""

    depth: int = key("L of the run")
    lr: float = key("its learning rate")
    steps: int = key("its steps")
    factor: float = key("the interval of the answer reaches this factor to both sides now")
    factor_after: float = key("expected factor after the run")


class SpentRow(Output):
    """The cost of one depth and purpose."""

    depth: int = key("L")
    purpose: str = key("what the runs were for")
    runs: int = key("number of runs")
    steps: int = key("their steps")
    trainings: float = key("steps / steps of a complete run")
    seconds: float = key("their wall-clock time in seconds")


class TuneRow(Output):
    """One run."""

    depth: int = key("L")
    lr: float = key("learning rate")
    seed: int = key("seed of weights and minibatches")
    purpose: str = key("what the run was for")
    outcome: str = key("finished, diverged, stopped, failed, timed out or silent")
    steps: int = key("steps that were made")
    loss: Real = key("last training loss; null if it is not finite or not reported")
    score: Real = key("last validation score, or null")
    seconds: float = key("wall-clock time in seconds")
    message: str = key("why the run ended early, otherwise empty")


class Tune(Output):
    """`ammup tune --json`, and ``Tuned.to_dict()``."""

    target: int = key("target depth")
    lr: float = key("learning rate to train the target with")
    interval: tuple[float, float] = key("its interval")
    level: float = key("level of the intervals")
    base_depth: int = key("depth of the tuned learning rate")
    answer: Estimate = key("the learning rate at the target, with its origin")
    base: Estimate = key("the tuned learning rate at the base")
    base_edge: Estimate = key("the edge at the base after probe_steps steps")
    edge: Estimate = key("the edge at the target after probe_steps steps")
    safety: float = key("answer / edge, as at the base")
    prediction: PredictedRatio = key("the prediction before any training at the target")
    probes: int = key("number of probes at the target that are evidence")
    expected_loss: Loss = key("expected relative loss of accuracy against a full grid at the target")
    next_run: Next = key("what one more probe would improve")
    probe_steps: int = key("steps after which edges are compared")
    steps: int = key("steps of a complete run")
    spent_steps: int = key("steps of all runs")
    spent: list[SpentRow] = key("cost by depth and purpose")
    runs: list[TuneRow] = key("all runs")
    notes: list[str] = key("what limits the trust in the answer")
