"""Weight layers, with convolutions of any finite kernel support, and the activations by name.

Axes: B batch, C channel, P position (one or two axes), K offset of the kernel's support.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.architecture.kernels import Kernel, check_convolution, kernel_offsets, kernel_sides, lists_offsets
from ammup.errors import check_known

M = TypeVar("M", bound=nn.Module)


class SupportConv(nn.Module):
    """Convolution over an arbitrary finite set of offsets (paper, section 3.2: 𝒦 ⊂ ℤ^d of any shape), stride 1.

    z[p] = Σ_Δ W[:, :, Δ] x[p + Δ]. The weight consists of one matrix for each offset, so its fan-in is the
    cardinality of the support times the input channels.

    Args:
        in_channels: C of the input (B, C, *P).
        out_channels: C of the output.
        offsets: distinct offsets, one tuple of ``dims`` integers each.
        padding: "circular" or "zero".
        groups: number of channel groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        offsets: Sequence[tuple[int, ...]],
        *,
        padding: str = "circular",
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.place: Tensor
        self.offsets, self.padding, self.groups = tuple(offsets), padding, groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, len(self.offsets)))
        axes = list(zip(*self.offsets, strict=True))
        low = [min(0, *axis) for axis in axes]
        high = [max(0, *axis) for axis in axes]
        self.box = tuple(h - lo + 1 for lo, h in zip(low, high, strict=True))
        # F.pad counts axes from the last one.
        self.pads = [n for lo, h in zip(reversed(low), reversed(high), strict=True) for n in (-lo, h)]
        place = torch.zeros(len(self.offsets), *self.box)
        for k, offset in enumerate(self.offsets):
            index = (o - lo for o, lo in zip(offset, low, strict=True))
            place[(k, *index)] = 1
        self.register_buffer("place", place.flatten(1), persistent=False)

    def forward(self, x: Float[Tensor, "B C *P"]) -> Float[Tensor, "B D *P"]:
        """Pad the input, and convolve it with the taps in their bounding box."""
        padded = F.pad(x, self.pads, mode="circular" if self.padding == "circular" else "constant")
        convolve = F.conv1d if len(self.box) == 1 else F.conv2d
        return convolve(padded, self.dense_kernel(), groups=self.groups)

    def dense_kernel(self) -> Float[Tensor, "D C *box"]:
        """The taps in their bounding box, with zeros elsewhere."""
        return (self.weight @ self.place).reshape(*self.weight.shape[:2], *self.box)

    def extra_repr(self) -> str:
        """The settings shown by print(model)."""
        return f"offsets={self.offsets}, padding={self.padding!r}, groups={self.groups}"


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A dense layer without bias, with an uninitialized weight."""
    return _uninitialized(nn.Linear, in_features, out_features, bias=False)


def _uninitialized(layer: type[M], *arguments: Any, **options: Any) -> M:
    """A layer whose weights are allocated and not drawn.

    torch.nn.utils.skip_init does the same with a method that imports SymPy, which takes half a second in a new process.
    """
    module = layer(*arguments, device="meta", **options)
    for name, weight in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype, device="cpu")))
    return module


WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, SupportConv)


def conv(
    in_channels: int,
    out_channels: int,
    *,
    dims: int,
    kernel: Kernel,
    padding: str,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> nn.Module:
    """A convolution without bias and with an uninitialized weight.

    Its output has as many positions along each axis as its input, divided by the stride.

    Args:
        in_channels: input channels, a multiple of ``groups``.
        out_channels: output channels, a multiple of ``groups``.
        dims: 1 or 2.
        kernel: an int (equal sides), a tuple of ``dims`` ints (a rectangle), or a list of offsets.
        padding: "circular" or "zero".
        stride: step between outputs; needs an int or tuple kernel.
        groups: number of channel groups.
        dilation: spacing of the taps.

    Raises:
        InputError: ``groups`` does not divide the channels, or the kernel does not support the padding, stride or
            dilation.
    """
    check_convolution(
        in_channels,
        out_channels,
        dims=dims,
        kernel=kernel,
        padding=padding,
        stride=stride,
        groups=groups,
        dilation=dilation,
    )
    if lists_offsets(kernel):
        return SupportConv(in_channels, out_channels, kernel_offsets(kernel, dims), padding=padding, groups=groups)
    sides = kernel_sides(kernel, dims)
    layer = (nn.Conv1d, nn.Conv2d)[dims - 1]
    pads = tuple(dilation * (side - 1) // 2 for side in sides)
    even = any(dilation * (side - 1) % 2 for side in sides)
    convolution: nn.Module = _uninitialized(
        layer,
        in_channels,
        out_channels,
        sides,
        stride=stride,
        padding="same" if even else pads,
        padding_mode="circular" if padding == "circular" else "zeros",
        groups=groups,
        dilation=dilation,
        bias=False,
    )
    return convolution


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "linear": nn.Identity}


def activation_module(name: str) -> nn.Module:
    """A new module of the named activation."""
    check_known("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()
