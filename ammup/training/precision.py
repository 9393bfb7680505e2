"""The numeric precision of training: dtypes of weights, bfloat16 autocast, and TF32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from ammup.training.runs import Training

# The dtype of the weights. "bfloat16" computes in bfloat16 on float32 master weights (torch.autocast). "tf32" computes
# in TF32, with ten bits of mantissa, on GPUs that support it, and in float32 elsewhere.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32, "tf32": torch.float32}


def autocast(training: Training, device: torch.device) -> torch.autocast:
    """A context that computes in bfloat16 if the dtype of the training settings is "bfloat16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.dtype == "bfloat16")


@contextmanager
def precision(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """A context in which a GPU computes products and convolutions of float32 in TF32 or, without ``tf32``, in float32.

    By default, torch computes convolutions in TF32 and matrix products in float32. No effect on a CPU.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    operators: tuple[Any, ...] = (matmul, cudnn)
    name, value = "allow_tf32", cast(bool | str, tf32)
    if hasattr(
        matmul, "fp32_precision"
    ):  # torch 2.9 and later, which forbid mixing these settings with the older flags
        operators = (matmul, *(getattr(cudnn, part) for part in ("conv", "rnn")))
        name, value = "fp32_precision", "tf32" if tf32 else "ieee"
    previous = [getattr(operator, name) for operator in operators]
    try:
        for operator in operators:
            setattr(operator, name, value)
        yield
    finally:
        for operator, setting in zip(operators, previous, strict=True):
            setattr(operator, name, setting)
