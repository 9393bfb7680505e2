"""The forward of our own families with activation and circular padding in one pass over memory.

`F.pad(mode="circular")` loses the channels_last layout and, beside a separate ReLU, reads and writes every activation
twice more than a convolution needs. Here ReLU writes into the centre of the padded buffer and the edges are copied; the
backward pass folds the edges back in place and masks. The function and the parameters are those of the model.

Axes: B batch, C channel, H and W position.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.layers import SupportConv
from ammup.models.nets import CNN, ResidualBlock, ResNet

Forward = Callable[[Tensor], Tensor]
Pads = tuple[int, int, int, int]  # left, right, top, bottom: the order of F.pad


class ActivatedPad(torch.autograd.Function):
    """relu(z) or z, padded circularly, in channels_last.

    The backward pass writes into the gradient it is given; a convolution, for which this is made, hands over a tensor
    that nobody else reads.
    """

    @staticmethod
    def forward(ctx: Any, z: Float[Tensor, "B C H W"], pads: Pads, rectify: bool) -> Float[Tensor, "B C H2 W2"]:
        """Write the centre, then the columns beside it, then whole rows, so that the corners come right."""
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
        if rectify:
            torch.clamp_min(z, 0, out=centre)
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
        ctx.pads, ctx.shape = pads, (height, width)
        ctx.save_for_backward(padded if rectify else None)
        return padded

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "B C H2 W2"]) -> tuple[Tensor, None, None]:
        """Fold rows, then columns, onto what they were copied from, and mask."""
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
        (padded,) = ctx.saved_tensors
        if padded is None:
            return centre.contiguous(memory_format=torch.channels_last), None, None
        # One pass where `centre * (activated > 0)` would take two.
        masked = torch.ops.aten.threshold_backward(centre, padded[:, :, rows, columns], 0)
        return masked, None, None


def fused_forward(model: nn.Module) -> Forward | None:
    """A forward of the model with the fused passes, or None where it has no two-dimensional circular convolutions.

    It serves what `ammup.cnn` and `ammup.resnet` return; a subclass, which may have a forward of its own, and a model
    with hooks are left alone. It draws dropout masks in the order of positions within channels, whatever the memory
    layout, so that they are those of the model's own forward on contiguous images.
    """
    if type(model) not in (CNN, ResNet) or model.dims != 2 or any(_hooked(module) for module in model.modules()):
        return None
    if not any(_circular_pads(layer) for layer in model.modules()):
        return None
    return _cnn(model) if isinstance(model, CNN) else _resnet(cast(ResNet, model))


def _hooked(module: nn.Module) -> bool:
    """Whether a call does more than its class says."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def _cnn(net: CNN) -> Forward:
    def forward(x: Tensor) -> Tensor:
        z = x
        for i, layer in enumerate(net.layers):
            z = _convolve(layer, z, net.activation if i else None)
        out: Tensor = net.readout(net.activation(z))
        return out

    return forward


def _resnet(net: ResNet) -> Forward:
    def forward(x: Tensor) -> Tensor:
        z = _convolve(net.stem, x, None)
        for block in net.blocks:
            z = block.skip(z) + _branch(block, z) if type(block) is ResidualBlock else block(z)
        out: Tensor = net.readout(net.activation(z))
        return out

    return forward


def _branch(block: ResidualBlock, z: Tensor) -> Tensor:
    last = len(block.branch) - 1
    for i, (norm, layer) in enumerate(zip(block.norms, block.branch, strict=True)):
        z = norm(z)
        if i == last and block.dropout.p and block.training:
            z = _convolve(layer, _dropped(block.activation(z), block.dropout.p), None)
        else:
            z = _convolve(layer, z, block.activation)
    return z


def _dropped(z: Tensor, p: float) -> Tensor:
    keep = torch.empty(z.shape, dtype=z.dtype, device=z.device).bernoulli_(1 - p).div_(1 - p)
    return z * keep.to(memory_format=torch.channels_last)


def _convolve(layer: nn.Module, z: Tensor, activation: nn.Module | None) -> Tensor:
    """layer(activation(z))."""
    pads = _circular_pads(layer)
    if pads is None or max(pads[:2]) > z.shape[3] or max(pads[2:]) > z.shape[2]:
        out: Tensor = layer(z if activation is None else activation(z))
        return out
    rectify = isinstance(activation, nn.ReLU)
    if not rectify and activation is not None:
        z = activation(z)
    padded: Tensor = ActivatedPad.apply(z, pads, rectify)
    if isinstance(layer, SupportConv):
        return F.conv2d(padded, layer.dense_kernel(), groups=layer.groups)
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


def _circular_pads(layer: nn.Module) -> Pads | None:
    """(left, right, top, bottom) of a two-dimensional circular convolution, or None."""
    if type(layer) is SupportConv and layer.padding == "circular" and len(layer.box) == 2:
        left, right, top, bottom = layer.pads
        return left, right, top, bottom
    if type(layer) is not nn.Conv2d or layer.padding_mode != "circular":
        return None
    if isinstance(layer.padding, str):  # "same": torch puts the odd one at the end
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        (top, left) = (t // 2 for t in total)
        return left, total[1] - left, top, total[0] - top
    top, left = layer.padding
    return left, left, top, top
