"""What a training reports while it runs, what is requested of it, and the record of a run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ammup.errors import InputError

# Outcomes of a run. Only the first three are evidence about the learning rate.
FINISHED, DIVERGED, STOPPED = "finished", "diverged", "stopped"
FAILED, TIMED_OUT, SILENT = "failed", "timed out", "silent"
EVIDENCE = (FINISHED, DIVERGED, STOPPED)
OUTCOMES = (*EVIDENCE, FAILED, TIMED_OUT, SILENT)
# A curve is stored at up to this number of points; more reports are averaged in groups.
MAX_POINTS = 200
# A run that made this share of the requested steps made all of them: the last report is seldom at the last step.
ENOUGH = 0.9


@dataclass(frozen=True)
class Progress:
    """One report of a running training.

    Attributes:
        step: number of steps done, in any unit that is the same at all depths, such as minibatches or epochs.
        loss: training loss of the last step, or the mean since the last report; NaN or infinite if it diverged.
        score: validation score, such as accuracy; a larger score is better. None if it was not measured.

    Raises:
        InputError: the step is not an integer of at least 0, or a value is not a number.
    """

    step: Any  # an int, and floats below; but tensors and NumPy's numbers are accepted, and converted
    loss: Any
    score: Any = None

    def __post_init__(self) -> None:
        try:
            step, loss = int(self.step), float(_detached(self.loss))
            score = None if self.score is None else float(_detached(self.score))
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"Progress(step={self.step!r}, loss={self.loss!r}, score={self.score!r}): expected numbers"
            ) from None
        if step != self.step or step < 0:
            raise InputError(f"Progress(step={self.step!r}): expected an integer of at least 0")
        for name, value in (("step", step), ("loss", loss), ("score", score)):  # tensors and arrays become numbers
            object.__setattr__(self, name, value)


def _detached(value: Any) -> Any:
    """The value of a tensor without its graph; torch warns if such a tensor becomes a number."""
    detach = getattr(value, "detach", None)
    return value if detach is None else detach()


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run that is to be made.

    Attributes:
        depth: L.
        lr: learning rate.
        seed: seed of weights and minibatches.
        budget: steps of a complete run, which schedules refer to.
        until: the run is stopped after this number of steps; ``budget`` for a complete run.
        purpose: what the run is for, such as "probe".
        state: folder in which the run may save its state and from which it may resume, or None.
    """

    depth: int
    lr: float
    seed: int
    budget: int
    until: int
    purpose: str
    state: Path | None = None

    @property
    def label(self) -> str:
        """The run in a few words."""
        return f"{self.purpose} at depth {self.depth}, lr {self.lr:.3g}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class TuningRun:
    """A run that was made.

    Attributes:
        depth: L.
        lr: learning rate.
        seed: seed of weights and minibatches.
        budget: steps of a complete run.
        until: steps that were requested.
        purpose: what the run was for.
        outcome: one of ``OUTCOMES``.
        message: why the run ended early, otherwise empty.
        steps: steps that were made.
        curve: (step, loss) at up to ``MAX_POINTS`` points.
        score: last validation score, or None.
        seconds: wall-clock time.
    """

    depth: int
    lr: float
    seed: int
    budget: int
    until: int
    purpose: str
    outcome: str
    message: str
    steps: int
    curve: tuple[tuple[int, float], ...]
    score: float | None
    seconds: float

    @property
    def is_evidence(self) -> bool:
        """Whether the run says something about its learning rate; a crash or a hang does not."""
        return self.outcome in EVIDENCE

    @property
    def is_complete(self) -> bool:
        """Whether all steps of a complete run were made."""
        return self.outcome == FINISHED and self.steps >= ENOUGH * self.budget

    @property
    def first_loss(self) -> float:
        """The first reported loss, or NaN."""
        return self.curve[0][1] if self.curve else math.nan

    def loss_at(self, steps: int) -> float:
        """The mean loss of the last quarter of the first ``steps`` steps.

        It is infinite if the run diverged or was stopped within these steps, and NaN if it was shorter or if its
        outcome says nothing about the learning rate.
        """
        if not self.is_evidence:
            return math.nan
        inside = [loss for step, loss in self.curve if step <= steps]
        ended = self.outcome != FINISHED and self.steps <= steps
        if ended or not all(math.isfinite(loss) for loss in inside):
            return math.inf
        if self.steps < ENOUGH * steps or not inside:
            return math.nan
        recent = [loss for step, loss in self.curve if 0.75 * steps < step <= steps] or inside[-1:]
        return sum(recent) / len(recent)


def thinned(curve: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """The curve at up to ``MAX_POINTS`` points: the first point, and then the means of groups of points."""
    if len(curve) <= MAX_POINTS:
        return tuple(curve)
    first, *others = curve
    size = -(-len(others) // (MAX_POINTS - 1))
    groups = (others[start : start + size] for start in range(0, len(others), size))
    return (first, *((group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups))
