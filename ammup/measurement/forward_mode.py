"""What forward-mode differentiation asks of torch: rules for every operator, and layouts that they support."""

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
def forward_rules_for_all() -> Iterator[None]:
    """Attention by kernels that have a forward-mode rule: the fused ones have none."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@cache
def load_forward_rules() -> None:
    """Have torch load its forward-mode rules, and keep to ourselves that torch 2.14 deprecates how it does so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))


def supports_channels_last(model: nn.Module) -> bool:
    """Whether every module has a forward-mode rule for that layout."""
    return _group_norm_takes_channels_last() or not any(isinstance(module, nn.GroupNorm) for module in model.modules())


@cache
def _group_norm_takes_channels_last() -> bool:
    """Whether its forward-mode rule does, which that of torch 2.6 to 2.9 does not."""
    x = torch.ones(1, 2, 2, 2).contiguous(memory_format=torch.channels_last)
    load_forward_rules()
    try:
        jvp(partial(F.group_norm, num_groups=1), (x,), (x,))
    except RuntimeError:
        return False
    return True


def channels_last(tensor: Tensor) -> Tensor:
    """channels_last for images and 2D kernels on the CPU, where convolutions otherwise reorder at every call."""
    if tensor.ndim == 4 and tensor.device.type == "cpu":
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
