"""The families of the paper as functions that build and initialize a net: `mlp`, `cnn` and `resnet`."""

from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from ammup.architecture.architecture import Architecture, Widths
from ammup.architecture.kernels import Kernel
from ammup.models.initialization import initialize_
from ammup.models.layers import conv, linear
from ammup.models.nets import CNN, MLP, MeanOverPositions, ResidualBlock, ResNet

Net = TypeVar("Net", MLP, CNN, ResNet)


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
        gain: the variance rule of layers after an activation: "forward", "derivative" or "paper", see
            :func:`ammup.initialize_`.
        readout: "mean-field" (variance 1/n²) or "he".
        seed: seed of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or size is below 1, or a name is unknown.

    Example:
        >>> import ammup
        >>> net = ammup.mlp(3, width=64, in_features=32)
        >>> ammup.depth_units(net)
        ('layers.0', 'layers.1', 'layers.2')
    """
    architecture = Architecture(
        family="mlp",
        depth=depth,
        width=width,
        in_features=in_features,
        out_features=out_features,
        activation=activation,
        gain=gain,
        readout=readout,
    )
    net = MLP(architecture.widths, in_features=in_features, out_features=out_features, activation=activation)
    return _initialized(net, architecture, seed)


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
        gain: the variance rule of layers after an activation: "forward", "derivative" or "paper", see
            :func:`ammup.initialize_`.
        readout: "mean-field" (variance 1/C²) or "he".
        groups: channel groups of every layer except the first.
        dilation: spacing of the kernel's taps.
        seed: seed of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or size is below 1, a kernel with zero padding is even, or a name is unknown.
    """
    architecture = Architecture(
        family="cnn",
        depth=depth,
        width=width,
        in_features=in_channels,
        out_features=out_channels,
        dims=dims,
        kernel=kernel,
        padding=padding,
        dilation=dilation,
        groups=groups,
        head=head,
        activation=activation,
        gain=gain,
        readout=readout,
    )
    widths = architecture.widths
    layers = [
        _conv(architecture, a, b, groups=groups if i else 1)
        for i, (a, b) in enumerate(zip([in_channels, *widths], widths, strict=False))
    ]
    net = CNN(layers, dims=dims, activation=activation, head=_head(architecture))
    return _initialized(net, architecture, seed)


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
        kernel: as in :func:`cnn`, for the stem and every "conv" layer.
        branch: m, the number of weight layers in a block, or a sequence of their kinds such as ("conv", "conv",
            "dense"); "dense" acts on the channels of each position.
        c: residual variance constant, Var[W] = c/(K fan_in).
        scaled: "all" divides the variance of every branch layer by K, "last" only that of the last layer.
        padding: "circular" or "zero".
        in_channels: channels of a sample.
        out_channels: outputs, or outputs at each position (head "field").
        head: "pool" or "field", as in :func:`cnn`; ignored in a dense net.
        batchnorm: batch norm before each activation of a branch.
        dropout: rate of the dropout before the last branch layer.
        activation: "relu", "gelu" or "linear".
        gain: the variance rule of layers after an activation: "forward", "derivative" or "paper", see
            :func:`ammup.initialize_`.
        readout: "mean-field" or "he".
        projections: numbers (from 1) of the blocks that double the width and, with positions, halve every axis; their
            skip is a 1×1 projection.
        groups: channel groups of the branch's "conv" layers.
        dilation: spacing of the kernel's taps.
        seed: seed of the weights, see :func:`ammup.initialize_`.

    Raises:
        InputError: a depth or size is below 1, a kernel with zero padding is even, or a name is unknown.
    """
    architecture = Architecture(
        family="resnet",
        depth=depth,
        width=width,
        in_features=in_channels,
        out_features=out_channels,
        dims=dims,
        kernel=kernel,
        padding=padding,
        dilation=dilation,
        groups=groups,
        head=head,
        activation=activation,
        gain=gain,
        readout=readout,
        branch=branch,
        c=c,
        scaled=scaled,
        projections=projections,
        batchnorm=batchnorm,
        dropout=dropout,
    )
    net = ResNet(
        _branch_layer(architecture, "conv" if dims else "dense", in_channels, width, groups=1),
        [_block(architecture, number, activation) for number in range(1, depth + 1)],
        dims=dims,
        activation=activation,
        head=_head(architecture),
    )
    return _initialized(net, architecture, seed)


def _initialized(net: Net, architecture: Architecture, seed: int | None) -> Net:
    initialize_(
        net,
        gain=architecture.gain,
        c=architecture.c,
        scaled=architecture.scaled,
        readout=architecture.readout,
        seed=seed,
    )
    return net


def _conv(architecture: Architecture, a: int, b: int, *, groups: int, stride: int = 1) -> nn.Module:
    return conv(
        a,
        b,
        dims=architecture.dims,
        kernel=architecture.kernel,
        padding=architecture.padding,
        stride=stride,
        groups=groups,
        dilation=architecture.dilation,
    )


def _pointwise(architecture: Architecture, a: int, b: int, *, stride: int = 1) -> nn.Module:
    """A dense layer over the channels of each position."""
    if architecture.dims == 0:
        return linear(a, b)
    kernel = (1,) * architecture.dims
    return conv(a, b, dims=architecture.dims, kernel=kernel, padding=architecture.padding, stride=stride)


def _branch_layer(architecture: Architecture, kind: str, a: int, b: int, *, groups: int, stride: int = 1) -> nn.Module:
    if kind == "dense":
        return _pointwise(architecture, a, b, stride=stride)
    return _conv(architecture, a, b, groups=groups, stride=stride)


def _block(architecture: Architecture, number: int, activation: str) -> ResidualBlock:
    """Residual block with this number, counted from 1."""
    before, after = architecture.widths[number - 1 : number + 1]
    projected = number in architecture.projections
    stride = 2 if projected else 1
    kinds = architecture.branch_kinds
    sizes = [before] + [after] * len(kinds)
    norm = nn.BatchNorm2d if architecture.dims == 2 else nn.BatchNorm1d
    return ResidualBlock(
        [
            _branch_layer(
                architecture, kind, sizes[i], sizes[i + 1], groups=architecture.groups, stride=1 if i else stride
            )
            for i, kind in enumerate(kinds)
        ],
        activation=activation,
        skip=_pointwise(architecture, before, after, stride=stride) if projected else None,
        norms=[norm(size) for size in sizes[:-1]] if architecture.batchnorm else (),
        dropout=architecture.dropout,
    )


def _head(architecture: Architecture) -> nn.Module:
    channels, outputs = architecture.widths[-1], architecture.out_features
    if architecture.dims == 0:
        return linear(channels, outputs)
    if architecture.head == "field":
        return conv(channels, outputs, dims=architecture.dims, kernel=(1,) * architecture.dims, padding="circular")
    return nn.Sequential(MeanOverPositions(), linear(channels, outputs))
