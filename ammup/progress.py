"""The progress bar of everything that can take more than two seconds."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(steps: Iterable[T], description: str, total: int, *, show: bool) -> Iterable[T]:
    """The steps, with a bar on standard error that vanishes at the end; none where that is no terminal."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        return steps
    return track(steps, description, total, console=console, transient=True)
