"""`load_data`, which loads a data set by its name or path or from a Python object, and `Data`, its arrays.

Axes: N item, H and W position, C channel, B batch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from ammup.data.cache import Splits
from ammup.data.checks import checked_images, checked_labels
from ammup.data.names import NAMES, check_source_name, is_function
from ammup.data.objects import call_function, read_object
from ammup.data.readers import read_folder, read_npz, read_torchvision
from ammup.data.selection import Images as Images
from ammup.data.selection import Selection as Selection
from ammup.data.splitting import divided
from ammup.data.synthesis import synthesize
from ammup.errors import InputError
from ammup.format import brief_repr

_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images and labels of three splits; a split that the source does not have is empty.

    Images are uint8 (N, H, W, C), and each channel is standardized before a model receives it. Other inputs are passed
    to the model as they are: floats (N, …), or indices of tokens (N, T). They are arrays in memory, or a
    :class:`Selection` of inputs that are read when they are needed. Tensors and labels of other integer dtypes are
    converted.

    Raises:
        InputError: inputs have another dtype or shape, labels are not class indices, or the numbers, shapes or dtypes
            of the splits do not fit together.
    """

    train_images: Images
    train_labels: Int64[np.ndarray, "N1"]
    val_images: Images
    val_labels: Int64[np.ndarray, "N2"]
    test_images: Images
    test_labels: Int64[np.ndarray, "N3"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            images, labels = f"{split}_images", f"{split}_labels"
            object.__setattr__(self, images, checked_images(images, getattr(self, images)))
            object.__setattr__(self, labels, checked_labels(labels, getattr(self, labels), len(self.classes)))
            if len(getattr(self, images)) != len(getattr(self, labels)):
                counts = f"{len(getattr(self, images))} {images} and {len(getattr(self, labels))} {labels}"
                raise InputError(f"there are {counts}; give one label for each image")
            if getattr(self, images).shape[1:] != self.train_images.shape[1:]:
                shapes = f"{self.train_images.shape[1:]} and {getattr(self, images).shape[1:]}"
                raise InputError(f"train_images and {images} have images of shapes {shapes}; expected equal ones")
            if getattr(self, images).dtype.kind != self.train_images.dtype.kind:
                dtypes = f"{self.train_images.dtype} and {getattr(self, images).dtype}"
                raise InputError(f"train_images and {images} have the dtypes {dtypes}; expected equal ones")

    def __repr__(self) -> str:
        sizes = [f"{split} {len(getattr(self, f'{split}_images'))}" for split in ("train", "val", "test")]
        shape = "×".join(str(n) for n in self.image_shape)
        return brief_repr(self, f"{', '.join(sizes)} images of {shape}", classes=len(self.classes))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of images; of floats ``(N, C, *P)``, which have the channels first, ``(*P, C)``."""
        shape = tuple(self.train_images.shape[1:])
        return shape if self.standardized or not shape else (*shape[1:], shape[0])

    @property
    def standardized(self) -> bool:
        """Whether the inputs are images of uint8, which are standardized; other inputs are passed to the model."""
        return self.train_images.dtype == np.uint8

    @cached_property
    def channel_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each channel (C,), relative to 255, over the first 10,000 training images.

        Raises:
            InputError: the inputs are not images of uint8.
        """
        if not self.standardized:
            raise InputError(f"the inputs are {self.train_images.dtype}; only images of uint8 are standardized")
        pixels = self.train_images[:_STATISTICS_IMAGES].reshape(-1, self.image_shape[-1])
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
        """A digest of all labels and of 1,000 inputs of each of the training and validation splits, or of all if fewer.

        The inputs are equally spaced in the order of the split, also if they are read from a stream.
        """
        digest = hashlib.blake2b(digest_size=16)
        for images, labels in ((self.train_images, self.train_labels), (self.val_images, self.val_labels)):
            rows = np.linspace(0, max(len(images) - 1, 0), min(len(images), 1000)).astype(np.int64)
            digest.update(repr(images.shape if self.standardized else (images.shape, str(images.dtype))).encode())
            digest.update(labels.tobytes())
            digest.update(images[rows].tobytes())
        return digest.hexdigest()

    def batch(self, size: int, *, seed: int = 0) -> tuple[Shaped[Tensor, "B *item"], Tensor]:
        """``size`` training inputs drawn without replacement, and their class indices.

        Images are standardized and have the shape (B, C, H, W); floats are converted to float32, integers to int64.

        Raises:
            InputError: ``size`` is below 1 or above the number of training images, or a channel is constant.
        """
        if not 1 <= size <= len(self.train_images):
            raise InputError(
                f"batch size {size}: expected 1 to {len(self.train_images)}, the number of training images"
            )
        rows = np.random.default_rng((seed, 0xBA7C4)).permutation(len(self.train_images))[:size]
        labels = torch.tensor(self.train_labels[rows])
        if not self.standardized:
            inputs = torch.tensor(self.train_images[rows])
            return inputs.to(torch.float32 if inputs.is_floating_point() else torch.int64), labels
        mean, deviation = self.standardization()
        images = (self.train_images[rows] / 255.0 - mean) / deviation
        return torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2), labels


