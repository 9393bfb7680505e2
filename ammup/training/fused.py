"""A fused forward of the library's own families: activation and padding in one pass over memory, in channels_last.

`F.pad(mode="circular")` does not preserve the channels_last layout. With it and a separate activation function, every
activation is read and written two more times than a convolution requires. Here the activation function writes into the
centre of the padded buffer, and the edges are copied from there. The backward pass adds the edges' gradients in place
and applies the derivative. Nets with one position axis, for which torch has no channels_last, are computed as images
with one row. The forward uses the model's own parameters and returns the same result.

Axes: B batch, C channel, H and W position.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.layers import SupportConv
from ammup.models.nets import CNN, ResidualBlock, ResNet

Forward = Callable[[Tensor], Tensor]
Pads = tuple[int, int, int, int]  # left, right, top, bottom: the order of F.pad
ROW = 2  # the axis of H, inserted in nets with one position axis


class ActivatedPad(torch.autograd.Function):
    """φ(z), padded circularly, in channels_last; φ is "relu", "gelu", or None for the identity.

    The backward pass overwrites the gradient it receives, so the result must only be used by a convolution, whose
    backward pass creates a gradient that nothing else reads.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Float[Tensor, "B C H W"], pads: Pads, activation: str | None
    ) -> Float[Tensor, "B C H2 W2"]:
        """Write the centre, then the columns next to it, then complete rows, which include the corners."""
        left, right, top, bottom = pads
        samples, channels, height, width = z.shape
        padded = torch.empty(
            (samples, channels, top + height + bottom, left + width + right),
            dtype=z.dtype,
            device=z.device,
            memory_format=torch.channels_last,
        )
        rows, columns = slice(top, top + height), slice(left, left + width)
        centre = padded[:, :, rows, columns]
        if activation == "relu":
            torch.clamp_min(z, 0, out=centre)
        elif activation == "gelu":
            torch.ops.aten.gelu.out(z, out=centre)
        else:
            centre.copy_(z)
        if left:
            padded[:, :, rows, :left] = centre[:, :, :, width - left :]
        if right:
            padded[:, :, rows, left + width :] = centre[:, :, :, :right]
        if top:
            padded[:, :, :top] = padded[:, :, height : height + top]
        if bottom:
            padded[:, :, top + height :] = padded[:, :, top : top + bottom]
        ctx.pads, ctx.shape, ctx.activation = pads, (height, width), activation
        # The derivative of ReLU needs only the sign of its output, which the convolution saves anyway.
        ctx.save_for_backward(padded if activation == "relu" else z if activation == "gelu" else None)
        return padded

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "B C H2 W2"]) -> tuple[Tensor, None, None]:
        """Add the gradients of the copied rows, then columns, to those of their originals, and apply the derivative."""
        left, right, top, bottom = ctx.pads
        height, width = ctx.shape
        rows, columns = slice(top, top + height), slice(left, left + width)
        if bottom:
            gradient[:, :, top : top + bottom] += gradient[:, :, top + height :]
        if top:
            gradient[:, :, height : height + top] += gradient[:, :, :top]
        centre = gradient[:, :, rows, columns]
        if right:
            centre[:, :, :, :right] += gradient[:, :, rows, left + width :]
        if left:
            centre[:, :, :, width - left :] += gradient[:, :, rows, :left]
        (saved,) = ctx.saved_tensors
        if ctx.activation == "relu":
            # One pass over memory; `centre * (activated > 0)` would need two.
            return torch.ops.aten.threshold_backward(centre, saved[:, :, rows, columns], 0), None, None
        if ctx.activation == "gelu":
            return torch.ops.aten.gelu_backward(centre, saved), None, None
        return centre.contiguous(memory_format=torch.channels_last), None, None


def fused_forward(model: nn.Module) -> Forward | None:
    """A forward of the model with the fused passes; None if the model is not supported.

    Supported are convolutional nets from `ammup.cnn` and `ammup.resnet` without hooks. Subclasses are not supported,
    because they may override the forward. Dropout masks are drawn in contiguous order in any memory layout, so they
    equal those of the model on contiguous images.
    """
    if type(model) not in (CNN, ResNet) or any(has_hooks(module) for module in model.modules()):
        return None
    net = cast("CNN | ResNet", model)
    if net.dims == 0:
        return None
    convolutions = {layer: _Convolution.from_layer(layer) for layer in net.modules()}
    supported = {layer: convolution for layer, convolution in convolutions.items() if convolution is not None}
    return _FusedNet(net, supported)


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks or a replaced forward, so that a call does more than the forward of its class."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


