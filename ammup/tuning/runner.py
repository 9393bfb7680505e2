"""Make runs at the same time, here or by an executor, store each when it ends, and show what happens."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ammup.errors import InputError
from ammup.experiments.pool import WorkerPool
from ammup.format import count_text
from ammup.progress import heartbeat
from ammup.tuning.attempt import Limits, Watch, make_run
from ammup.tuning.function import close_child
from ammup.tuning.options import TuneOptions
from ammup.tuning.progress import ENOUGH, FINISHED, Progress, RunRequest, TuningRun
from ammup.tuning.session import REGISTRY, Trainer
from ammup.tuning.stored_runs import StoredRuns

# The tuning ends after this number of runs in a row that failed for a reason other than the learning rate.
MAX_FAILURES = 3


@dataclass(kw_only=True)
class Runner:
    """Makes the runs of one tuning.

    Attributes:
        trainer: starts trainings.
        stored: takes the runs.
        limits: when a run is ended.
        options: how runs are made.
        states: folder with the states of runs, or None if the training takes none.
        failures: runs that failed since the last one that did not.
        current: the runs that go on, by label, with their last progress.
    """

    trainer: Trainer
    stored: StoredRuns
    limits: Limits
    options: TuneOptions
    states: Path | None
    failures: int = 0
    current: dict[str, str] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    def make(self, requests: Sequence[RunRequest], pool: WorkerPool) -> None:
        """Make these runs and store each of them when it ends.

        Raises:
            InputError: the first run failed, several in a row failed, or a run was shorter than requested.
        """
        watch: Watch | None = self._watch if self.options.executor is None else None
        function = partial(make_run, self.trainer, limits=self.limits, watch=watch)
        self.current = {_label(request): f"no report yet, {request.until} steps" for request in requests}
        for run in pool.map_unordered(function, [self._with_state(request) for request in requests]):
            self.current.pop(_label(run), None)
            is_first = not self.stored.runs()
            self.stored.put(run)
            self._check(run, is_first=is_first)

    def _check(self, run: TuningRun, *, is_first: bool) -> None:
        what = f"{_label(run)}: {run.outcome}: {run.message}"
        self.failures = 0 if run.is_evidence else self.failures + 1
        if self.failures and (is_first or self.failures >= MAX_FAILURES):
            which = "the first run" if is_first else f"the last {self.failures} runs"
            raise InputError(f"{which} failed, {what}; correct the training and run the same command again")
        if run.outcome == FINISHED and run.steps < ENOUGH * run.until:
            raise InputError(
                f"{_label(run)} ended after {run.steps} of {run.until} steps; give the number of steps that a complete "
                "run makes, in the unit of the reported step",
                python="pass steps=",
                option="pass --steps",
            )
        inside = [step for step, _ in run.curve if step <= self.limits.probe_steps]
        if run.outcome == FINISHED and len(inside) < 2:
            raise InputError(
                f"{_label(run)} reported {count_text(len(inside), 'time')} within {self.limits.probe_steps} steps; two "
                "are needed: report more often, or make short runs longer",
                python="pass TuneOptions(probe_steps=)",
                option="pass --probe-steps",
            )

    def _with_state(self, request: RunRequest) -> RunRequest:
        """The request with the folder of its state, which is the same if the run is made again."""
        if self.states is None:
            return request
        name = f"depth{request.depth}-lr{request.lr:.3g}-seed{request.seed}-budget{request.budget}"
        return replace(request, state=self.states.absolute() / self.stored.key[:8] / name)

    def _watch(self, request: RunRequest, progress: Progress) -> None:
        self.current[_label(request)] = f"step {progress.step} of {request.until}, loss {progress.loss:.4g}"

    def line(self) -> str:
        """What has been done and what goes on."""
        now = "; ".join(f"{label}: {state}" for label, state in list(self.current.items()))
        return f"tune: {time.monotonic() - self.start:.0f} s elapsed; {now or 'planning'}"


def _label(run: RunRequest | TuningRun) -> str:
    return f"{run.purpose} at depth {run.depth}, lr {run.lr:.3g}, seed {run.seed}"


@contextmanager
def running_pool(options: TuneOptions) -> Iterator[WorkerPool]:
    """The pool that makes the runs: threads that each follow a process, or the caller's executor."""
    if options.executor is not None:
        yield WorkerPool(executor=options.executor, max_pending=None, processes=None)
        return
    executor = ThreadPoolExecutor(options.workers, thread_name_prefix="ammup-tune")
    try:
        yield WorkerPool(executor=executor, max_pending=options.workers, processes=None)
    finally:
        REGISTRY.kill_all()  # nothing runs here unless an exception or Ctrl-C ended the tuning
        # Every thread kills its own process: the barrier makes each of them take one of the calls.
        barrier = threading.Barrier(options.workers, timeout=10)
        for _ in range(options.workers):
            executor.submit(_close, barrier)
        executor.shutdown(wait=True)


def _close(barrier: threading.Barrier) -> None:
    close_child()
    if barrier.n_waiting < barrier.parties:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return


def display(runner: Runner, *, show: bool) -> AbstractContextManager[object]:
    """A line on standard error that is renewed twice a second; without a terminal, a line every 30 seconds."""
    console = Console(stderr=True)
    if not show:
        return nullcontext()
    if console.is_terminal:
        return Live(console=console, get_renderable=lambda: Text(runner.line()), refresh_per_second=2, transient=True)
    return heartbeat(runner.line)
