"""Where images come from, and the cache of what was decoded.

Axes: N image, H and W position, C channel.
"""

import hashlib
import json
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from platformdirs import user_cache_path

from ammup.errors import InputError
from ammup.progress import tracked

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Reader = Callable[[Path], tuple[str, ...]]  # writes arrays into a folder and returns the class names

# Sources that are no path.
NAMES = ("synthetic", "cifar10", "cifar100")
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
SUFFIXES = (".jpg", ".jpeg", ".png")
CACHE_VERSION = 2
# Of a cached source: its classes, and the size of each file beside it, and where that takes no more than a few seconds,
# for a tenth of one with CIFAR, its checksum.
CONTENTS, CHECKED_BYTES = "contents.json", 4 << 30
# What numpy and zipfile raise of a damaged file: MemoryError of a shape that nothing fills, RuntimeError where a bit
# says that it is encrypted or compressed in some other way.
_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
_DAMAGED = (*_ARCHIVE, OSError, ValueError, KeyError, TypeError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Images N×H×W×C and labels by split: "train", and "val" and "test" where the source has them."""

    arrays: Mapping[str, tuple[Images, Labels]]
    classes: tuple[str, ...]


def cache_folder() -> Path:
    """$AMMUP_CACHE, or the user's cache directory."""
    return Path(os.environ.get("AMMUP_CACHE") or user_cache_path("ammup"))


def physical_memory() -> float:
    """Bytes, or without end where the system does not say."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def synthesize(image_size: int, seed: int) -> Splits:
    """Ten classes of textures with the 1/f amplitude spectrum and the correlated channels of natural images.

    A class has a preferred orientation and a tint; brightness varies from image to image.
    """
    rng = np.random.default_rng((seed, 0x1F))
    tints = rng.standard_normal((10, 3))
    arrays = {}
    for split, n in (("train", 10_000), ("test", 2_000)):
        labels = rng.integers(0, 10, n)
        images = np.empty((n, image_size, image_size, 3), np.uint8)
        for start in range(0, n, 1000):
            part = labels[start : start + 1000]
            textures = _textures(rng, np.pi * part / 10, image_size)
            tint = 0.5 * tints[part] + 0.4 * rng.standard_normal((len(part), 1))
            images[start : start + 1000] = np.clip(128 + 45 * (textures + tint[:, None, None, :]), 0, 255)
        arrays[split] = (images, labels)
    return Splits(arrays=arrays, classes=tuple(f"texture {i}" for i in range(10)))


def _textures(rng: np.random.Generator, angles: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """N×H×W×3 fields of variance 1 whose amplitude falls as 1/frequency and is largest along each angle."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf  # no mean
    preference = np.exp(np.cos(2 * (np.arctan2(fy, fx) - angles[:, None, None]))).astype(np.float32)
    white = rng.standard_normal((len(angles), 4, size, size), dtype=np.float32)
    pink = np.fft.irfft2(np.fft.rfft2(white) * (preference / frequency)[:, None], s=(size, size))
    pink /= np.sqrt(np.mean(pink**2, axis=(2, 3), keepdims=True)) + (size == 1)  # one pixel is all mean
    channels = np.sqrt(0.7) * pink[:, :1] + np.sqrt(0.3) * pink[:, 1:]  # channels correlate at 0.7
    return np.asarray(channels.transpose(0, 2, 3, 1), np.float32)


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
                "with no network, give the path of an image folder or .npz file instead"
            ) from error
        for split, part in parts.items():
            _write(folder, split, part.data, np.asarray(part.targets), image_size, progress)
        return tuple(parts["train"].classes)

    return _decoded(f"{name} {dataset.tgz_md5}", image_size, read)


def read_npz(path: Path, image_size: int | None, progress: bool) -> Splits:
    """An .npz file with MedMNIST's keys; grey images may lack the channel axis, labels may be N×1."""

    def read(folder: Path) -> tuple[str, ...]:
        n_classes = 0
        _check_unpacked_size(path)
        try:
            # Opened here: of a damaged archive numpy would leave it open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for split in (s for s in SPLITS if f"{s}_images" in arrays or s == "train"):
                    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
                    images, labels = _checked_arrays(f"{path}: {split}", images, labels)
                    _write(folder, split, images, labels, image_size, progress)
                    n_classes = max(n_classes, int(labels.max()) + 1)
        except InputError:
            raise
        except _DAMAGED as error:
            # What numpy says of a file that is no archive recommends to unpickle it.
            reason = "it is no zip archive" if "pickled" in str(error) else error
            raise InputError(f"{path} is not an .npz file with keys train_images, train_labels, …: {reason}") from error
        return tuple(str(i) for i in range(n_classes))

    return _decoded(_content_key([path], path.parent), image_size, read)


