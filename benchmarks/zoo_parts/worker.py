"""Execution of cases in a persistent worker process, which is replaced if a case makes it hang or exit."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from zoo_parts.case import Case

# Seconds of CPU time. On a machine that others use too, a stage may take many times as long.
LIMITS = {"starting": 300.0, "training": 300.0, "measuring": 300.0, "comparing": 900.0}
LONGEST_WAIT = 20.0  # times the limit; a process that waits for a lock uses no CPU time


class Worker:
    """A process that runs the cases of one collection by name.

    Args:
        collection: name of the collection.
    """

    def __init__(self, collection: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(collection, other), daemon=True)
        self.process.start()
        other.close()

    def judge(self, case: Case) -> dict[str, Any]:
        """The record of one case; afterwards, ``alive`` is whether the worker can run another one."""
        self.pipe.send(case.name)
        stage, start = "starting", self._clocks()
        while True:
            try:
                while not self.pipe.poll(0.5):
                    if self._exceeds(stage, start):
                        self.stop()
                        return _failure_record(case, stage, "hang", f"no answer after {LIMITS[stage]:.0f} s of {stage}")
                kind, value = self.pipe.recv()
            except (EOFError, ConnectionError):
                self.process.join(10)
                code = self.process.exitcode
                self.stop()
                return _failure_record(case, stage, "crash", f"the process exited while {stage} (exit code {code})")
            if kind == "verdict":
                return dict(value)
            stage, start = value, self._clocks()

    def _exceeds(self, stage: str, start: tuple[float, float]) -> bool:
        """Whether a stage that began at ``start`` has used more than its limit."""
        cpu, wall = (now - before for now, before in zip(self._clocks(), start, strict=True))
        return cpu >= LIMITS[stage] or wall >= LIMITS[stage] * LONGEST_WAIT

    def _clocks(self) -> tuple[float, float]:
        """Seconds of CPU time of the process, and of a clock on the wall; both are the same without /proc."""
        wall = time.monotonic()
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return wall, wall
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), wall

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self.process.is_alive()

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _failure_record(case: Case, stage: str, status: str, message: str) -> dict[str, Any]:
    """The record of a case without a verdict; this is a failure of ammup only in the stage "measuring"."""
    from zoo_parts.judge import Verdict  # imports ammup

    status = {"measuring": status, "comparing": "unresolved"}.get(stage, "invalid")
    return Verdict(name=case.name, group=case.group, status=status, message=message).as_record()


def run_cases(
    collection: str, cases: Iterable[Case], report: Callable[[dict[str, Any]], None]
) -> Iterator[dict[str, Any]]:
    """Judge every case, one after another; ``report`` is called with each record."""
    worker: Worker | None = None
    try:
        for case in cases:
            if worker is None or not worker.alive:
                worker = Worker(collection)
            record = worker.judge(case)
            report(record)
            yield record
    finally:
        if worker is not None and worker.alive:
            worker.stop()


def _serve(collection: str, pipe: Connection) -> None:
    import torch

    from zoo_parts.collection import cases_of
    from zoo_parts.judge import judge, quiet, warm_up

    torch.set_num_threads(1)
    cases = {case.name: case for case in cases_of(collection)}
    with quiet():
        warm_up()
        while True:
            try:
                name = pipe.recv()
            except EOFError:
                return
            verdict = judge(cases[name], lambda stage: pipe.send(("stage", stage)))
            pipe.send(("verdict", verdict.as_record()))
