"""The progress bar of operations that can take more than two seconds."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(steps: Iterable[T], description: str, total: int, *, show: bool) -> Iterable[T]:
    """The steps, with a progress bar on standard error if that is a terminal; the bar is removed at the end."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        return steps
    return track(steps, description, total, console=console, transient=True)
