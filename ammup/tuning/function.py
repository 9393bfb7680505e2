"""Training by a Python function, in a process of its own, so that a crash or a hang ends only that run."""

import contextlib
import inspect
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ammup.errors import InputError
from ammup.tuning.progress import Progress, RunRequest
from ammup.tuning.session import GRACE, Session, TrainingFailedError, TrainingHungError

ARGUMENTS = ("depth", "lr", "seed", "budget")
# Seconds that a new process gets to import the function in addition to the time limit of a run.
STARTING = 120.0

_THREAD = threading.local()  # each thread of the executor reuses its process, because importing torch takes seconds


@dataclass(frozen=True, kw_only=True)
class FunctionTrainer:
    """A function ``train(depth, lr, seed, budget)`` that yields :class:`Progress`.

    Attributes:
        function: it receives its arguments by name; ``state``, a folder of the run, as well if it has this argument.
        threads: threads of torch in the process of the function; None keeps torch's default.

    Raises:
        InputError: it is not callable, or lacks an argument.
    """

    function: Callable[..., Iterator[Progress]]
    threads: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(
                f"train is a {type(self.function).__name__}; give a function train(depth, lr, seed, budget)"
            )
        missing = [name for name in ARGUMENTS if not self._accepts(name)]
        if missing:
            raise InputError(
                f"{self.name} has no argument {missing[0]}; it is called as train(depth=, lr=, seed=, budget=)"
            )

    def _accepts(self, name: str) -> bool:
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # a builtin without a signature
            return name in ARGUMENTS
        return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @property
    def name(self) -> str:
        """MODULE:NAME of the function."""
        from ammup.models.factory import factory_name  # imports torch, before which a new process sets its threads

        return factory_name(self.function)

    @property
    def identity(self) -> str:
        """The name, and the arguments of a `functools.partial`."""
        given = self.function.keywords if isinstance(self.function, partial) else {}
        return f"function {self.name} {sorted((name, repr(value)) for name, value in given.items())}"

    @property
    def is_isolated(self) -> bool:
        """Whether runs get a process of their own.

        The function must be importable there, and daemonic processes, such as Dask's workers, may not start any.
        """
        main = sys.modules.get("__main__")
        if self.name.startswith("__main__:") and not hasattr(main, "__file__"):  # a notebook
            return False
        try:
            ForkingPickler.dumps(self.function)  # as starting the process does
        except Exception:  # pickling runs the function's own code
            return False
        return not multiprocessing.current_process().daemon

    def start(self, request: RunRequest) -> Session:
        """Start a run."""
        arguments = {name: getattr(request, name) for name in ARGUMENTS}
        if request.state is not None and self._accepts("state"):
            request.state.mkdir(parents=True, exist_ok=True)
            arguments["state"] = request.state
        if not self.is_isolated:
            return _InlineSession(self.function, arguments)
        return _ProcessSession(_Job(function=self.function, arguments=arguments, until=request.until), self.threads)


def _checked(report: object) -> Progress:
    if not isinstance(report, Progress):
        raise TrainingFailedError(f"train yielded a {type(report).__name__}; yield ammup.Progress(step, loss)")
    return report


