"""`load_data`, which loads an image data set by its name or path, and `Data`, its arrays.

Axes: N image, H and W position, C channel, B batch.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ammup.data.cache import Splits
from ammup.data.readers import NAMES, physical_memory, read_folder, read_npz, read_torchvision
from ammup.data.synthesis import synthesize
from ammup.errors import InputError
from ammup.format import brief_repr

# The largest data set that is copied into memory, as a fraction of the physical memory. It is small, because each
# worker of a sweep has two copies in memory.
MEMORY_SHARE = 0.1
_STATISTICS_IMAGES = 10_000


class Selection:
    """Some images of an array on disk. Indexing reads them: ``selection[rows]`` is an array in memory."""

    def __init__(self, images: UInt8[np.ndarray, "N H W C"], rows: Int64[np.ndarray, "M"]) -> None:
        self.images, self.rows = images, rows
        self.shape: tuple[int, ...] = (len(rows), *images.shape[1:])
        self.dtype = images.dtype
        self.nbytes = int(np.prod(self.shape))

    def __repr__(self) -> str:
        return brief_repr(self, "on disk", shape=self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.asarray(self.images[self.rows[index]])


Images = UInt8[np.ndarray, "_ H W C"] | Selection


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images and labels of three splits; a split that the source does not have is empty.

    Training and validation images are arrays in memory, or a :class:`Selection` of images on disk. Tensors and labels
    of other integer dtypes are converted.

    Raises:
        InputError: images are not uint8 of shape (N, H, W, C), labels are not class indices, or their numbers or the
            shapes of images differ.
    """

    train_images: Images
    train_labels: Int64[np.ndarray, "N1"]
    val_images: Images
    val_labels: Int64[np.ndarray, "N2"]
    test_images: UInt8[np.ndarray, "N3 H W C"]
    test_labels: Int64[np.ndarray, "N3"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            images, labels = f"{split}_images", f"{split}_labels"
            object.__setattr__(self, images, _checked_images(images, getattr(self, images)))
            object.__setattr__(self, labels, _checked_labels(labels, getattr(self, labels), len(self.classes)))
            if len(getattr(self, images)) != len(getattr(self, labels)):
                counts = f"{len(getattr(self, images))} {images} and {len(getattr(self, labels))} {labels}"
                raise InputError(f"there are {counts}; give one label for each image")
            if getattr(self, images).shape[1:] != self.train_images.shape[1:]:
                shapes = f"{self.train_images.shape[1:]} and {getattr(self, images).shape[1:]}"
                raise InputError(f"train_images and {images} have images of shapes {shapes}; expected equal ones")

    def __repr__(self) -> str:
        sizes = [f"{split} {len(getattr(self, f'{split}_images'))}" for split in ("train", "val", "test")]
        shape = "×".join(str(n) for n in self.image_shape)
        return brief_repr(self, f"{', '.join(sizes)} images of {shape}", classes=len(self.classes))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    @cached_property
    def channel_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each channel (C,), relative to 255, over the first 10,000 training images."""
        pixels = self.train_images[:_STATISTICS_IMAGES].reshape(-1, self.image_shape[2])
        # The frequencies of the 256 levels give exact statistics without a floating-point copy of the images.
        frequencies = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T]) / len(pixels)
        levels = np.arange(256) / 255
        mean = frequencies @ levels
        variance = (frequencies * (levels - mean[:, None]) ** 2).sum(axis=1)
        return mean, np.sqrt(variance)

    def standardization(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The :attr:`channel_statistics`, with standard deviations that are all positive.

        Raises:
            InputError: a channel is constant, so its standard deviation is 0.
        """
        mean, deviation = self.channel_statistics
        if not (deviation > 0).all():
            raise InputError("a channel has the same value in every training image; it cannot be standardized")
        return mean, deviation

    @cached_property
    def digest(self) -> str:
        """A digest of all labels and of up to 1,000 images of each of the training and validation splits."""
        digest = hashlib.blake2b(digest_size=16)
        for images, labels in ((self.train_images, self.train_labels), (self.val_images, self.val_labels)):
            rows = np.linspace(0, max(len(images) - 1, 0), min(len(images), 1000)).astype(np.int64)
            digest.update(repr(images.shape).encode())
            digest.update(labels.tobytes())
            digest.update(images[rows].tobytes())
        return digest.hexdigest()

    def batch(self, size: int, *, seed: int = 0) -> tuple[Float[Tensor, "B C H W"], Tensor]:
        """``size`` training images drawn without replacement, each channel standardized, and their class indices.

        Raises:
            InputError: ``size`` is below 1 or above the number of training images, or a channel is constant.
        """
        if not 1 <= size <= len(self.train_images):
            raise InputError(
                f"batch size {size}: expected 1 to {len(self.train_images)}, the number of training images"
            )
        mean, deviation = self.standardization()
        rows = np.random.default_rng((seed, 0xBA7C4)).permutation(len(self.train_images))[:size]
        images = (self.train_images[rows] / 255.0 - mean) / deviation
        return torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2), torch.tensor(self.train_labels[rows])


