"""The random division of a data set into training and validation items.

Axes: N item.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64

from ammup.data.cache import Labels, Splits
from ammup.data.datasets import Items
from ammup.data.readers import physical_memory
from ammup.data.selection import Images, Rows, Selection
from ammup.errors import InputError

# The largest data set that is copied into memory, as a fraction of the physical memory. It is small, because each
# worker of a sweep has two copies in memory.
MEMORY_SHARE = 0.1


def divided(
    splits: Splits, *, train: int | None, validation: int | None, seed: int, in_memory: bool | None, progress: bool
) -> dict[str, Any]:
    """The fields of :class:`ammup.data.dataset.Data`; the arguments are those of ``load_data``.

    Without a validation split, validation items are drawn from the training split.

    Raises:
        InputError: more items are requested than there are.
    """
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
    if in_memory is None:
        in_memory = (len(order) + len(val_order)) * _item_bytes(images) <= MEMORY_SHARE * physical_memory()
    taken = {
        "train": _taken(images, labels, order, in_memory, progress),
        "val": _taken(val_images, val_labels, val_order, in_memory, progress),
        "test": _test(splits, progress),
    }
    known = max((int(found.max()) for _, found in taken.values() if found.size), default=-1) + 1
    fields: dict[str, Any] = {"classes": splits.classes or tuple(str(i) for i in range(known))}
    for split, (inputs, numbers) in taken.items():
        fields |= {f"{split}_images": inputs, f"{split}_labels": numbers}
    return fields


def _taken(
    images: Rows, labels: Labels | None, rows: Int64[np.ndarray, "M"], in_memory: bool, progress: bool
) -> tuple[Images, Int64[np.ndarray, "M"]]:
    """Some items of a split, in memory or as a selection; without ``labels``, they are read from the items."""
    if isinstance(images, Items):
        if in_memory:
            return images.read(rows, progress=progress)
        return Selection(images, rows), images.labels(rows, progress=progress)
    assert labels is not None
    return (np.asarray(images[rows]) if in_memory else Selection(images, rows)), labels[rows]


def _test(splits: Splits, progress: bool) -> tuple[Images, Int64[np.ndarray, "M"]]:
    """The test split, which is never copied; empty if there is none."""
    images, labels = splits.arrays["train"]
    if "test" not in splits.arrays:
        return np.empty((0, *images.shape[1:]), images.dtype), np.empty(0, np.int64)
    images, labels = splits.arrays["test"]
    if labels is None:
        return _taken(images, None, np.arange(len(images)), False, progress)
    return (images if isinstance(images, Selection) else np.asarray(images)), np.asarray(labels)


def _item_bytes(images: Rows) -> int:
    """The size of one item in bytes."""
    return int(np.prod(images.shape[1:])) * images.dtype.itemsize


def _count(name: str, requested: int | None, available: int) -> int:
    """The number of images of a split; None requests all."""
    if requested is None:
        return available
    smallest = 1 if name == "train" else 0
    if not smallest <= requested <= available:
        raise InputError(f"{name}={requested}: expected {smallest} to {available}, the number of available images")
    return requested
