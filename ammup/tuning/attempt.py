"""Follow one run to its end, stop it early where it cannot succeed, and record what happened."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ammup.tuning.progress import (
    DIVERGED,
    FAILED,
    FINISHED,
    SILENT,
    STOPPED,
    TIMED_OUT,
    Progress,
    RunRequest,
    TuningRun,
    thinned,
)
from ammup.tuning.session import REGISTRY, Session, Trainer, TrainingFailedError, TrainingHungError

# A run is stopped if its loss is above the first one in this number of reports in a row, after the share PATIENCE of
# the steps of a probe. Early in training the loss may rise and fall again (the catapult, arXiv 2003.02218).
ABOVE, PATIENCE = 4, 0.5

Watch = Callable[[RunRequest, Progress], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a run is ended.

    Attributes:
        time_limit: the longest time without a report, in seconds.
        probe_steps: steps of a probe, from which the patience follows.
    """

    time_limit: float
    probe_steps: int


def make_run(trainer: Trainer, request: RunRequest, limits: Limits, watch: Watch | None = None) -> TuningRun:
    """Make a run and return its record; nothing that the training does raises an exception.

    Args:
        trainer: starts the training.
        request: the run.
        limits: when it is ended.
        watch: called with each report.
    """
    log = _Log(request=request, start=time.monotonic())
    try:
        session = trainer.start(request)
    except TrainingFailedError as error:
        return log.record(FAILED, str(error))
    with REGISTRY.running(session):
        try:
            outcome, message = _follow(session, log, limits, watch)
        except TrainingHungError as error:
            session.kill()
            outcome, message = TIMED_OUT, str(error)
        except TrainingFailedError as error:
            outcome, message = FAILED, str(error)
            # Scripts often exit when the loss is not finite; the reports count then, and not the exit code.
            if log.curve and not math.isfinite(log.curve[-1][1]):
                outcome = DIVERGED
        finally:
            with suppress(TrainingFailedError, TrainingHungError):
                session.stop()
    return log.record(outcome, message)


def _follow(session: Session, log: "_Log", limits: Limits, watch: Watch | None) -> tuple[str, str]:
    """Read the reports until the run ends or is to be ended: (outcome, message)."""
    until = log.request.until
    while (progress := session.report(limits.time_limit)) is not None:
        log.add(progress)
        if watch is not None:
            watch(log.request, progress)
        if not math.isfinite(progress.loss):
            return DIVERGED, f"loss {progress.loss} at step {progress.step}"
        if progress.step >= until:
            return FINISHED, ""
        if log.above >= ABOVE and progress.step >= PATIENCE * limits.probe_steps:
            return STOPPED, f"the last {ABOVE} losses are above the first, {log.curve[0][1]:.4g}"
    if not log.curve:
        return SILENT, "the training ended without a report"
    return FINISHED, f"the training ended after {log.curve[-1][0]} of {until} steps"


@dataclass(kw_only=True)
class _Log:
    """The reports of a run so far."""

    request: RunRequest
    start: float
    score: float | None = None
    above: int = 0

    def __post_init__(self) -> None:
        self.curve: list[tuple[int, float]] = []

    def add(self, progress: Progress) -> None:
        if progress.score is not None:
            self.score = progress.score
        if self.curve and self.curve[-1] == (progress.step, progress.loss):
            return  # only its score is new
        self.curve.append((progress.step, progress.loss))
        self.above = self.above + 1 if progress.loss > self.curve[0][1] else 0

    def record(self, outcome: str, message: str) -> TuningRun:
        request = self.request
        return TuningRun(
            depth=request.depth,
            lr=request.lr,
            seed=request.seed,
            budget=request.budget,
            until=request.until,
            purpose=request.purpose,
            outcome=outcome,
            message=" ".join(message.split()),
            steps=self.curve[-1][0] if self.curve else 0,
            curve=thinned(self.curve),
            score=self.score,
            seconds=time.monotonic() - self.start,
        )