class _InlineSession:
    """A run in this process. A hang cannot be ended here; the time limit is checked when the function yields."""

    def __init__(self, function: Callable[..., Iterator[Progress]], arguments: dict[str, Any]) -> None:
        try:
            self.reports = iter(function(**arguments))
        except Exception as error:  # the user's code can raise anything
            raise TrainingFailedError(_error_text(error)) from error
        self.killed = False

    def report(self, timeout: float) -> Progress | None:
        """The next report; see :class:`ammup.tuning.session.Session`."""
        start = time.monotonic()
        try:
            report = None if self.killed else next(self.reports, None)
        except Exception as error:  # the user's code can raise anything
            raise TrainingFailedError(_error_text(error)) from error
        if time.monotonic() - start > timeout:
            raise TrainingHungError(f"no report within {timeout:g} s")
        return None if report is None else _checked(report)

    def stop(self) -> None:
        """Close the generator."""
        close = getattr(self.reports, "close", None)
        with contextlib.suppress(Exception):  # the user's code can raise anything
            if close is not None:
                close()

    def kill(self) -> None:
        """End at the next report."""
        self.killed = True


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What the process of a run needs: the function, its arguments, and the last step."""

    function: Callable[..., Iterator[Progress]]
    arguments: dict[str, Any]
    until: int


class _Child:
    """A process that makes runs one after another, and the connection to it."""

    def __init__(self, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, threads), daemon=True)
        start_method = multiprocessing.get_start_method(allow_none=True)
        self.process.start()
        if start_method is None:  # starting sets the default of the caller's process
            multiprocessing.set_start_method(None, force=True)
        other.close()
        self.is_new = True

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _ProcessSession:
    """A run in the process of this thread."""

    def __init__(self, job: _Job, threads: int | None) -> None:
        child: _Child | None = getattr(_THREAD, "child", None)
        if child is None or not child.process.is_alive():
            child = _THREAD.child = _Child(threads)
        self.child, self.running = child, True
        try:
            child.connection.send(job)
        except (OSError, ValueError) as error:
            raise TrainingFailedError(f"the process ended ({error})") from error

    def report(self, timeout: float) -> Progress | None:
        """The next report; see :class:`ammup.tuning.session.Session`."""
        allowed = timeout + (STARTING if self.child.is_new else 0.0)
        try:
            if not self.child.connection.poll(allowed):
                raise TrainingHungError(f"no report within {timeout:g} s")
            kind, content = self.child.connection.recv()
        except (EOFError, OSError) as error:
            self.child.process.join(GRACE)
            code = self.child.process.exitcode
            raise TrainingFailedError(f"the process ended with exit code {code}") from error
        if kind == "started":
            self.child.is_new = False
            return self.report(timeout)
        if kind == "progress":
            return _checked(content)
        self.running = False
        if kind == "failed":
            raise TrainingFailedError(content)
        return None

    def stop(self) -> None:
        """Ask the function's generator to close at its next report; kill the process after the grace period."""
        deadline = time.monotonic() + GRACE
        with contextlib.suppress(EOFError, OSError, TrainingFailedError, TrainingHungError):
            if self.running:
                self.child.connection.send("stop")
            while self.running and time.monotonic() < deadline:
                if self.report(max(0.0, deadline - time.monotonic())) is None:
                    return
        if self.running:
            self.kill()

    def kill(self) -> None:
        """Kill the process; the next run of this thread starts another one."""
        self.child.process.kill()


def close_child() -> None:
    """Kill the process of this thread, if it has one."""
    child: _Child | None = getattr(_THREAD, "child", None)
    if child is not None:
        child.kill()
        _THREAD.child = None


def _serve(connection: Connection, threads: int | None) -> None:
    """Make the runs that arrive, one after another, until the parent process ends or closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; only the parent handles it
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if threads is not None:  # read when numpy and torch are imported, with the function
        os.environ.update({f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")})
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # importing the function runs the user's code
            connection.send(("failed", f"the function cannot be imported in another process: {_error_text(error)}"))
            continue
        if isinstance(job, _Job):  # a "stop" may arrive after the end of its run
            connection.send(_made(job, connection))


def _made(job: _Job, connection: Connection) -> tuple[str, str]:
    """Make a run and send its reports; returns the last message."""
    connection.send(("started", ""))
    try:
        reports = iter(job.function(**job.arguments))
        for report in reports:
            connection.send(("progress", report))
            if not isinstance(report, Progress) or report.step >= job.until or connection.poll():
                close = getattr(reports, "close", None)
                if close is not None:
                    close()
                break
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        return "failed", _error_text(error)
    return "end", ""


def _exit_with_parent() -> None:
    """Wait until the parent process ends, then exit, even while the main thread makes a run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _error_text(error: BaseException) -> str:
    """The exception in one line, with its place in the user's code."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" ({os.path.basename(code.co_filename)}, line {trace.tb_lineno})"  # noqa: PTH119
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
