"""The families of the paper: `mlp`, `cnn` and `resnet`, built, checked and initialized."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from ammup.errors import InputError, check_known
from ammup.models.initialization import initialize_
from ammup.models.layers import conv, linear
from ammup.models.nets import CNN, MLP, MeanOverPositions, ResidualBlock, ResNet
from ammup.theory.positions import Kernel, kernel_offsets
from ammup.theory.wide_net import DENSE, HEADS, plain_net, residual_net

Widths = int | Sequence[int]


def mlp(
    depth: int,
    *,
    width: Widths = 256,
    in_features: int = 3072,
    out_features: int = 10,
    activation: str = "relu",
    gain: str = "forward",
    readout: str = "mean-field",
    seed: int | None = 0,
) -> MLP:
    """A plain dense net of ``depth`` layers before the readout.

    Args:
        depth: L, the number of weight layers before the readout.
        width: n, or one width for each layer.
        in_features: size of a flattened sample.
        out_features: number of outputs.
        activation: "relu", "gelu" or "linear".
        gain: the variance rule behind an activation: "forward", "derivative" or "paper", see :func:`ammup.initialize_`.
        readout: "mean-field" (variance 1/n²) or "he".
        seed: stream of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or a size below 1, or an unknown name.

    Example:
        >>> import ammup
        >>> net = ammup.mlp(3, width=64, in_features=32)
        >>> ammup.depth_units(net)
        ('layers.0', 'layers.1', 'layers.2')
    """
    widths = _widths(depth, width)
    _at_least_one(in_features=in_features, out_features=out_features)
    net = MLP(widths, in_features=in_features, out_features=out_features, activation=activation)
    initialize_(net, gain=gain, readout=readout, seed=seed)
    net.law = plain_net(
        widths, in_features=in_features, out_features=out_features, activation=activation, gain=gain, readout=readout
    )
    return net


def cnn(
    depth: int,
    *,
    width: Widths = 64,
    dims: int = 2,
    kernel: Kernel = 3,
    padding: str = "circular",
    in_channels: int = 3,
    out_channels: int = 10,
    head: str = "pool",
    activation: str = "relu",
    gain: str = "forward",
    readout: str = "mean-field",
    groups: int = 1,
    dilation: int = 1,
    seed: int | None = 0,
) -> CNN:
    """A homogeneous convolutional net of ``depth`` layers before the readout, stride 1 (paper, section 3.2).

    Args:
        depth: L, the number of convolutions before the readout.
        width: C, or one width for each layer.
        dims: 1 or 2 position axes.
        kernel: an int, a tuple of ints (a rectangle), or a list of offsets (any finite support).
        padding: "circular" or "zero".
        in_channels: channels of a sample.
        out_channels: outputs (head "pool"), or outputs at each position (head "field").
        head: "pool" (global average, then linear) or "field" (a 1×1 readout that keeps every position).
        activation: "relu", "gelu" or "linear".
        gain: the variance rule behind an activation: "forward", "derivative" or "paper", see :func:`ammup.initialize_`.
        readout: "mean-field" (variance 1/C²) or "he".
        groups: channel groups of every layer but the first.
        dilation: spacing of the kernel's taps.
        seed: stream of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or a size below 1, an even kernel with zero padding, or an unknown name.
    """
    widths = _widths(depth, width)
    _at_least_one(in_channels=in_channels, out_channels=out_channels, groups=groups, dilation=dilation)
    if dims not in (1, 2):
        raise InputError(f"dims={dims} is not a convolution; allowed: 1, 2 (use mlp for dense nets)")
    layers = [
        conv(a, b, dims=dims, kernel=kernel, padding=padding, groups=groups if i else 1, dilation=dilation)
        for i, (a, b) in enumerate(zip([in_channels, *widths], widths, strict=False))
    ]
    net = CNN(layers, dims=dims, activation=activation, head=_head(head, widths[-1], out_channels, dims))
    initialize_(net, gain=gain, readout=readout, seed=seed)
    net.law = plain_net(
        widths,
        in_features=in_channels,
        out_features=out_channels,
        offsets=kernel_offsets(kernel, dims, dilation=dilation),
        padding=padding,
        head=head,
        activation=activation,
        gain=gain,
        readout=readout,
        groups=groups,
    )
    return net


def resnet(
    depth: int,
    *,
    width: int = 64,
    dims: int = 2,
    kernel: Kernel = 3,
    branch: int | Sequence[str] = 2,
    c: float = 2.0,
    scaled: str = "all",
    padding: str = "circular",
    in_channels: int = 3,
    out_channels: int = 10,
    head: str = "pool",
    batchnorm: bool = False,
    dropout: float = 0.0,
    activation: str = "relu",
    gain: str = "forward",
    readout: str = "mean-field",
    projections: Sequence[int] = (),
    groups: int = 1,
    dilation: int = 1,
    seed: int | None = 0,
) -> ResNet:
    """A pre-activation residual net of ``depth`` blocks between a stem and the readout (paper, section 3.2).

    Args:
        depth: L = K, the number of blocks.
        width: n or C before the first projection.
        dims: 0 (dense: ``in_channels`` is the size of a flattened sample), 1 or 2 position axes.
        kernel: as in :func:`cnn`; of the stem and of every "conv" layer.
        branch: m, the number of weight layers in a block, or their kinds such as ("conv", "conv", "dense"), where
            "dense" acts on the channels of each position.
        c: residual variance constant, Var[W] = c/(K fan_in).
        scaled: "all" divides the variance of every branch layer by K, "last" only the last one's.
        padding: "circular" or "zero".
        in_channels: channels of a sample.
        out_channels: outputs, or outputs at each position (head "field").
        head: "pool" or "field"; a dense net has neither.
        batchnorm: batch norm before each activation of a branch.
        dropout: rate of the dropout before the last branch layer.
        activation: "relu", "gelu" or "linear".
        gain: the variance rule behind an activation: "forward", "derivative" or "paper", see :func:`ammup.initialize_`.
        readout: "mean-field" or "he".
        projections: numbers (from 1) of the blocks that double the width and, with positions, halve every axis; their
            skip is a 1×1 projection.
        groups: channel groups of the branch's "conv" layers.
        dilation: spacing of the kernel's taps.
        seed: stream of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or a size below 1, an even kernel with zero padding, or an unknown name.
    """
    sizes = {"width": width, "in_channels": in_channels, "out_channels": out_channels}
    _at_least_one(depth=depth, groups=groups, dilation=dilation, **sizes)
    if dims not in (0, 1, 2):
        raise InputError(f"dims={dims} is not known; allowed: 0 (dense), 1, 2")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout={dropout} must be at least 0 and below 1")
    if not set(projections) <= set(range(1, depth + 1)):
        raise InputError(f"projections={list(projections)} must be block numbers from 1 to depth={depth}")
    kinds = _branch_kinds(branch, dims)
    layer = _LayerMaker(dims=dims, kernel=kernel, padding=padding, groups=groups, dilation=dilation)
    norm = _batchnorm(dims) if batchnorm else None

    def block(number: int, a: int) -> ResidualBlock:
        projected = number in projections
        stride = 2 if projected else 1
        sizes = [a] + [2 * a if projected else a] * len(kinds)
        return ResidualBlock(
            [layer(kind, sizes[i], sizes[i + 1], stride=1 if i else stride) for i, kind in enumerate(kinds)],
            activation=activation,
            skip=layer("dense", a, sizes[-1], stride=stride) if projected else None,
            norms=[norm(size) for size in sizes[:-1]] if norm else (),
            dropout=dropout,
        )

    widths = [width * 2 ** sum(p < number for p in projections) for number in range(1, depth + 2)]
    net = ResNet(
        replace(layer, groups=1)("conv", in_channels, width),
        [block(number, a) for number, a in enumerate(widths[:-1], start=1)],
        dims=dims,
        activation=activation,
        head=_head(head, widths[-1], out_channels, dims),
    )
    initialize_(net, gain=gain, c=c, scaled=scaled, readout=readout, seed=seed)
    if not (batchnorm or dropout or projections):
        support = kernel_offsets(kernel, dims, dilation=dilation) if dims else DENSE
        net.law = residual_net(
            depth,
            width=width,
            in_features=in_channels,
            out_features=out_channels,
            branch=[support if kind == "conv" else ((0,) * dims,) for kind in kinds],
            stem=support,
            c=c,
            scaled=scaled,
            padding=padding,
            head=head,
            activation=activation,
            gain=gain,
            readout=readout,
            groups=[groups if kind == "conv" else 1 for kind in kinds],
        )
    return net


@dataclass(frozen=True, kw_only=True)
class _LayerMaker:
    """A residual net's weight layers by kind: "conv", or "dense" over the channels of each position."""

    dims: int
    kernel: Kernel
    padding: str
    groups: int
    dilation: int

    def __call__(self, kind: str, a: int, b: int, *, stride: int = 1) -> nn.Module:
        if self.dims == 0:
            return linear(a, b)
        if kind == "dense":
            return conv(a, b, dims=self.dims, kernel=(1,) * self.dims, padding=self.padding, stride=stride)
        return conv(
            a,
            b,
            dims=self.dims,
            kernel=self.kernel,
            padding=self.padding,
            stride=stride,
            groups=self.groups,
            dilation=self.dilation,
        )


