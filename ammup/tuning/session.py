"""A running training as the process that follows it sees it, and the registry of those that must be ended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from ammup.tuning.progress import Progress, RunRequest

# Seconds that a training gets to end after it was asked to; then its process is killed.
GRACE = 10.0


class TrainingFailedError(Exception):
    """A training raised an exception, exited with another code than 0, or reported something invalid."""


class TrainingHungError(Exception):
    """A training did not report anything within the time limit."""


@runtime_checkable
class Session(Protocol):
    """One training that runs."""

    def report(self, timeout: float) -> Progress | None:
        """Wait for the next report; None at the end of the training.

        Raises:
            TrainingFailedError: the training failed.
            TrainingHungError: nothing was reported within ``timeout`` seconds.
        """

    def stop(self) -> None:
        """End the training before its end, or after a failure."""

    def kill(self) -> None:
        """End the training immediately, from any thread."""


@runtime_checkable
class Trainer(Protocol):
    """How trainings are started. Instances are pickled if an executor runs them elsewhere."""

    @property
    def name(self) -> str:
        """The function or the command, for readers."""

    @property
    def identity(self) -> str:
        """A text that is equal for trainers whose runs may be compared."""

    def start(self, request: RunRequest) -> Session:
        """Start a run."""


class _Registry:
    """The sessions that run in this process. Ctrl-C kills all of them, and so their threads end."""

    def __init__(self) -> None:
        self.lock, self.sessions, self.closed = threading.Lock(), set[Session](), False

    @contextmanager
    def running(self, session: Session) -> Iterator[None]:
        with self.lock:
            self.sessions.add(session)
        try:
            yield
        finally:
            with self.lock:
                self.sessions.discard(session)

    def kill_all(self) -> None:
        with self.lock:
            sessions = tuple(self.sessions)
        for session in sessions:
            session.kill()


REGISTRY = _Registry()
