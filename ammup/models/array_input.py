"""NumPy arrays as tensors, for arguments that may be either."""

from typing import Any

import numpy as np
import torch

from ammup.errors import InputError

# The largest dtype of each kind that every torch has. Larger or unsigned numbers are converted to it.
_LARGEST = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}


def tensor_if_array(name: str, value: Any) -> Any:
    """A copy of a NumPy array as a tensor; any other value unchanged.

    Args:
        name: the name of the argument.
        value: the argument.

    Raises:
        InputError: an array of something else than real numbers or booleans.
    """
    if not isinstance(value, np.ndarray):
        return value
    kind = value.dtype.kind
    if kind not in _LARGEST:
        raise InputError(f"{name} is an array of dtype {value.dtype}; give an array of real numbers, or a tensor")
    in_torch = (kind, value.dtype.itemsize) == ("u", 1) or (kind in "fi" and value.dtype.itemsize <= 8)
    dtype = value.dtype.newbyteorder("=") if in_torch else np.dtype(_LARGEST[kind])
    return torch.tensor(np.array(value, dtype=dtype, order="C"))