def _widths(depth: int, width: Widths) -> list[int]:
    _at_least_one(depth=depth)
    if isinstance(width, float | str):
        raise InputError(f"width={width!r} must be a whole number, or one for each layer")
    widths = [width] * depth if isinstance(width, int) else list(width)
    if len(widths) != depth:
        raise InputError(f"width={width!r} gives {len(widths)} widths for depth={depth}; give one for each layer")
    for size in widths:
        _at_least_one(width=size)
    return widths


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"{name}={size!r} must be a whole number of at least 1")


def _branch_kinds(branch: int | Sequence[str], dims: int) -> tuple[str, ...]:
    kinds = (("conv" if dims else "dense"),) * branch if isinstance(branch, int) else tuple(branch)
    allowed = ("conv", "dense") if dims else ("dense",)
    if not kinds or not set(kinds) <= set(allowed):
        raise InputError(f"branch={branch!r} with dims={dims} must be a count of at least 1 or names from {allowed}")
    return kinds


def _batchnorm(dims: int) -> type[nn.BatchNorm1d] | type[nn.BatchNorm2d]:
    return nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d


def _head(head: str, channels: int, out_channels: int, dims: int) -> nn.Module:
    check_known("head", head, HEADS)
    if dims == 0:
        return linear(channels, out_channels)
    if head == "field":
        return conv(channels, out_channels, dims=dims, kernel=(1,) * dims, padding="circular")
    return nn.Sequential(MeanOverPositions(), linear(channels, out_channels))
