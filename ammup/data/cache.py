"""The cache of decoded images: arrays by content, which appear when complete and are checked when read.

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
from ammup.errors import InputError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Reader = Callable[[Path], tuple[str, ...]]  # writes arrays into a folder and returns the class names

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
CACHE_VERSION = 2
# Of a cached source: its classes, and the size of each file beside it, and where that takes no more than a few seconds,
# for a tenth of one with CIFAR, its checksum.
CONTENTS, CHECKED_BYTES = "contents.json", 4 << 30


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Images N×H×W×C and labels by split: "train", and "val" and "test" where the source has them."""

    arrays: Mapping[str, tuple[Images, Labels]]
    classes: tuple[str, ...]


def cache_folder() -> Path:
    """$AMMUP_CACHE, or the user's cache directory."""
    return Path(os.environ.get("AMMUP_CACHE") or user_cache_path("ammup"))


def content_key(paths: Sequence[Path], root: Path) -> str:
    """A digest of names and bytes. Files whose names, sizes and times are as before are not read again."""
    stats = [(str(p.relative_to(root)), (s := p.stat()).st_size, s.st_mtime_ns) for p in paths]
    fingerprint = _digest([repr((str(root.resolve()), stats)).encode()])
    known = cache_folder() / "keys" / fingerprint
    if known.is_file():
        return known.read_text()
    with ThreadPoolExecutor() as pool:
        key = _digest(
            part
            for p, data in zip(paths, pool.map(_bytes, paths), strict=True)
            for part in (repr((str(p.relative_to(root)), len(data))).encode(), data)
        )
    known.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(known, key)
    return key


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def decoded(content: str, image_size: int | None, read: Reader) -> Splits:
    """The cached arrays of this content, decoded by ``read`` where they are missing.

    The arrays appear under their name only when complete; a second process waits for the first.
    """
    key = _digest([repr((CACHE_VERSION, content, image_size)).encode()])
    folder = cache_folder() / "decoded" / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _build(folder, read)
    try:
        contents = json.loads((folder / CONTENTS).read_text())
        classes = tuple(contents["classes"])
        _check_files(folder, contents["files"])
        arrays = {
            split: (
                np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False),
                np.load(folder / f"{split}_labels.npy", allow_pickle=False),
            )
            for split in SPLITS
            if (folder / f"{split}_labels.npy").is_file()
        }
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the cache {folder} is damaged ({error}); delete that folder and run again") from error
    return Splits(arrays=arrays, classes=classes)


def _check_files(folder: Path, files: Mapping[str, Sequence[int | None]]) -> None:
    """Raise ValueError where a file is no longer what was written; a large cache has no checksums."""
    for name, (size, checksum) in files.items():
        if (folder / name).stat().st_size != size or checksum not in (None, _checksum(folder / name)):
            raise ValueError(f"{name} is not what was written")


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            found = zlib.crc32(part, found)
    return found


def _build(folder: Path, read: Reader) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        classes = read(partial)
        sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        whole = sum(sizes.values()) <= CHECKED_BYTES
        files = {name: (size, _checksum(partial / name) if whole else None) for name, size in sizes.items()}
        (partial / CONTENTS).write_text(json.dumps({"classes": classes, "files": files}))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