def load_data(
    source: Any,
    *,
    image_size: int | None = None,
    train: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    in_memory: bool | None = None,
    columns: tuple[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Data:
    """Load a data set: images by name or path, or any data set of a Python program (docs/integrations/data.md).

    Images are decoded into a cache by the first call; later calls map the cache into memory.

    Args:
        source: "synthetic" (generated from ``seed``, 32×32, without files or network), "cifar10" or "cifar100"
            (downloaded once), a folder with the layout ``<split>/<class>/*.jpg`` (or jpeg, png) and the splits train
            and, optionally, val and test, or an .npz file with MedMNIST's keys: ``train_images``, ``train_labels``,
            ``val_…``, ``test_…``. Or an object: (inputs, labels) as arrays or tensors, a data set of torch or Hugging
            Face, a DataLoader, an iterable of pairs, which is read once into a temporary file, or a dict of these with
            the keys train, val and test. Or "package.module:function", which is imported and returns one of these
            objects.
        image_size: side of the square images, made by cropping the centre and averaging over areas; None keeps the
            original size.
        train: number of training images; None uses all.
        validation: number of validation images. If the source has no validation split, they are drawn from the
            training split (by default a tenth of it).
        seed: seed of the random subset and split, and of "synthetic".
        in_memory: True copies the training and validation images into memory, False leaves them on disk (see
            :class:`Selection`) and reads them batch by batch. None copies them if they need at most a tenth of the
            memory.
        columns: names of the columns with the inputs and the labels, if the items of the data set are dicts with
            other names than the usual ones (image, img, x, …; label, target, y, …).
        arguments: keyword arguments of "package.module:function".
        progress: show the progress on standard error while decoding or reading.

    Returns:
        Images and labels; the training and validation images are in random order.

    Raises:
        InputError: the source is unknown or malformed, a folder or file is missing, an image cannot be read, images
            differ in size without ``image_size``, more images are requested than there are, or a download failed.

    Example:
        >>> import ammup
        >>> data = ammup.load_data("synthetic", train=100, validation=10)
        >>> data.train_images.shape, data.val_images.shape, len(data.classes)
        ((100, 32, 32, 3), (10, 32, 32, 3), 10)
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size={image_size} must be at least 1")
    named = isinstance(source, str) and is_function(source)
    if arguments and not named:
        raise InputError(f"arguments={arguments!r} are those of a function; give the source as package.module:function")
    name = str(source) if isinstance(source, str | Path) else type(source).__name__
    try:
        found = call_function(source, arguments) if named else source
        if isinstance(found, str | Path):
            splits = _read(found, image_size, seed, progress)
        else:
            splits = read_object(
                found, columns=columns, image_size=image_size, train=train, validation=validation, progress=progress
            )
    except MemoryError as error:
        raise InputError(f"data source {name!r} does not fit in memory: {error}; give a smaller image_size") from error
    return Data(
        **divided(splits, train=train, validation=validation, seed=seed, in_memory=in_memory, progress=progress)
    )


def _read(source: str | Path, image_size: int | None, seed: int, progress: bool) -> Splits:
    """All splits of a source, by the reader for its kind."""
    if source == "synthetic":
        return synthesize(image_size or 32, seed)
    if source in NAMES:
        return read_torchvision(str(source), image_size, progress)
    path = Path(source).expanduser()
    check_source_name(source)
    return read_folder(path, image_size, progress) if path.is_dir() else read_npz(path, image_size, progress)
