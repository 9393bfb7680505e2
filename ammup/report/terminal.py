"""Printing for people; apart from what it prints, so that nothing heavy is imported."""

from rich.console import Console, RenderableType


def show(renderable: RenderableType) -> None:
    """Print to standard output; plain text, on lines as long as they are, where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))
    console.print(renderable, soft_wrap=True)
