"""Where blocks are run by default: processes of one thread each on this machine, or this very process.

Nothing here imports torch at the top: what a worker sets for torch has to be set before.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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

    def kill(self) -> None:
        """End the workers in the middle of what they do."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """Set up a worker: one thread, large pages for tensors, and an end when its parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # torch reads it at its first allocation
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # whatever the main thread is doing: nobody is left to take its result
