"""The tunings of a store for the page of `ammup report`."""

import math
from dataclasses import dataclass
from pathlib import Path

from ammup.report.page import Picture
from ammup.tuning.evidence import Evidence
from ammup.tuning.figure import plot_runs
from ammup.tuning.plan import quality
from ammup.tuning.stored_runs import StoredTuning, read_tunings


@dataclass(frozen=True, kw_only=True)
class TuningDepth:
    """The runs of a tuning at one depth.

    Attributes:
        depth: L.
        runs: number of runs.
        trainings: their steps, in complete runs.
        failed: runs that failed for a reason other than the learning rate.
        trained: the largest learning rate that trained, None if there is none.
        best: the learning rate of the best complete run, None without one.
        score: the validation score of that run, None if there is none.
    """

    depth: int
    runs: int
    trainings: float
    failed: int
    trained: float | None
    best: float | None
    score: float | None


@dataclass(frozen=True, kw_only=True)
class TuningSection:
    """The section of one tuning.

    Attributes:
        name: the function or the command that was tuned.
        steps: steps of a complete run.
        depths: what was found at each depth.
        picture: the losses of all runs.
    """

    name: str
    steps: int
    depths: tuple[TuningDepth, ...]
    picture: Picture


def tuning_sections(path: Path) -> tuple[TuningSection, ...]:
    """The sections of a store; none for a sweep record.

    Raises:
        InputError: the file cannot be read.
    """
    return () if path.suffix == ".json" else tuple(tuning_section(tuning) for tuning in read_tunings(path))


def tuning_section(tuning: StoredTuning) -> TuningSection:
    """The section of one tuning. Its answer is not part of it: the store has runs, and not the wanted depth."""
    depths = sorted({run.depth for run in tuning.runs})
    picture = Picture(
        caption=f"Training loss after {tuning.probe_steps} of {tuning.budget} steps; crosses diverged or were stopped.",
        alt=f"Losses of {tuning.name} against the learning rate, one colour for each depth",
        figure=plot_runs(tuning.runs, tuning.probe_steps),
    )
    rows = tuple(_at_depth(tuning, depth) for depth in depths)
    return TuningSection(name=tuning.name, steps=tuning.budget, depths=rows, picture=picture)


def _at_depth(tuning: StoredTuning, depth: int) -> TuningDepth:
    evidence = Evidence(runs=tuning.runs, probe_steps=tuning.probe_steps)
    runs = evidence.at(depth)
    others = {run.depth for run in tuning.runs} - {depth}
    trained = [test.place for test in evidence.tests(depth, others=others) if not test.failed]
    complete = [run for run in evidence.complete(depth) if math.isfinite(quality(run))]
    best = max(complete, key=quality, default=None)
    return TuningDepth(
        depth=depth,
        runs=len(runs),
        trainings=sum(run.steps for run in runs) / tuning.budget,
        failed=sum(not run.is_evidence for run in runs),
        trained=10 ** max(trained) if trained else None,
        best=None if best is None else best.lr,
        score=None if best is None else best.score,
    )
