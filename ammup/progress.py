"""The progress of operations that can take more than two seconds: a bar in a terminal, otherwise plain lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    track,
)

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


def tracked(
    steps: Iterable[T], description: str, total: int, *, show: bool, costs: Sequence[float] | None = None
) -> Iterable[T]:
    """The steps, with their progress on standard error.

    In a terminal, the progress is shown as a bar, which is removed at the end. Otherwise, a plain line is written at
    the start and then at most every 30 seconds, also during a long step.

    Args:
        steps: the steps, of which each is taken when the one before has finished.
        description: what is done.
        total: number of steps.
        show: whether the progress is shown.
        costs: relative duration of each step, such as the depth of a net, for the bar and the remaining time; None if
            all steps take equally long.
    """
    if not show:
        return steps
    console = Console(stderr=True)
    if not console.is_terminal:
        return _logged(steps, description, total, [1.0] * total if costs is None else costs)
    if costs is None:
        return track(steps, description, total, console=console, transient=True)
    return _with_bar(steps, description, costs, console)


def _with_bar(steps: Iterable[T], description: str, costs: Sequence[float], console: Console) -> Iterator[T]:
    """A bar like that of rich's ``track``, which advances by the cost of each step."""
    with Progress(*_columns(), console=console, transient=True) as progress:
        task = progress.add_task(description, total=sum(costs))
        for step, cost in zip(steps, costs, strict=True):
            yield step
            progress.advance(task, cost)


def _columns() -> tuple[ProgressColumn, ...]:
    """The columns of rich's ``track``."""
    return (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TimeRemainingColumn(elapsed_when_finished=True),
    )


def _logged(steps: Iterable[T], description: str, total: int, costs: Sequence[float]) -> Iterator[T]:
    start, done, spent, complete = time.monotonic(), 0, 0.0, sum(costs)

    def line() -> str:
        times = f", {time_left(time.monotonic() - start, spent, complete - spent)}" if done else ""
        return f"{description}: {done} of {total}{times}"

    with heartbeat(line):
        for step in steps:
            yield step
            spent += costs[done] if done < len(costs) else 0.0  # a total of 0 stands for an unknown number
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