def _check_unpacked_size(path: Path) -> None:
    """Raise InputError where an archive of some megabytes says that it unpacks to more than the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, *_ARCHIVE):
        return  # what numpy says of it is told
    if size > physical_memory():
        raise InputError(
            f"{path} unpacks to {size / 2**30:.0f} GiB, more than this machine's memory; give fewer images"
        )


def _checked_arrays(where: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> tuple[Images, Labels]:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise InputError(f"{where} images are {images.dtype} {images.shape}; allowed: uint8 N×H×W, N×H×W×1 or N×H×W×3")
    if not len(images):
        raise InputError(f"{where} holds no images")
    if not np.issubdtype(labels.dtype, np.integer) or labels.size != len(images):
        raise InputError(f"{where} labels are {labels.dtype} {labels.shape}; give one class index for each image")
    if labels.min() < 0:
        raise InputError(f"{where} labels reach {labels.min()}; class indices start at 0")
    return (images if images.ndim == 4 else images[..., None]).astype(np.uint8), labels.reshape(-1).astype(np.int64)


def read_folder(root: Path, image_size: int | None, progress: bool) -> Splits:
    """A folder in the layout <split>/<class>/*.jpg|jpeg|png; classes are those of the training split, sorted."""
    files = {split: _image_files(root, names) for split, names in SPLITS.items()}
    classes = tuple(sorted({path.parent.name for path in files["train"]}))
    if not classes:
        raise InputError(f"{root} holds no training images; expected {root}/train/<class>/*.jpg|jpeg|png")
    strange = {path.parent.name for paths in files.values() for path in paths} - set(classes)
    if strange:
        raise InputError(f"{root}: classes {sorted(strange)[:5]} have no training images")

    def read(folder: Path) -> tuple[str, ...]:
        for split, paths in files.items():
            if paths:
                labels = np.array([classes.index(path.parent.name) for path in paths])
                _write(folder, split, paths, labels, image_size, progress)
        return classes

    return _decoded(_content_key([p for paths in files.values() for p in paths], root), image_size, read)


def _image_files(root: Path, names: Iterable[str]) -> list[Path]:
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        return []
    return sorted(
        Path(entry.path)
        for group in folder.iterdir()
        if group.is_dir()
        for entry in os.scandir(group)
        if entry.name.lower().endswith(SUFFIXES)
    )


def _write(
    folder: Path,
    split: str,
    images: Sequence[Path] | Images,
    labels: NDArray[np.integer],
    image_size: int | None,
    progress: bool,
) -> None:
    """Decode ``images`` into <folder>/<split>_images.npy with all cores, and save the labels beside it."""
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
                raise InputError(f"{images[i]} and the first image differ in size, {sizes}; pass image_size=")
            out[i] = pixels
    np.save(folder / f"{split}_labels.npy", labels.astype(np.int64))


def _decode(image: Path | Images, image_size: int | None) -> Images:
    """One image H×W×C, its centre square averaged over areas where ``image_size`` is given."""
    if isinstance(image, Path):
        try:
            with Image.open(image) as opened:
                picture = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(f"image {image} cannot be read: {error}") from error
    elif image_size is None:
        return image
    else:
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if image_size is not None:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square, size = (left, top, left + side, top + side), (image_size, image_size)
        # In float: on bytes Pillow rounds after each axis, which brightens the average by half a level.
        bands = [band.convert("F").resize(size, Image.Resampling.BOX, box=square) for band in picture.split()]
        return np.asarray(np.rint(np.stack([np.asarray(band) for band in bands], axis=2)), np.uint8)
    return np.asarray(picture)


def _content_key(paths: Sequence[Path], root: Path) -> str:
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
    temporary = known.with_name(f"{fingerprint}.{os.getpid()}")
    temporary.write_text(key)
    temporary.replace(known)
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


def _decoded(content: str, image_size: int | None, read: Reader) -> Splits:
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
