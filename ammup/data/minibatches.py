"""Standardized minibatches on one device. Images that do not fit in its memory are streamed.

Axes: N image, H and W position, C channel, B batch.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ammup.data.dataset import Data, Images
from ammup.errors import InputError
from ammup.models.device import usable_device
from ammup.models.streams import random_stream, seeded

Batch = tuple[Shaped[Tensor, "B *item"], Int64[Tensor, "B"]]

RESIDENT_SHARE = 0.5  # fraction of a GPU's free memory that the images may use


class Feed:
    """Minibatches of a data set, in an order that depends only on the seed.

    Images are stored as uint8 and standardized batch by batch: this needs a quarter of the memory of float32, and less
    than a hundredth of the time of a training step. The batches have the memory format channels_last. Other inputs are
    passed on in the dtype of the weights; indices of tokens as int64.

    Args:
        data: images and labels; the validation split must not be empty.
        batch_size: B; the last batch of an epoch is smaller if B does not divide N.
        device: device of the batches.
        dtype: dtype of the images in a batch.
        resident: whether all images are stored on the device. With None, they are stored there if `data` has them in
            memory and, on a GPU, if they need at most half of its free memory.
        loader_workers: number of processes of the torch DataLoader that streams images which are not resident.
        augment: transforms one training image (C, H, W) of uint8, before standardization, or one input of another kind.
            Its random numbers depend only on the seed and the number of the batch. None transforms nothing.

    Raises:
        InputError: ``data`` has another type, there are no validation images, a channel is constant, or the device
            cannot be used.
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
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if not isinstance(data, Data):
            raise InputError(
                f"data is a {type(data).__name__}; give ammup.load_data(…), or ammup.Data(train_images=…, …) with "
                "uint8 arrays (N, height, width, channels) and class indices"
            )
        if not len(data.val_images):
            raise InputError(
                "the data have no validation images, which are needed to compare learning rates",
                python="give validation=",
                option="set data.validation, the number of images to use for validation",
            )
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be at least 1")
        mean, deviation = data.standardization() if data.standardized else (np.zeros(1), np.ones(1))
        self.standardized = data.standardized
        self.batch_size, self.device, self.dtype = batch_size, usable_device(device), dtype
        self.mean = torch.tensor(255 * mean, dtype=dtype, device=self.device)
        self.scale = torch.tensor(1 / (255 * deviation), dtype=dtype, device=self.device)
        self._items: tuple[Tensor, Tensor] | None = None
        self.resident = _fits(data, self.device) if resident is None else resident
        self.loader_workers, self.augment = loader_workers, augment
        self.train = self._placed(data.train_images, data.train_labels)
        self.val = self._placed(data.val_images, data.val_labels)

    def training_batches(self, seed: int, epochs: int, *, start: int = 0) -> Generator[Batch, None, None]:
        """Batches with every training image once in each epoch, in the order of this seed, from batch ``start`` on."""
        first_epoch, skipped = divmod(start, self.steps(1))
        for epoch in range(first_epoch, epochs):
            order = torch.randperm(len(self.train), generator=random_stream("minibatches", seed, epoch))
            if epoch == first_epoch:
                order = order[skipped * self.batch_size :]
            first = epoch * self.steps(1) + (skipped if epoch == first_epoch else 0)
            raw = self._raw_batches(self.train, order, self.batch_size)
            for step, (images, labels) in enumerate(raw, start=first):
                images = self._augmented(images.to(self.device, non_blocking=True), seed, step)
                yield self._standardized(images), labels.to(self.device)

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """Batches of ``size`` images that contain every validation image once, in the order of the data."""
        for images, labels in self._raw_batches(self.val, torch.arange(len(self.val)), size):
            yield self._standardized(images.to(self.device, non_blocking=True)), labels.to(self.device)

    def steps(self, epochs: int) -> int:
        """Number of training batches in this number of epochs."""
        return epochs * -(-len(self.train) // self.batch_size)

    def _placed(self, images: Images, labels: Int64[np.ndarray, "N"]) -> "_Source":
        if not self.resident:
            return _Source(images, labels)
        return _Source(torch.tensor(images[:], device=self.device), torch.tensor(labels, device=self.device))

    def _raw_batches(
        self, source: "_Source", order: Int64[Tensor, "N"], size: int
    ) -> Iterable[tuple[Shaped[Tensor, "B *stored"], Int64[Tensor, "B"]]]:
        if self.resident:
            return (source[indices] for indices in torch.split(order.to(self.device), size))
        return DataLoader(
            source,
            sampler=torch.split(order, size),
            batch_size=None,
            num_workers=self.loader_workers,
            # Without it, the loader would use torch's global generator, which also draws the dropout masks.
            generator=random_stream("loader"),
            pin_memory=self.device.type == "cuda",
        )

    def _augmented(self, images: Shaped[Tensor, "B *stored"], seed: int, step: int) -> Shaped[Tensor, "B *augmented"]:
        """The inputs of a training batch, each transformed with its own random numbers; images have channels last."""
        if self.augment is None:
            return images
        channels_first = images.permute(0, 3, 1, 2) if self.standardized else images
        try:
            with seeded("augmentation", seed, step):
                batch = torch.stack([self.augment(image) for image in channels_first])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a user's transform may raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            shape = tuple(channels_first.shape[1:])
            raise InputError(f"the augmentation of {len(images)} images of {shape} failed: {reason}") from error
        if self.standardized and (batch.dtype != torch.uint8 or batch.ndim != 4):
            raise InputError(
                f"the augmentation gave images of {batch.dtype} {tuple(batch.shape[1:])}; expected uint8 (C, H, W), "
                "because images are standardized after it"
            )
        return batch.permute(0, 2, 3, 1) if self.standardized else batch

    def _standardized(self, images: Shaped[Tensor, "B *stored"]) -> Shaped[Tensor, "B *item"]:
        """Images as the model receives them: (B, C, H, W); other inputs in the dtype of the weights, or as indices."""
        if not self.standardized:
            return images.to(self.dtype if images.is_floating_point() else torch.int64)
        mean, scale = self._per_item(images.shape[1:])
        return images.to(self.dtype).sub_(mean).mul_(scale).permute(0, 3, 1, 2)

    def _per_item(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """The mean and scale of every number of an image. Torch does not vectorize a broadcast over three channels."""
        if self._items is None or self._items[0].shape != shape:
            self._items = self.mean.expand(shape).contiguous(), self.scale.expand(shape).contiguous()
        return self._items


class _Source(Dataset[tuple[Tensor, Tensor]]):
    """A map-style dataset indexed by batches of indices; its images are on the device, in memory or on disk."""

    def __init__(self, images: Images | Tensor, labels: Int64[np.ndarray, "N"] | Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Int64[Tensor, "B"]) -> tuple[Tensor, Tensor]:
        if isinstance(self.images, Tensor) and isinstance(self.labels, Tensor):
            # One copy of each image; an index of this tensor with four axes would copy number by number.
            images = self.images.flatten(1).index_select(0, indices)
            return images.view(-1, *self.images.shape[1:]), self.labels[indices]
        rows = indices.numpy()
        return torch.tensor(self.images[rows]), torch.tensor(self.labels[rows])


def _fits(data: Data, device: torch.device) -> bool:
    """Whether the images can be stored on the device."""
    parts: Sequence[Images] = (data.train_images, data.val_images)
    if not all(isinstance(part, np.ndarray) for part in parts):
        return False
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(part.nbytes for part in parts) <= RESIDENT_SHARE * free
