"""CPU time and peak memory of a measurement, relative to one plain forward and backward pass of the same model."""

import contextlib
import ctypes
import gc
import math
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from zoo_parts.case import Case, Problem, default_dtype, generators_restored, seed_everything

REPEATS = 3
LONG_SECONDS = 3.0  # calls that take longer are timed once
Run = Callable[[Problem], object]


def train(problem: Problem) -> None:
    """One plain forward and backward pass; the gradients remain, as in training."""
    problem.objective(problem.outputs()).backward()


def cpu_times(case: Case, *measurements: Run, repeats: int = REPEATS) -> list[float]:
    """CPU seconds of each measurement and, at the end, of a training pass: the fastest of several, in alternation.

    CPU time does not depend on other processes, except for the caches that they share. The first training pass, in
    which torch allocates and chooses kernels, is not timed.
    """
    runs = [*measurements, train]
    fastest = [math.inf] * len(runs)
    train(case.built())
    for _ in range(repeats):
        for place, run in enumerate(runs):
            problem = case.built()
            start = time.process_time()
            run(problem)
            fastest[place] = min(fastest[place], time.process_time() - start)
        if max(fastest) > LONG_SECONDS:
            break
    return fastest


def peak_memory(case: Case, run: Run) -> int:
    """Bytes that a new process needs at most, for the model, the batch and one run.

    It is the peak of its resident memory after the model was built, minus the resident memory before.

    Raises:
        RuntimeError: the process failed, for example because the system has no /proc.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(case, run, sender))
    process.start()
    sender.close()
    try:
        return int(receiver.recv())
    except EOFError as error:
        raise RuntimeError(f"the memory of {case.name} could not be measured") from error
    finally:
        process.join()


def _send_peak(case: Case, run: Run, pipe: Connection) -> None:
    torch.set_num_threads(1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # returns memory that the parent freed, which the run would reuse unseen
    before = _status("VmRSS")
    with generators_restored(), default_dtype(torch.float32):
        seed_everything(0)
        problem = case.build()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present value
    with contextlib.redirect_stdout(None):
        run(problem)
    pipe.send(_status("VmHWM") - before)


def _status(name: str) -> int:
    """A size in bytes from the status of this process."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
