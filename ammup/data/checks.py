"""Checks of the arrays of a data set, which convert tensors and other dtypes of integers.

Axes: N item, H and W position, C channel.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from ammup.data.selection import Images, Selection
from ammup.errors import InputError

COLOURS = (1, 3, 4)  # numbers of channels of an image file
# Integers in an array of more axes than this are pixels that should be uint8, not indices of tokens.
MOST_INDEX_AXES = 2


def checked_images(name: str, images: Any) -> Images:
    """The inputs of a split: uint8 images (N, H, W, C), floats (N, …), or indices of tokens (N,) or (N, T).

    Raises:
        InputError: another type, dtype or shape.
    """
    if isinstance(images, Tensor):
        images = images.cpu().numpy()
    if not isinstance(images, np.ndarray | Selection):
        raise InputError(
            f"{name} are a {type(images).__name__}; give a uint8 array (N, height, width, channels), or floats (N, …)"
        )
    indices = images.dtype.kind in "iu" and images.dtype != np.uint8 and len(images.shape) <= MOST_INDEX_AXES
    if images.dtype != np.uint8 and images.dtype.kind != "f" and not indices:
        raise InputError(
            f"{name} have dtype {images.dtype} and shape {tuple(images.shape)}; give images as uint8 from 0 to 255, "
            "other inputs as floats in the shape that the model takes, or indices of tokens (N, T) as integers"
        )
    channels_first = len(images.shape) == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4
    if images.dtype == np.uint8 and (len(images.shape) != 4 or channels_first):
        hint = ", so move the channels last" if channels_first else ""
        raise InputError(f"{name} have shape {tuple(images.shape)}; expected (N, height, width, channels){hint}")
    if len(images.shape) < 1 + (images.dtype.kind == "f"):
        raise InputError(f"{name} have shape {tuple(images.shape)}; expected (N, …), one row for each item")
    return images


def checked_labels(name: str, labels: Any, classes: int) -> Int64[np.ndarray, "N"]:
    """The labels of a split as int64.

    Raises:
        InputError: they are not class indices below the number of classes.
    """
    array = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{name} are {array.dtype} of shape {array.shape}; give one class index for each image")
    array = array.astype(np.int64, copy=False)
    if array.size and not 0 <= array.min() <= array.max() < classes:
        given = f"{name} are {array.min()} to {array.max()}"
        raise InputError(f"{given}; expected 0 to {classes - 1}, because there are {classes} classes")
    return array