def _checked_images(name: str, images: Any) -> Images:
    """The images of a split; errors as in :class:`Data`."""
    if isinstance(images, Tensor):
        images = images.cpu().numpy()
    if not isinstance(images, np.ndarray | Selection):
        raise InputError(f"{name} are a {type(images).__name__}; give a uint8 array (N, height, width, channels)")
    if images.dtype != np.uint8:
        raise InputError(
            f"{name} have dtype {images.dtype}; give uint8 from 0 to 255, without standardization, such as "
            "(255 * images).round().astype('uint8') for floats from 0 to 1"
        )
    channels_first = len(images.shape) == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4
    if len(images.shape) != 4 or channels_first:
        hint = ", so move the channels last" if channels_first else ""
        raise InputError(f"{name} have shape {tuple(images.shape)}; expected (N, height, width, channels){hint}")
    return images


def _checked_labels(name: str, labels: Any, classes: int) -> Int64[np.ndarray, "N"]:
    """The labels of a split; errors as in :class:`Data`."""
    array = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{name} are {array.dtype} of shape {array.shape}; give one class index for each image")
    array = array.astype(np.int64, copy=False)
    if array.size and not 0 <= array.min() <= array.max() < classes:
        given = f"{name} are {array.min()} to {array.max()}"
        raise InputError(f"{given}; expected 0 to {classes - 1}, because there are {classes} classes")
    return array


def load_data(
    source: str | Path,
    *,
    image_size: int | None = None,
    train: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    in_memory: bool | None = None,
    progress: bool = False,
) -> Data:
    """Load an image data set. The first call decodes it into a cache; later calls map the cache into memory.

    Args:
        source: "synthetic" (generated from ``seed``, 32×32, without files or network), "cifar10" or "cifar100"
            (downloaded once), a folder with the layout ``<split>/<class>/*.jpg`` (or jpeg, png) and the splits train
            and, optionally, val and test, or an .npz file with MedMNIST's keys: ``train_images``, ``train_labels``,
            ``val_…``, ``test_…``.
        image_size: side of the square images, made by cropping the centre and averaging over areas; None keeps the
            original size.
        train: number of training images; None uses all.
        validation: number of validation images. If the source has no validation split, they are drawn from the
            training split (by default a tenth of it).
        seed: seed of the random subset and split, and of "synthetic".
        in_memory: True copies the training and validation images into memory, False leaves them on disk (see
            :class:`Selection`) and reads them batch by batch. None copies them if they need at most a tenth of the
            memory.
        progress: show the progress on standard error while decoding.

    Returns:
        Images and labels; the training and validation images are in random order.

    Raises:
        InputError: the name is unknown, a folder or file is missing or malformed, an image cannot be read, images
            differ in size without ``image_size``, more images are requested than there are, or a download failed.

    Example:
        >>> import ammup
        >>> data = ammup.load_data("synthetic", train=100, validation=10)
        >>> data.train_images.shape, data.val_images.shape, len(data.classes)
        ((100, 32, 32, 3), (10, 32, 32, 3), 10)
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size={image_size} must be at least 1")
    if not isinstance(source, str | Path):
        raise InputError(f"data source {source!r} is a {type(source).__name__}; expected a name or a path")
    try:
        splits = _read(source, image_size, seed, progress)
    except MemoryError as error:
        raise InputError(
            f"data source {str(source)!r} does not fit in memory: {error}; give a smaller image_size"
        ) from error
    return _split(splits, train=train, validation=validation, seed=seed, in_memory=in_memory)


def _read(source: str | Path, image_size: int | None, seed: int, progress: bool) -> Splits:
    """All splits of a source, by the reader for its kind."""
    if source == "synthetic":
        return synthesize(image_size or 32, seed)
    if source in NAMES:
        return read_torchvision(str(source), image_size, progress)
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path, image_size, progress)
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path, image_size, progress)
    raise InputError(
        f"unknown data source {str(source)!r}; expected one of: {', '.join(NAMES)}, or an existing folder or .npz file"
    )


def _split(splits: Splits, *, train: int | None, validation: int | None, seed: int, in_memory: bool | None) -> Data:
    """The random subsets of the splits; without a validation split, one is drawn from the training split."""
    images, labels = splits.arrays["train"]
    rng = np.random.default_rng((seed, 0x5B117))
    order = rng.permutation(len(images))
    if "val" in splits.arrays:
        val_images, val_labels = splits.arrays["val"]
        val_order = rng.permutation(len(val_images))[: _count("validation", validation, len(val_images))]
    else:
        n_val = len(images) // 10 if validation is None else _count("validation", validation, len(images) - 1)
        val_images, val_labels, val_order, order = images, labels, order[:n_val], order[n_val:]
    order = order[: _count("train", train, len(order))]
    empty = (np.empty((0, *images.shape[1:]), np.uint8), np.empty(0, np.int64))
    test_images, test_labels = splits.arrays.get("test", empty)
    if in_memory is None:
        size = (len(order) + len(val_order)) * int(np.prod(images.shape[1:]))
        in_memory = size <= MEMORY_SHARE * physical_memory()
    return Data(
        train_images=images[order] if in_memory else Selection(images, order),
        train_labels=labels[order],
        val_images=val_images[val_order] if in_memory else Selection(val_images, val_order),
        val_labels=val_labels[val_order],
        test_images=np.asarray(test_images),
        test_labels=np.asarray(test_labels),
        classes=splits.classes,
    )


def _count(name: str, requested: int | None, available: int) -> int:
    """The number of images of a split; None requests all."""
    if requested is None:
        return available
    smallest = 1 if name == "train" else 0
    if not smallest <= requested <= available:
        raise InputError(f"{name}={requested}: expected {smallest} to {available}, the number of available images")
    return requested
