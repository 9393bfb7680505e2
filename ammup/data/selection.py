"""Rows of an array on disk, or of a data set that is read item by item.

Axes: N item.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray

from ammup.format import brief_repr


@runtime_checkable
class Rows(Protocol):
    """Inputs that are read by row, such as a mapped file; ``shape`` and ``dtype`` are those of all of them."""

    def __len__(self) -> int:
        """N."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the inputs."""

    def __getitem__(self, index: NDArray[np.int64], /) -> NDArray[Any]:
        """The inputs of these rows."""


class Selection:
    """Some rows of inputs that are not in memory. Indexing reads them: ``selection[rows]`` is an array in memory."""

    def __init__(self, images: Rows, rows: Int64[np.ndarray, "M"]) -> None:
        self.images, self.rows = images, rows
        self.shape: tuple[int, ...] = (len(rows), *images.shape[1:])
        self.dtype = images.dtype
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __repr__(self) -> str:
        return brief_repr(self, "on disk", shape=self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.images[self.rows[index]])


Images = Shaped[np.ndarray, "_ ..."] | Selection
