"""Forward-mode differentiation in torch: kernels and memory layouts for which it is implemented."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def attention_with_forward_rule() -> Iterator[None]:
    """A context in which attention uses kernels with a forward-mode rule, which the fused kernels do not have."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@cache
def load_forward_rules() -> None:
    """Make torch load its forward-mode rules; suppresses the deprecation warning that torch 2.14 itself causes then."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))


def supports_channels_last(model: nn.Module) -> bool:
    """Whether every module of a model has a forward-mode rule for the memory format channels_last."""
    return _group_norm_supports_channels_last() or not any(
        isinstance(module, nn.GroupNorm) for module in model.modules()
    )


@cache
def _group_norm_supports_channels_last() -> bool:
    """Whether the forward-mode rule of group norm supports channels_last; in torch 2.6 to 2.9 it does not."""
    x = torch.ones(1, 2, 2, 2).contiguous(memory_format=torch.channels_last)
    load_forward_rules()
    try:
        jvp(partial(F.group_norm, num_groups=1), (x,), (x,))
    except RuntimeError:
        return False
    return True


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor in channels_last if it has four axes and is on a CPU, where convolutions would have to convert it."""
    if tensor.ndim == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
