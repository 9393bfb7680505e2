"""The cache of decoded images: files written atomically, named by the digest of their source, and checked when read.

Axes: N image, H and W position, C channel.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from ammup.atomic import write_atomically
from ammup.data.files import SPLITS
from ammup.data.selection import Rows
from ammup.errors import InputError
from ammup.format import brief_fields

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Reader = Callable[[Path], tuple[str, ...]]  # writes the arrays to a folder and returns the class names

CACHE_VERSION = 2
# The file that lists the classes of a cached source, and the size and checksum of each array file.
MANIFEST = "contents.json"
# Larger sources have no checksums: computing them takes 0.1 s for CIFAR, and a few seconds at this size.
CHECKED_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Images N×H×W×C and labels of each split: "train", and "val" and "test" if the source has them.

    Objects of users may have inputs of other shapes, labels that are read with the inputs (None), and no names of
    classes.
    """

    arrays: Mapping[str, tuple[Rows, Labels | None]]
    classes: tuple[str, ...]

    __repr__ = brief_fields


def cache_folder() -> Path:
    """The environment variable AMMUP_CACHE, or the user's cache directory."""
    return Path(os.environ.get("AMMUP_CACHE") or user_cache_path("ammup"))


def content_key(paths: Sequence[Path], root: Path) -> str:
    """A digest of the files' names relative to ``root`` and of their bytes.

    The digest is stored, so files whose names, sizes and modification times have not changed are not read again.

    Raises:
        InputError: a file cannot be read.
    """
    stats = [(str(p.relative_to(root)), (s := p.stat()).st_size, s.st_mtime_ns) for p in paths]
    fingerprint = _digest([repr((str(root.resolve()), stats)).encode()])
    stored = cache_folder() / "keys" / fingerprint
    if stored.is_file():
        return stored.read_text()
    with ThreadPoolExecutor() as pool:
        key = _digest(
            part
            for p, data in zip(paths, pool.map(_read_bytes, paths), strict=True)
            for part in (repr((str(p.relative_to(root)), len(data))).encode(), data)
        )
    stored.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(stored, key)
    return key


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def load_or_decode(content: str, image_size: int | None, read: Reader) -> Splits:
    """Load the arrays of a source from the cache; if they are missing, decode them into it first.

    A cache entry appears under its final name only when it is complete. A second process that needs the same entry
    waits for the first one to write it.

    Args:
        content: the :func:`content_key` of the source, or another string that identifies its content.
        image_size: side of the decoded images, which is part of the key; None keeps the original size.
        read: decodes the source into a folder.

    Raises:
        InputError: the cache entry is damaged.
    """
    key = _digest([repr((CACHE_VERSION, content, image_size)).encode()])
    folder = cache_folder() / "decoded" / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _build(folder, read)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        classes = tuple(manifest["classes"])
        _check_files(folder, manifest["files"])
        arrays = {
            split: (
                np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False),
                np.load(folder / f"{split}_labels.npy", allow_pickle=False),
            )
            for split in SPLITS
            if (folder / f"{split}_labels.npy").is_file()
        }
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the cache folder {folder} is damaged ({error}); delete that folder and run again") from error
    return Splits(arrays=arrays, classes=classes)


def _check_files(folder: Path, files: Mapping[str, Sequence[int | None]]) -> None:
    """Raise ValueError if a file has another size or checksum than in ``files``; a checksum of None is not compared."""
    for name, (size, checksum) in files.items():
        same_size = (folder / name).stat().st_size == size
        if not same_size or checksum not in (None, _checksum(folder / name)):
            raise ValueError(f"{name} has changed since it was written")


def _checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _build(folder: Path, read: Reader) -> None:
    """Decode a source into a temporary folder and rename it to ``folder``; nothing remains if that fails."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir()
    try:
        classes = read(partial)
        sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        checked = sum(sizes.values()) <= CHECKED_BYTES
        files = {name: (size, _checksum(partial / name) if checked else None) for name, size in sizes.items()}
        (partial / MANIFEST).write_text(json.dumps({"classes": classes, "files": files}))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
