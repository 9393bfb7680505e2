"""Inputs and labels of a user's data set as arrays, whatever kind of object the data set returns.

Images become uint8 (H, W, C), because they are standardized batch by batch. Everything else is unchanged, in the
shape that the model takes.

Axes: N item, H and W position, C channel.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ammup.data.checks import COLOURS
from ammup.data.readers import resized
from ammup.errors import InputError

# Names of columns that are recognized, in this order; other names are given by ``columns``.
INPUT_COLUMNS = ("image", "img", "pixel_values", "inputs", "input", "input_ids", "x", "features", "data")
LABEL_COLUMNS = ("label", "labels", "target", "targets", "class", "fine_label", "y")

Columns = tuple[str, str] | None


def find_columns(names: Sequence[str], columns: Columns) -> tuple[str, str]:
    """The names of the columns with the inputs and the labels.

    Args:
        names: all columns of the data set.
        columns: the two names, or None for the usual names.

    Raises:
        InputError: a given column does not exist, or none has a usual name.
    """
    if columns is not None:
        missing = [name for name in columns if name not in names]
        if len(columns) != 2 or missing:
            raise InputError(f"columns={columns!r}: expected two of {', '.join(map(str, names))}")
        return columns
    found = [next((name for name in known if name in names), None) for known in (INPUT_COLUMNS, LABEL_COLUMNS)]
    if found[0] is None or found[1] is None:
        raise InputError(
            f"the items have the columns {', '.join(map(str, names))}; name those with inputs and labels, such as "
            "columns=('image', 'label')"
        )
    return found[0], found[1]


def split_item(item: Any, columns: Columns) -> tuple[Any, Any]:
    """The input and the label of one item: of a pair, of a longer tuple, or of a dict.

    Raises:
        InputError: the item is none of these.
    """
    if isinstance(item, Mapping):
        inputs, label = find_columns(list(item), columns)
        return item[inputs], item[label]
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    raise InputError(
        f"an item of the data set is a {type(item).__name__}; expected (input, label), or a dict with both"
    )


def input_array(value: Any, image_size: int | None) -> NDArray[Any]:
    """One input as an array: uint8 (H, W, C) for an image, else floats or indices in the shape of the item.

    Raises:
        InputError: it is not numeric, or ``image_size`` is given for something else than an image.
    """
    if isinstance(value, Image.Image):
        value = _pixels(value)
    array = input_batch(value if isinstance(value, Tensor) else np.asarray(value), single=True)[0]
    if image_size is None:
        return np.asarray(array)
    if array.dtype != np.uint8:
        raise InputError(f"image_size={image_size} is for images of uint8; the inputs are {array.dtype} {array.shape}")
    return resized(array, image_size)


def input_batch(values: Any, *, single: bool = False) -> NDArray[Any]:
    """Inputs (N, …) as an array, images with the channels last.

    Args:
        values: an array or a tensor.
        single: one item without the first axis.

    Raises:
        InputError: they are not numeric.
    """
    in_torch = isinstance(values, Tensor)
    array = _numpy(values)
    array = array[None] if single else array
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise InputError(f"the inputs are {array.dtype} of shape {array.shape}; give images, floats or integers (N, …)")
    if array.dtype != np.uint8:
        return array
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4:
        first = array.shape[1] in COLOURS and (in_torch or array.shape[3] not in COLOURS)
        return np.moveaxis(array, 1, 3) if first else array
    return array.astype(np.float32) / 255  # no images


def label_of(value: Any) -> int:
    """One label as an int.

    Raises:
        InputError: it is not an integer.
    """
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) == 1:
        value = value.item()
    try:
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"the label {value!r} is a {type(value).__name__}; give a class index") from error


def label_batch(values: Any) -> NDArray[np.int64]:
    """Labels (N,) or (N, 1) as int64.

    Raises:
        InputError: they are not integers.
    """
    array = _numpy(values)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise InputError(f"the labels are {array.dtype} of shape {array.shape}; give one class index for each item")
    return array.astype(np.int64)


def _numpy(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy())
    return np.asarray(values)


def _pixels(picture: Image.Image) -> NDArray[Any]:
    """The pixels of an image: (H, W, 1) in greyscale, (1, H, W) if it has floats or large integers, else RGB."""
    if picture.mode in ("F", "I") or picture.mode.startswith("I;"):
        return np.asarray(picture, np.float32)[None]
    if picture.mode == "L":
        return np.asarray(picture)[..., None]
    return np.asarray(picture.convert("RGB"))