@dataclass(frozen=True)
class _FusedNet:
    """The fused forward of a net with one or two position axes; z is (B, C, H, W), with H = 1 for one axis."""

    net: CNN | ResNet
    convolutions: "Mapping[nn.Module, _Convolution]"

    def __call__(self, x: Tensor) -> Tensor:
        net = self.net
        z = x.flatten(2).unsqueeze(ROW) if net.dims == 1 else x
        if isinstance(net, CNN):
            for i, layer in enumerate(net.layers):
                z = self._convolve(layer, z, net.activation if i else None)
        else:
            z = self._convolve(net.stem, z, None)
            for block in net.blocks:
                z = self._residual(block, z) if type(block) is ResidualBlock else self._call(block, z)
        z = net.activation(z)
        out: Tensor = net.readout(z.squeeze(ROW) if net.dims == 1 else z)
        return out

    def _residual(self, block: ResidualBlock, z: Tensor) -> Tensor:
        h, last = z, len(block.branch) - 1
        for i, (norm, layer) in enumerate(zip(block.norms, block.branch, strict=True)):
            h = self._normalize(norm, h)
            if i == last and block.dropout.p and block.training:
                h = self._convolve(layer, _dropout(block.activation(h), block.dropout.p), None)
            else:
                h = self._convolve(layer, h, block.activation)
        skip = z if isinstance(block.skip, nn.Identity) else self._convolve(block.skip, z, None)
        return skip + h

    def _normalize(self, norm: nn.Module, z: Tensor) -> Tensor:
        if isinstance(norm, nn.Identity):
            return z
        if self.net.dims == 1 and type(norm) is nn.BatchNorm1d and norm.momentum and norm.track_running_stats:
            return _batch_norm(norm, z)
        return self._call(norm, z)

    def _convolve(self, layer: nn.Module, z: Tensor, activation: nn.Module | None) -> Tensor:
        """layer(activation(z))."""
        convolution = self.convolutions.get(layer)
        if convolution is None or not convolution.fits(z):
            return self._call(layer, z if activation is None else activation(z))
        if not convolution.circular:
            return convolution.zero_padded(z if activation is None else activation(z))
        name = activation_name(activation)
        if activation is not None and name is None:
            z = activation(z)
        return convolution(ActivatedPad.apply(z, convolution.pads, name))

    def _call(self, module: nn.Module, z: Tensor) -> Tensor:
        """Call the module, on tensors without the inserted axis."""
        out: Tensor = module(z.squeeze(ROW)).unsqueeze(ROW) if self.net.dims == 1 else module(z)
        return out


@dataclass(frozen=True, kw_only=True)
class _Convolution:
    """A convolution with one or two position axes, computed with two, and its padding."""

    layer: nn.Conv1d | nn.Conv2d | SupportConv
    bias: Tensor | None = None
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int
    pads: Pads
    circular: bool

    @classmethod
    def from_layer(cls, layer: nn.Module) -> "_Convolution | None":
        """The convolution of a layer; None for any other module."""
        if type(layer) is SupportConv:
            left, right, top, bottom = (*layer.pads, 0, 0)[:4]
            return cls(
                layer=layer,
                groups=layer.groups,
                pads=(left, right, top, bottom),
                circular=layer.padding == "circular",
            )
        if type(layer) not in (nn.Conv1d, nn.Conv2d):
            return None
        layer = cast("nn.Conv1d | nn.Conv2d", layer)
        if layer.padding_mode not in ("circular", "zeros"):
            return None
        missing = (1,) * (2 - len(layer.kernel_size))
        return cls(
            layer=layer,
            bias=layer.bias,
            stride=(*missing, *layer.stride),
            dilation=(*missing, *layer.dilation),
            groups=layer.groups,
            pads=_pads(layer),
            circular=layer.padding_mode == "circular",
        )

    def fits(self, z: Tensor) -> bool:
        """Whether the padding is at most as large as the input, so it wraps around at most once."""
        return max(self.pads[:2]) <= z.shape[3] and max(self.pads[2:]) <= z.shape[2]

    def __call__(self, padded: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
        """The convolution of a padded input."""
        layer = self.layer
        kernel = layer.dense_kernel() if isinstance(layer, SupportConv) else layer.weight
        kernel = kernel.unsqueeze(ROW) if kernel.ndim == 3 else kernel
        return F.conv2d(padded, kernel, self.bias, self.stride, padding, self.dilation, self.groups)

    def zero_padded(self, z: Tensor) -> Tensor:
        """The convolution with zero padding, computed by torch's own padding if both sides have equal padding."""
        left, right, top, bottom = self.pads
        if left == right and top == bottom:
            return self(z, (top, left))
        return self(F.pad(z, self.pads))


def _pads(layer: nn.Conv1d | nn.Conv2d) -> Pads:
    """The padding of a layer on each of the four sides."""
    total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if isinstance(layer.padding, str):  # "same" puts an odd remainder at the end; "valid" does not pad
        low = [t // 2 if layer.padding == "same" else 0 for t in total]
        high = [t - below if layer.padding == "same" else 0 for t, below in zip(total, low, strict=True)]
    else:
        low = high = list(layer.padding)
    (top, left), (bottom, right) = ([0] * (2 - len(low)) + low, [0] * (2 - len(high)) + high)
    return left, right, top, bottom


def activation_name(activation: nn.Module | None) -> str | None:
    """The name of an activation that the fused pass supports; None for others."""
    if type(activation) is nn.GELU and activation.approximate == "none":
        return "gelu"
    return "relu" if type(activation) is nn.ReLU else None


def _batch_norm(norm: nn.BatchNorm1d, z: Float[Tensor, "B C 1 W"]) -> Tensor:
    """The forward of a BatchNorm1d on four axes, which the module itself rejects."""
    if norm.training:
        norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    return F.batch_norm(
        z, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum or 0.0, norm.eps
    )


def _dropout(z: Tensor, p: float) -> Tensor:
    """Dropout with a mask that is drawn in contiguous layout."""
    mask = torch.empty(z.shape, dtype=z.dtype, device=z.device).bernoulli_(1 - p).div_(1 - p)
    return z * mask.to(memory_format=torch.channels_last)
