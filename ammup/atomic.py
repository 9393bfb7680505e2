"""Replace files atomically: a reader sees the old content or the new content, never a part of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces ``path`` when the block ends without an error.

    After an error the temporary file is removed and ``path`` is unchanged.

    Args:
        path: the file to create or replace.
        temporary: the name of the temporary file; by default a name that no other process uses.
    """
    temporary = temporary or path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # left by a process that was killed
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text file as UTF-8 and flush it to the disk before it replaces the old one."""
    # The inner context ends first: the file is closed before it is renamed.
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
