"""The default executors of a sweep: a pool of local single-threaded processes, or the current process.

Torch is not imported at module level, because a worker must set environment variables before it imports torch.

Crashed workers are handled here and not by loky. Its executor also fails every pending future when a worker is killed
(`TerminatedWorkerError`) and does not resubmit jobs, so this module would still need its retries and their limit. loky
would only replace `kill`, and it pickles with cloudpickle, which ammup does not load.
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

# The sweep stops after this many crashes without a finished job between them; after fewer, the jobs are run again.
MAX_CRASHES = 3


class InProcess(Executor):
    """Runs each submitted call immediately, in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function and return a completed future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # raised by the future's result()
            future.set_exception(error)
        return future


class _RecordingContext(multiprocessing.context.SpawnContext):
    """A spawn context that records its processes, because executors have no public list of the processes to kill."""

    def __init__(self) -> None:
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def Process(  # type: ignore[override]  # noqa: N802  (the name that executors use)
        self, *args: Any, **kwargs: Any
    ) -> multiprocessing.process.BaseProcess:
        process = multiprocessing.context.SpawnProcess(*args, **kwargs)
        self.processes.append(process)
        return process


class LocalPool(ProcessPoolExecutor):
    """An executor of spawned processes with one thread each.

    The processes are not forked, because a fork can hang after its parent has used OpenMP threads.
    """

    def __init__(self, workers: int) -> None:
        self.context = _RecordingContext()
        super().__init__(workers, mp_context=self.context, initializer=_initialize_worker)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call. Starting a worker sets the default start method of the caller's process; it is reset here."""
        start_method = multiprocessing.get_start_method(allow_none=True)
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            if start_method is None:  # otherwise the caller could no longer set it
                multiprocessing.set_start_method(None, force=True)

    def kill(self) -> None:
        """Kill the workers immediately, even while they run a job."""
        self.shutdown(wait=False, cancel_futures=True)
        started = [process for process in self.context.processes if process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()


@dataclass(kw_only=True)
class WorkerPool:
    """An executor that runs a job again if its worker crashed.

    Attributes:
        executor: runs the jobs.
        max_pending: largest number of submitted, unfinished jobs; None submits all jobs immediately.
        processes: number of processes of a `LocalPool`, which is replaced after a crash; None if the executor belongs
            to the caller, in which case it is not replaced.
        crashes: number of crashes since the last finished job.
    """

    executor: Executor
    max_pending: int | None
    processes: int | None
    crashes: int = 0

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a worker and return its result.

        Raises:
            InputError: workers crashed repeatedly.
        """
        while True:
            try:
                return self.executor.submit(function, *args, **kwargs).result()
            except (BrokenProcessPool, CancelledError) as error:
                self._replace_executor(error)

    def map_unordered(self, function: Callable[[J], T], jobs: Iterable[J]) -> Iterator[T]:
        """Yield the result of the function for each job, in the order in which the jobs finish.

        Raises:
            InputError: workers crashed repeatedly.
        """
        waiting, running = deque(jobs), dict[Future[T], J]()
        try:
            while waiting or running:
                try:
                    while waiting and (self.max_pending is None or len(running) < self.max_pending):
                        running[self.executor.submit(function, waiting[0])] = waiting[0]
                        waiting.popleft()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=_failed):
                        result = future.result()
                        self.crashes = 0
                        del running[future]
                        yield result
                except (BrokenProcessPool, CancelledError) as error:
                    waiting.extendleft(reversed(running.values()))
                    running.clear()
                    self._replace_executor(error)
        finally:
            for future in running:  # otherwise the caller's executor would still run them
                future.cancel()

    def _replace_executor(self, error: Exception) -> None:
        """Replace the executor after one of its workers crashed.

        Raises:
            InputError: the executor belongs to the caller, or workers crashed `MAX_CRASHES` times without a finished
                job.
        """
        self.crashes += 1
        if self.processes is None or self.crashes >= MAX_CRASHES:
            raise InputError(
                "workers crashed repeatedly, often because they ran out of memory; finished cells are stored: run the "
                "same command with fewer --workers"
            ) from error
        if isinstance(self.executor, LocalPool):
            self.executor.kill()
        self.executor = LocalPool(self.processes)


@contextmanager
def worker_pool(executor: Executor | None, workers: int) -> Iterator[WorkerPool]:
    """A pool that uses the given executor; without one, a pool of local processes, which are killed on exit.

    Args:
        executor: the caller's executor, or None.
        workers: number of local processes if there is no executor; with 1, jobs run in the current process.
    """
    if executor is not None:
        yield WorkerPool(executor=executor, max_pending=None, processes=None)
    elif workers == 1:
        with single_thread():
            yield WorkerPool(executor=InProcess(), max_pending=1, processes=None)
    else:
        pool = WorkerPool(executor=LocalPool(workers), max_pending=2 * workers, processes=workers)
        try:
            yield pool
        finally:
            if isinstance(pool.executor, LocalPool):
                pool.executor.kill()


@contextmanager
def single_thread() -> Iterator[None]:
    """Limit torch to one thread, as in a worker of a pool; with more, results differ by rounding."""
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
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _initialize_worker() -> None:
    """Set up a worker: one thread, huge pages for tensors, reuse of freed memory, and exit when its parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; only the parent handles it
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # torch reads this variable at its first allocation
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import torch

    from ammup.training.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()


def _exit_with_parent() -> None:
    """Wait until the parent process ends, then exit."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # even while the main thread runs a job: nobody would read its result
