"""Names of data sources, without NumPy and PyTorch: a wrong name is reported before they are imported."""

import re
from pathlib import Path

from ammup.data.files import check_archive, check_folder
from ammup.errors import InputError

# Sources given by name instead of by path.
NAMES = ("synthetic", "cifar10", "cifar100")
# Number of classes of the sources with a name, which folders of the same name have as well.
CLASSES = {"synthetic": 10, "cifar10": 10, "cifar100": 100}
FUNCTION = re.compile(r"[\w.]+:[\w.]+")


def is_function(source: str) -> bool:
    """Whether a source is a function package.module:function, and no existing file."""
    return FUNCTION.fullmatch(source) is not None and not Path(source).exists()


def check_source_name(source: str | Path) -> None:
    """Raise InputError unless a source is a name, a folder, a file of arrays, or a function."""
    path = Path(source).expanduser()
    known = source in NAMES or path.is_dir() or (path.is_file() and path.suffix == ".npz")
    if not known and not is_function(str(source)):
        raise InputError(
            f"unknown data source {str(source)!r}; expected one of: {', '.join(NAMES)}, an existing folder or .npz "
            "file, or package.module:function"
        )


def check_source_files(source: str | Path) -> None:
    """Raise InputError unless a folder or archive that is given as a source has training images; names are accepted."""
    path = Path(source).expanduser()
    if source in NAMES or is_function(str(source)):
        return
    if path.is_dir():
        check_folder(path)
    elif path.is_file():
        check_archive(path)
