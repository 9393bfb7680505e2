"""Where blocks run by default: in processes of one thread each on this machine, or in this process.

Torch is not imported at the top, because a worker has to set environment variables before.

Dead workers are handled here and not by loky: its executor, too, fails every pending future when a worker is killed
(`TerminatedWorkerError`) and runs no job again, so that resubmitting and the limit on repeated crashes would stay. It
would save only `kill`, and it pickles with cloudpickle, which ammup does not load.
"""

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.process
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from ammup.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")

# So many crashes without a finished job between them are reported; fewer are retried.
DEATHS = 3


class InProcess(Executor):
    """Runs each submitted call immediately, in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The completed future of the call."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # raised by the future's result()
            future.set_exception(error)
        return future


class _RecordingContext(multiprocessing.context.SpawnContext):
    """Spawned processes, recorded so that they can be killed: executors have no public list of them."""

    def __init__(self) -> None:
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def Process(  # type: ignore[override]  # noqa: N802  (the name that executors call)
        self, *args: Any, **kwargs: Any
    ) -> multiprocessing.process.BaseProcess:
        process = multiprocessing.context.SpawnProcess(*args, **kwargs)
        self.processes.append(process)
        return process


class LocalPool(ProcessPoolExecutor):
    """Spawned processes of one thread each.

    They are not forked: a fork of a process whose OpenMP threads have run can hang.
    """

    def __init__(self, workers: int) -> None:
        self.context = _RecordingContext()
        super().__init__(workers, mp_context=self.context, initializer=_begin)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call; starting a worker sets the default start method of this process, which is reset."""
        chosen = multiprocessing.get_start_method(allow_none=True)
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            if chosen is None:  # the caller can still set one
                multiprocessing.set_start_method(None, force=True)

    def kill(self) -> None:
        """End the workers immediately, also while they run a job."""
        self.shutdown(wait=False, cancel_futures=True)
        started = [process for process in self.context.processes if process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()


@dataclass(kw_only=True)
class Workers:
    """An executor that runs jobs again whose worker died.

    Attributes:
        executor: runs the jobs.
        ahead: number of jobs submitted at the same time; None submits all.
        workers: processes of our own executor; None where the caller gave one, which is not replaced.
        deaths: crashes since the last finished job.
    """

    executor: Executor
    ahead: int | None
    workers: int | None
    deaths: int = 0

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a worker and return its result."""
        while True:
            try:
                return self.executor.submit(function, *args, **kwargs).result()
            except (BrokenProcessPool, CancelledError) as error:
                self._renew(error)

    def outcomes(self, function: Callable[[J], T], jobs: Iterable[J]) -> Iterator[T]:
        """The results of the function for the jobs, in the order in which they finish.

        Raises:
            InputError: workers crashed repeatedly.
        """
        waiting, running = deque(jobs), dict[Future[T], J]()
        try:
            while waiting or running:
                try:
                    while waiting and (self.ahead is None or len(running) < self.ahead):
                        running[self.executor.submit(function, waiting[0])] = waiting[0]
                        waiting.popleft()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=_failed):
                        outcome = future.result()
                        self.deaths = 0
                        del running[future]
                        yield outcome
                except (BrokenProcessPool, CancelledError) as error:
                    waiting.extendleft(reversed(running.values()))
                    running.clear()
                    self._renew(error)
        finally:
            for future in running:  # the caller's executor would still run them
                future.cancel()

    def _renew(self, error: Exception) -> None:
        """Replace an executor whose worker died.

        Raises:
            InputError: the executor is the caller's, or its workers crashed `DEATHS` times without a finished job.
        """
        self.deaths += 1
        if self.workers is None or self.deaths >= DEATHS:
            raise InputError(
                "workers crashed repeatedly, often out of memory; finished cells are stored: run the same command with "
                "fewer --workers"
            ) from error
        if isinstance(self.executor, LocalPool):
            self.executor.kill()
        self.executor = LocalPool(self.workers)


@contextmanager
def worker_pool(executor: Executor | None, workers: int) -> Iterator[Workers]:
    """The given executor, or our own with this number of workers, which is killed at the end."""
    if executor is not None:
        yield Workers(executor=executor, ahead=None, workers=None)
    elif workers == 1:
        with _one_thread():
            yield Workers(executor=InProcess(), ahead=1, workers=None)
    else:
        pool = Workers(executor=LocalPool(workers), ahead=2 * workers, workers=workers)
        try:
            yield pool
        finally:
            if isinstance(pool.executor, LocalPool):
                pool.executor.kill()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread as in a worker: with more, torch adds in another order and results differ by rounding."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _failed(future: Future[T]) -> bool:
    return future.cancelled() or future.exception() is not None


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """Set up a worker: one thread, large pages for tensors, freed memory is reused, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # torch reads it at its first allocation
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from ammup.training.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # also while the main thread works: its result has no reader
