"""Where blocks are run by default: processes of one thread each on this machine, or this very process.

Nothing here imports torch at the top: what a worker sets for torch has to be set before.
"""

import multiprocessing
import multiprocessing.connection
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
from typing import ParamSpec, TypeVar

from ammup.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")

# A worker that dies takes its job with it; so many deaths with no job done between them are no chance.
DEATHS = 3


class InProcess(Executor):
    """Runs what is submitted at once, in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of a call that is over."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it belongs to whoever asks for the result
            future.set_exception(error)
        return future


class LocalPool(ProcessPoolExecutor):
    """Spawned processes of one thread each.

    Spawned and not forked: a fork of a process whose OpenMP threads have run can hang.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As of every executor; it may start a worker, which fixes the start method of the process for good."""
        chosen = multiprocessing.get_start_method(allow_none=True)
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            if chosen is None:  # the caller may still choose one
                multiprocessing.set_start_method(None, force=True)

    def kill(self) -> None:
        """End the workers in the middle of what they do."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


@dataclass(kw_only=True)
class Workers:
    """An executor, how many jobs to have in it at once (None: all), and its workers where it is ours to renew."""

    executor: Executor
    ahead: int | None
    workers: int | None
    deaths: int = 0

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns in a worker."""
        while True:
            try:
                return self.executor.submit(function, *args, **kwargs).result()
            except (BrokenProcessPool, CancelledError) as error:
                self._renew(error)

    def outcomes(self, function: Callable[[J], T], jobs: Iterable[J]) -> Iterator[T]:
        """What the function returns for each job, as they end. Jobs of a worker that died are run again.

        Raises:
            InputError: the workers keep dying.
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
            for future in running:  # somebody else's executor would go on with them
                future.cancel()

    def _renew(self, error: Exception) -> None:
        """New workers for those that died.

        Raises:
            InputError: they are not ours, or they died too often since `deaths` was set to 0.
        """
        self.deaths += 1
        if self.workers is None or self.deaths >= DEATHS:
            raise InputError(
                "workers keep dying, most often for want of memory; what is done is stored: run the same command with "
                "fewer --workers"
            ) from error
        if isinstance(self.executor, LocalPool):
            self.executor.kill()
        self.executor = LocalPool(self.workers)


@contextmanager
def worker_pool(executor: Executor | None, workers: int) -> Iterator[Workers]:
    """The given executor, or our own of so many workers, which is ended with whatever it still does."""
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
    """As in a worker: with another number of threads torch adds in another order, and rows would be others."""
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
    """Set up a worker: one thread, large pages for tensors, freed memory kept, and an end when its parent has ended."""
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
        os._exit(1)  # whatever the main thread is doing: nobody is left to take its result
