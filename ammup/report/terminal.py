"""Printing to a terminal or a pipe; a separate module, so that no large library is imported."""

from rich.console import Console, RenderableType


def show(renderable: RenderableType) -> None:
    """Print to standard output: styled in a terminal, otherwise as plain text whose lines are not wrapped."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))
    console.print(renderable, soft_wrap=True)
