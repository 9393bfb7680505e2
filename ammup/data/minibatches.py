"""Standardized minibatches on one device: from memory on that device, or streamed where the images do not fit.

Axes: N image, H and W position, C channel, B batch.
"""

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ammup.data.dataset import Data, Images
from ammup.errors import InputError
from ammup.models.device import usable_device
from ammup.models.streams import random_stream

Batch = tuple[Float[Tensor, "B C H W"], Int64[Tensor, "B"]]

RESIDENT_SHARE = 0.5  # of the free memory of a GPU that the images may take


class Feed:
    """Minibatches of a data set in an order that depends on the seed and on nothing else.

    The images stay bytes until they are in a batch: a quarter of the memory, and standardizing a batch costs less than
    a hundredth of a training step. A batch is channels_last as it comes.

    Args:
        data: images and labels; the validation split must not be empty.
        batch_size: B; the last batch of an epoch is smaller where B does not divide N.
        device: where the batches are wanted.
        dtype: of the images in a batch.
        resident: whether all images lie on the device. None: where `data` holds them in memory and, on a GPU, they take
            up to half of what is free.
        loader_workers: processes of the torch DataLoader that streams otherwise.

    Raises:
        InputError: no validation images, a channel that is the same everywhere, or a device that cannot be used.
    """

    def __init__(
        self,
        data: Data,
        *,
        batch_size: int,
        device: str,
        dtype: torch.dtype,
        resident: bool | None = None,
        loader_workers: int = 2,
    ) -> None:
        if not len(data.val_images):
            raise InputError("the data have no validation images to choose a learning rate by; give validation=")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be at least 1")
        mean, deviation = data.standardization()
        self.batch_size, self.device, self.dtype = batch_size, usable_device(device), dtype
        self.mean = torch.tensor(255 * mean, dtype=dtype, device=self.device)
        self.scale = torch.tensor(1 / (255 * deviation), dtype=dtype, device=self.device)
        self.resident = _fits(data, self.device) if resident is None else resident
        self.loader_workers = loader_workers
        self.train = self._placed(data.train_images, data.train_labels)
        self.val = self._placed(data.val_images, data.val_labels)

    def training_batches(self, seed: int, epochs: int, *, start: int = 0) -> Generator[Batch, None, None]:
        """Every training image once in each epoch, in the order of this seed, from a step on."""
        for epoch in range(start // self.steps(1), epochs):
            order = torch.randperm(len(self.train), generator=random_stream("minibatches", seed, epoch))
            done = start % self.steps(1) if epoch == start // self.steps(1) else 0
            yield from self._batches(self.train, order[done * self.batch_size :], self.batch_size)

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """Every validation image once, in the order of the data."""
        return self._batches(self.val, torch.arange(len(self.val)), size)

    def steps(self, epochs: int) -> int:
        """Number of training batches."""
        return epochs * -(-len(self.train) // self.batch_size)

    def _placed(self, images: Images, labels: Int64[np.ndarray, "N"]) -> "_Source":
        if not self.resident:
            return _Source(images, labels)
        return _Source(torch.tensor(images[:], device=self.device), torch.tensor(labels, device=self.device))

    def _batches(self, source: "_Source", order: Int64[Tensor, "N"], size: int) -> Iterator[Batch]:
        if self.resident:
            picked: Iterator[tuple[Tensor, Tensor]] = (
                source[part] for part in torch.split(order.to(self.device), size)
            )
        else:
            pinned = self.device.type == "cuda"
            picked = iter(
                DataLoader(
                    source,
                    sampler=torch.split(order, size),
                    batch_size=None,
                    num_workers=self.loader_workers,
                    generator=random_stream("loader"),  # it would draw from torch's own, where dropout's masks are from
                    pin_memory=pinned,
                )
            )
        for images, labels in picked:
            yield self._standardized(images.to(self.device, non_blocking=True)), labels.to(self.device)

    def _standardized(self, images: UInt8[Tensor, "B H W C"]) -> Float[Tensor, "B C H W"]:
        return images.to(self.dtype).sub_(self.mean).mul_(self.scale).permute(0, 3, 1, 2)


class _Source(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels by lists of indices: tensors on the device, or arrays that may lie on disk."""

    def __init__(self, images: Images | Tensor, labels: Int64[np.ndarray, "N"] | Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Int64[Tensor, "B"]) -> tuple[Tensor, Tensor]:
        if isinstance(self.images, Tensor) and isinstance(self.labels, Tensor):
            return self.images[indices], self.labels[indices]
        rows = indices.numpy()
        return torch.tensor(self.images[rows]), torch.tensor(self.labels[rows])


def _fits(data: Data, device: torch.device) -> bool:
    parts: Sequence[Images] = (data.train_images, data.val_images)
    if not all(isinstance(part, np.ndarray) for part in parts):
        return False
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(part.nbytes for part in parts) <= RESIDENT_SHARE * free
