"""Data sets of users that are read item by item: those with a length, and streams.

Axes: N item.
"""

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from ammup.data.items import Columns, find_columns, input_array, input_batch, label_batch, label_of, split_item
from ammup.errors import InputError
from ammup.format import brief_repr
from ammup.models.streams import seeded
from ammup.progress import tracked

# Items that are read once to see whether the data set draws random numbers, as an augmentation does.
PROBED = 3


class RandomItemsWarning(UserWarning):
    """A data set draws random numbers; each of its items is drawn once, and is the same in every epoch."""


class Items:
    """A data set with a length whose items are read when they are needed. Items N, shape (N, …).

    An item that draws random numbers gets its own stream, so it is the same in every epoch, process and order.

    Args:
        dataset: any object with ``len(dataset)`` and ``dataset[i]``.
        columns: names of the columns with inputs and labels, if the items are dicts.
        image_size: side of the images; None keeps the original size.

    Raises:
        InputError: the data set has no items, or an item is not an input with a label.
    """

    def __init__(self, dataset: Any, *, columns: Columns, image_size: int | None) -> None:
        self.dataset, self.columns, self.image_size = dataset, columns, image_size
        self.length = len(dataset)
        if not self.length:
            raise InputError(f"the data set {type(dataset).__name__} is empty; give one with at least one item")
        self.random = False
        with seeded("dataset"):
            self.random = any(self._draws(row) for row in range(min(PROBED, self.length)))
            first = self._item(0)[0]
        self.shape, self.dtype = (self.length, *first.shape), first.dtype
        if self.random:
            warnings.warn(
                f"the data set {type(dataset).__name__} draws random numbers; each item is drawn once and is then the "
                "same in every epoch: give random transforms as `augmentation` of the training instead",
                RandomItemsWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return brief_repr(self, type(self.dataset).__name__, shape=self.shape)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: Int64[np.ndarray, "M"]) -> NDArray[Any]:
        """The inputs of these rows, in memory."""
        return self.read(rows)[0]

    def read(
        self, rows: Int64[np.ndarray, "M"], *, progress: bool = False
    ) -> tuple[NDArray[Any], Int64[np.ndarray, "M"]]:
        """The inputs and labels of these rows, in memory.

        Raises:
            InputError: the inputs differ in shape or dtype.
        """
        inputs, labels = np.empty((len(rows), *self.shape[1:]), self.dtype), np.empty(len(rows), np.int64)
        with seeded("dataset"):
            for i, row in enumerate(tracked(rows.tolist(), "reading the data set", len(rows), show=progress)):
                value, labels[i] = self._item(row)
                _check_same(value, self.shape[1:], self.dtype, row)
                inputs[i] = value
        return inputs, labels

    def labels(self, rows: Int64[np.ndarray, "M"], *, progress: bool = False) -> Int64[np.ndarray, "M"]:
        """The labels of these rows: from the attribute ``targets``, as data sets of torchvision have, or by reading."""
        targets: Any = getattr(self.dataset, "targets", None)
        if targets is not None and getattr(self.dataset, "target_transform", None) is None:
            try:
                known = label_batch(targets)
            except (InputError, ValueError):
                known = np.empty(0, np.int64)
            if len(known) == self.length:
                return np.asarray(known[rows])
        column = self._label_column()
        if column is not None:
            return np.asarray(label_batch(column)[rows])
        with seeded("dataset"):
            shown = tracked(rows.tolist(), "reading the labels", len(rows), show=progress)
            return np.array([self._item(row)[1] for row in shown], np.int64)

    def _label_column(self) -> Any:
        """The labels of a data set of Hugging Face, without its images; None for any other data set."""
        if not hasattr(self.dataset, "column_names") or not hasattr(self.dataset, "features"):
            return None
        return np.asarray(self.dataset.with_format(None)[find_columns(self.dataset.column_names, self.columns)[1]])

    def _draws(self, row: int) -> bool:
        """Whether reading an item draws random numbers."""
        before = _global_state()
        self._raw(row)
        return _global_state() != before

    def _raw(self, row: int) -> Any:
        try:
            return self.dataset[row]
        except Exception as error:  # the user's data set may raise anything
            name = type(self.dataset).__name__
            raise InputError(f"item {row} of {name} cannot be read: {type(error).__name__}: {error}") from error

    def _item(self, row: int) -> tuple[NDArray[Any], int]:
        if not self.random:
            item = self._raw(row)
        else:
            with seeded("dataset", row):
                item = self._raw(row)
        try:
            inputs, label = split_item(item, self.columns)
            return input_array(inputs, self.image_size), label_of(label)
        except InputError as error:
            raise error.prefixed(f"item {row} of {type(self.dataset).__name__}: ") from error


def read_stream(
    stream: Iterable[Any], *, columns: Columns, image_size: int | None, limit: int | None, progress: bool
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The inputs and labels of a stream, which is read once into a temporary file, without a limit by the memory.

    Args:
        stream: yields items, or batches of them as a DataLoader does (tensors with one label for each row).
        columns: as for :class:`Items`.
        image_size: as for :class:`Items`.
        limit: number of items to read; None reads the stream to its end.
        progress: show the progress.

    Raises:
        InputError: the stream is empty, or its items are not inputs with labels of equal shape.
    """
    labels: list[int] = []
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.uint8)
    with seeded("dataset"), tempfile.TemporaryFile(prefix="ammup-stream-") as file:
        items = islice(_stream_items(stream, columns, image_size), limit)
        for value, label in tracked(items, "reading the stream", limit or 0, show=progress and limit is not None):
            if not labels:
                shape, dtype = value.shape, value.dtype
            _check_same(value, shape, dtype, len(labels))
            file.write(np.ascontiguousarray(value).data)
            labels.append(label)
        if not labels:
            raise InputError(f"the stream {type(stream).__name__} yielded nothing; it may have been read before")
        file.flush()
        # The mapping stays valid after the file is closed.
        inputs = np.memmap(file, dtype, "r", shape=(len(labels), *shape))
    return inputs, np.array(labels, np.int64)


def _stream_items(
    stream: Iterable[Any], columns: Columns, image_size: int | None
) -> Iterator[tuple[NDArray[Any], int]]:
    for i, item in enumerate(stream):
        try:
            inputs, labels = split_item(item, columns)
            if not _is_batch(labels):
                yield input_array(inputs, image_size), label_of(labels)
                continue
            rows = input_batch(inputs)
            if len(rows) != len(labels):
                raise InputError(f"{len(rows)} inputs and {len(labels)} labels; expected one label for each input")
            for row, label in zip(rows, label_batch(labels), strict=True):
                yield input_array(row, image_size) if image_size else row, int(label)
        except InputError as error:
            raise error.prefixed(f"item {i} of the stream: ") from error


def _is_batch(labels: Any) -> bool:
    """Whether these are the labels of several items."""
    return getattr(labels, "ndim", 0) > 0 or isinstance(labels, list | tuple)


def _check_same(value: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], row: int) -> None:
    if value.shape == shape and value.dtype == dtype:
        return
    given = f"item {row} is {value.dtype} {value.shape}, and the first one {dtype} {shape}"
    raise InputError(
        f"{given}; expected equal shapes and dtypes",
        python="pass image_size= for images of different sizes",
        option="give --image-size, or data.image_size in an experiment, for images of different sizes",
    )


def _global_state() -> tuple[object, ...]:
    """The state of the global generators that a transform may draw from, as values that can be compared."""
    import random

    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  (users' transforms draw from it)
    return torch.get_rng_state().numpy().tobytes(), kind, np.asarray(keys).tobytes(), tuple(rest), random.getstate()
