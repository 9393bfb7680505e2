"""Checks of the output files of a verb, made before anything is computed."""

from pathlib import Path

from ammup.errors import InputError

# Records up to this size are parsed before pandas is imported, and again when they are used.
MAX_CHECKED_BYTES = 2 << 20


def check_new_file(path: Path, *, suffixes: tuple[str, ...]) -> None:
    """Raise InputError unless ``path`` has one of the suffixes, does not exist yet and lies in an existing folder."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"unsupported suffix of {path.name!r}; expected one of: {', '.join(suffixes)}")
    if path.exists():
        raise InputError(f"{path} already exists; choose another name or remove the file")
    check_folder(path)


def check_sweeps(path: Path) -> None:
    """Raise InputError unless a store RUNS.db or a record RECORD.json can be opened, before pandas is imported."""
    if path.suffix != ".json":
        from ammup.experiments.database import check_is_file

        check_is_file(path)
        check_store(path)
        return
    if not path.is_file() or path.stat().st_size <= MAX_CHECKED_BYTES:  # parsing a large file twice would take longer
        from ammup.experiments.record_file import read_content

        read_content(path)


def check_store(path: Path) -> None:
    """Raise InputError if an existing file is not a store, before PyTorch is imported."""
    from ammup.experiments.database import Database, has_header
    from ammup.experiments.migrations import MIGRATIONS

    if path.is_file() and path.stat().st_size and not has_header(path):
        Database(path, migrations=MIGRATIONS, mode="read").close()  # raises


def check_folder(path: Path) -> None:
    """Raise InputError unless the folder of ``path`` exists."""
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: folder {path.absolute().parent} does not exist; create it first")


def check_new_figure(path: Path) -> None:
    """The checks of :func:`check_new_file` for a figure, with the suffixes of the formats that matplotlib can write."""
    from matplotlib.backend_bases import FigureCanvasBase

    check_new_file(path, suffixes=tuple(f".{name}" for name in sorted(FigureCanvasBase.get_supported_filetypes())))
