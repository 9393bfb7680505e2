"""The progress of operations that can take more than two seconds: a bar in a terminal, otherwise plain lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")

# Seconds between two lines.
INTERVAL = 30.0


class _Log:
    """Plain lines on standard error, with at least ``INTERVAL`` seconds between two of them."""

    def __init__(self) -> None:
        self.last = -float("inf")

    @property
    def wait(self) -> float:
        """Seconds until the next line may be written."""
        return max(0.0, self.last + INTERVAL - time.monotonic())

    def write(self, line: Callable[[], str]) -> None:
        """Write a line unless the last one is too recent."""
        if self.wait == 0:
            self.last = time.monotonic()
            with suppress(OSError, ValueError):  # the pipe has no reader any more, or the stream is closed
                print(line(), file=sys.stderr, flush=True)


_LOG = _Log()


def announce(text: str) -> None:
    """Write the first line of the progress of a command, before the command imports large libraries."""
    _LOG.last = -float("inf")
    _LOG.write(lambda: text)


def tracked(steps: Iterable[T], description: str, total: int, *, show: bool) -> Iterable[T]:
    """The steps, with their progress on standard error.

    In a terminal, the progress is shown as a bar, which is removed at the end. Otherwise, a plain line is written at
    the start and then at most every 30 seconds, also during a long step.
    """
    if not show:
        return steps
    console = Console(stderr=True)
    if console.is_terminal:
        return track(steps, description, total, console=console, transient=True)
    return _logged(steps, description, total)


def _logged(steps: Iterable[T], description: str, total: int) -> Iterator[T]:
    start, done = time.monotonic(), 0

    def line() -> str:
        times = f", {time_left(time.monotonic() - start, done, total - done)}" if done else ""
        return f"{description}: {done} of {total}{times}"

    with heartbeat(line):
        for step in steps:
            yield step
            done += 1


@contextmanager
def heartbeat(line: Callable[[], str]) -> Iterator[None]:
    """Write a line at the start and then every 30 seconds, from another thread.

    Args:
        line: returns the current text of the line.
    """
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(_LOG.wait):
            _LOG.write(line)

    _LOG.write(line)
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def time_left(elapsed: float, done: float, left: float) -> str:
    """The elapsed time, and the remaining time if each unit of work takes as long as the average unit so far."""
    remaining = timedelta(seconds=round(elapsed * left / done)) if done else "?"
    return f"{timedelta(seconds=round(elapsed))} elapsed, about {remaining} remaining"
