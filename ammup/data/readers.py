"""Readers of image sources: torchvision's data sets, .npz files and folders of image files.

Axes: N image, H and W position, C channel.
"""

import os
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ammup.data.cache import Images, Labels, Splits, cache_folder, content_key, load_or_decode
from ammup.data.files import SPLITS, check_archive, check_folder, image_files, not_an_archive
from ammup.errors import InputError
from ammup.progress import tracked

# Exceptions that numpy and zipfile raise for a damaged file: MemoryError if a header declares an impossible shape,
# RuntimeError if a flag declares encryption or an unsupported compression.
_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
_DAMAGED = (*_ARCHIVE, OSError, ValueError, KeyError, TypeError, MemoryError)


def physical_memory() -> float:
    """The size of this machine's memory in bytes; infinite if the system does not report it."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def read_torchvision(name: str, image_size: int | None, progress: bool) -> Splits:
    """CIFAR-10 or CIFAR-100, downloaded by torchvision on first use."""
    from torchvision import datasets

    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]

    def read(folder: Path) -> tuple[str, ...]:
        root = cache_folder() / "torchvision"
        try:
            parts = {split: dataset(str(root), train=split == "train", download=True) for split in ("train", "test")}
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{name} could not be downloaded to {root} ({error}); "
                "without network, give the path of an image folder or .npz file instead"
            ) from error
        for split, part in parts.items():
            _write(folder, split, part.data, np.asarray(part.targets), image_size, progress)
        return tuple(parts["train"].classes)

    return load_or_decode(f"{name} {dataset.tgz_md5}", image_size, read)


def read_npz(path: Path, image_size: int | None, progress: bool) -> Splits:
    """An .npz file with MedMNIST's keys; greyscale images may have no channel axis, labels may be N×1.

    Raises:
        InputError: the file is damaged or has other keys, its unpacked size exceeds the memory, or its arrays have
            another shape or dtype.
    """
    check_archive(path)

    def read(folder: Path) -> tuple[str, ...]:
        n_classes = 0
        _check_unpacked_size(path)
        try:
            # The file is opened here, because numpy would not close it if the archive is damaged.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for split in (s for s in SPLITS if f"{s}_images" in arrays or s == "train"):
                    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
                    images, labels = _checked_arrays(f"{path}: {split}", images, labels)
                    _write(folder, split, images, labels, image_size, progress)
                    n_classes = max(n_classes, int(labels.max()) + 1)
        except InputError:
            raise
        except _DAMAGED as error:
            raise not_an_archive(path, error) from error
        return tuple(str(i) for i in range(n_classes))

    return load_or_decode(content_key([path], path.parent), image_size, read)


def _check_unpacked_size(path: Path) -> None:
    """Raise InputError if the unpacked size of an archive is larger than the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, *_ARCHIVE):
        return  # opening the file with numpy reports this error
    if size > physical_memory():
        raise InputError(
            f"{path} unpacks to {size / 2**30:.0f} GiB, more than the memory of this machine; give fewer images"
        )


def _checked_arrays(where: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> tuple[Images, Labels]:
    """The arrays as uint8 N×H×W×C and int64 N; ``where`` names their file and split in errors."""
    shape_allowed = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if images.dtype != np.uint8 or not shape_allowed:
        raise InputError(f"{where} images are {images.dtype} {images.shape}; expected uint8 N×H×W, N×H×W×1 or N×H×W×3")
    if not len(images):
        raise InputError(f"{where} has no images")
    if not np.issubdtype(labels.dtype, np.integer) or labels.size != len(images):
        raise InputError(f"{where} labels are {labels.dtype} {labels.shape}; expected one class index for each image")
    if labels.min() < 0:
        raise InputError(f"{where} has the label {labels.min()}; expected class indices from 0 on")
    with_channels = images if images.ndim == 4 else images[..., None]
    return with_channels.astype(np.uint8), labels.reshape(-1).astype(np.int64)


def read_folder(root: Path, image_size: int | None, progress: bool) -> Splits:
    """A folder in the layout <split>/<class>/*.jpg|jpeg|png; classes are those of the training split, sorted.

    Raises:
        InputError: there are no training images, another split has a class without training images, an image cannot be
            read, or images differ in size without ``image_size``.
    """
    check_folder(root)
    files = {split: image_files(root, names) for split, names in SPLITS.items()}
    classes = tuple(sorted({path.parent.name for path in files["train"]}))
    untrained = {path.parent.name for paths in files.values() for path in paths} - set(classes)
    if untrained:
        raise InputError(f"{root}: classes {sorted(untrained)[:5]} have no training images")

    def read(folder: Path) -> tuple[str, ...]:
        for split, paths in files.items():
            if paths:
                labels = np.array([classes.index(path.parent.name) for path in paths])
                _write(folder, split, paths, labels, image_size, progress)
        return classes

    return load_or_decode(content_key([p for paths in files.values() for p in paths], root), image_size, read)


def _write(
    folder: Path,
    split: str,
    images: Sequence[Path] | Images,
    labels: NDArray[np.integer],
    image_size: int | None,
    progress: bool,
) -> None:
    """Decode ``images`` into <folder>/<split>_images.npy on all cores, and save the labels in the same folder."""
    out: Images | None = None
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        decoded = pool.map(lambda image: _decode(image, image_size), images)
        for i, pixels in enumerate(tracked(decoded, f"decoding {split}", len(images), show=progress)):
            if out is None:
                target = folder / f"{split}_images.npy"
                out = np.lib.format.open_memmap(target, "w+", np.uint8, (len(images), *pixels.shape))
            if pixels.shape != out.shape[1:]:
                sizes = " and ".join(f"{h}×{w}" for h, w, _ in (pixels.shape, out.shape[1:]))
                raise InputError(
                    f"{images[i]} and the first image differ in size, {sizes}",
                    python="pass image_size=",
                    option="give --image-size, or data.image_size in an experiment",
                )
            out[i] = pixels
    np.save(folder / f"{split}_labels.npy", labels.astype(np.int64))


def _decode(image: Path | Images, image_size: int | None) -> Images:
    """One image H×W×C; with ``image_size``, its centre square, resized by averaging over areas."""
    if isinstance(image, Path):
        try:
            with Image.open(image) as opened:
                pixels = np.asarray(opened.convert("RGB"))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(f"image {image} cannot be read: {error}") from error
    else:
        pixels = image
    return pixels if image_size is None else resized(pixels, image_size)


def resized(image: Images, image_size: int) -> Images:
    """The centre square of an image H×W×C, resized by averaging over areas."""
    height, width, channels = image.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square, size = (left, top, left + side, top + side), (image_size, image_size)
    # Resized as floats: with uint8, Pillow rounds after each axis, which raises the average by half a level.
    bands = [Image.fromarray(np.ascontiguousarray(image[..., c])).convert("F") for c in range(channels)]
    pixels = [np.asarray(band.resize(size, Image.Resampling.BOX, box=square)) for band in bands]
    return np.asarray(np.rint(np.stack(pixels, axis=2)), np.uint8)
