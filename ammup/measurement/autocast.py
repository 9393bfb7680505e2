"""Gradients under autocast, as training computes them.

A training step under autocast takes the gradient g of a forward in bfloat16 or float16, and changes weights that are
float32. A measurement for such training computes g in the same way, at the model's own precision, and then measures the
change of the units along the step for this g without autocast, in float64. S therefore contains the error of g, which
training makes too, but not the rounding of the units' outputs, which is larger than the change by a small step.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ammup.measurement.backward import Weights, weight_gradients

# The initial scale of torch.amp.GradScaler. Gradients in float16 that are not scaled underflow.
LARGEST_SCALE = 2.0**16


def active_autocast(model: nn.Module) -> torch.dtype | None:
    """The dtype of the autocast that is active for the device of the model; None if there is none."""
    device = next((p.device.type for p in model.parameters()), "cpu")
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def autocast_in(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """The context of autocast in ``dtype``; None changes nothing."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def scaled_gradients(
    roots: Sequence[tuple[Tensor, Tensor | None]], weights: Weights, *, accumulate: bool
) -> list[Weights]:
    """The gradients of :func:`weight_gradients`, computed from a scaled loss, as torch.amp.GradScaler does.

    The scale is 2^16. It is halved until all gradients are finite, but not below 1.
    """
    scale = LARGEST_SCALE
    while True:
        scaled = [(output * scale, None) if row is None else (output, row * scale) for output, row in roots]
        found = weight_gradients(scaled, weights, accumulate=accumulate, keep_graph=scale > 1)
        if scale <= 1 or all(torch.isfinite(g).all() for gradients in found for g in gradients.values()):
            return [{name: g / scale for name, g in gradients.items()} for gradients in found]
        scale /= 2
