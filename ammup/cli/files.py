"""Files that a verb is going to write: checked before anything is computed."""

from pathlib import Path

from ammup.errors import InputError


def check_new_file(path: Path, *, suffixes: tuple[str, ...]) -> None:
    """Refuse a suffix that cannot be written, a file that would be replaced, and a folder that is not there."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path.name!r} cannot be written; allowed suffixes: {', '.join(suffixes)}")
    if path.exists():
        raise InputError(f"{path} exists; give another name, or remove it first")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a folder that is not there."""
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.absolute().parent} does not exist")


def check_new_figure(path: Path) -> None:
    """The same for a figure."""
    from ammup.report.plots import formats

    check_new_file(path, suffixes=formats())
