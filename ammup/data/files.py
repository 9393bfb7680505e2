"""The files of image folders and archives, without NumPy: a wrong one is reported before PyTorch is imported."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ammup.errors import InputError

# Split -> the names that its folder may have.
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
SUFFIXES = (".jpg", ".jpeg", ".png")


def image_files(root: Path, names: Iterable[str]) -> list[Path]:
    """The image files in the first existing folder of these names, sorted."""
    return sorted(_images(root, names))


def check_folder(root: Path) -> None:
    """Raise InputError unless a folder has training images in the layout train/<class>/*.jpg|jpeg|png."""
    if next(_images(root, SPLITS["train"]), None) is None:
        raise InputError(f"{root} has no training images; expected {root}/train/<class>/*.jpg|jpeg|png")


def check_archive(path: Path) -> None:
    """Raise InputError unless an .npz file is an archive with the images and labels of a training split."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile as error:
        raise not_an_archive(path, "not a zip archive") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:  # what zipfile raises for damaged files
        raise not_an_archive(path, error) from error
    for name in ("train_images", "train_labels"):
        if f"{name}.npy" not in names:
            raise not_an_archive(path, f"it has no {name}")


def not_an_archive(path: Path, reason: object) -> InputError:
    """The error for an .npz file that cannot be read."""
    return InputError(f"{path} is not an .npz file with keys train_images, train_labels, …: {reason}")


def _images(root: Path, names: Iterable[str]) -> Iterator[Path]:
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        return
    for class_folder in folder.iterdir():
        if class_folder.is_dir():
            with os.scandir(class_folder) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(SUFFIXES):
                        yield Path(entry.path)
