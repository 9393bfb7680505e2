"""Checks of the output files of a verb, made before anything is computed."""

from pathlib import Path

from ammup.errors import InputError


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
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def check_folder(path: Path) -> None:
    """Raise InputError unless the folder of ``path`` exists."""
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: folder {path.absolute().parent} does not exist; create it first")


def check_new_figure(path: Path) -> None:
    """The checks of :func:`check_new_file` for a figure, with the suffixes that matplotlib supports."""
    from ammup.report.plots import formats

    check_new_file(path, suffixes=formats())
