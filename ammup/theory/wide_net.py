"""Nets as the wide limit describes them: layers with their fan-in, fan-out, kernel support and weight variance."""

from dataclasses import dataclass
from itertools import pairwise

from ammup.architecture.architecture import Activation, Architecture
from ammup.architecture.kernels import DENSE, Offsets
from ammup.errors import InputError
from ammup.theory.activations import activation_moments, variance_gain


@dataclass(frozen=True, kw_only=True)
class WideLayer:
    """A weight layer.

    Attributes:
        fan_in: number of input channels of one output channel.
        fan_out: number of output channels that read one input channel.
        variance: the variance of a weight.
        offsets: the support of its kernel.
    """

    fan_in: int
    fan_out: int
    variance: float
    offsets: Offsets = DENSE


@dataclass(frozen=True, kw_only=True)
class WideNet:
    """A net: z_0 = W x, then blocks z ← W_m φ(… W_1 φ(z)), whose output is added to z in a residual net, and a readout.

    Attributes:
        stem: the first layer, which reads the raw inputs.
        blocks: the layers of every block; in a plain net each block is one layer.
        residual: whether a block's output is added to z. The depth units of a residual net are its blocks; those of a
            plain net are its stem and its blocks.
        readout: the last layer; its ``fan_out`` is the number M of outputs (at each position, with head "field").
        head: "pool" (mean over the positions) or "field".
        padding: "circular" or "zero".
        activation: "relu", "gelu", "linear", or a pair of functions φ and φ'.
    """

    stem: WideLayer
    blocks: tuple[tuple[WideLayer, ...], ...]
    residual: bool
    readout: WideLayer
    head: str
    padding: str
    activation: Activation

    @property
    def axes(self) -> int:
        """Number of position axes."""
        return len(self.stem.offsets[0])


def wide_net(architecture: Architecture) -> WideNet:
    """The layers of a net of one of the families, with the weight variances of `ammup.initialize_`.

    Raises:
        InputError: the net has batch norm, dropout or projections, for which no law is derived.
    """
    if not architecture.has_law:
        raise InputError("no finite-depth law is derived for nets with batch norm, dropout or projections")
    k, fan_in = len(architecture.offsets), architecture.in_features
    first = architecture.widths[0]
    return WideNet(
        stem=WideLayer(fan_in=fan_in, fan_out=first, variance=1 / (k * fan_in), offsets=architecture.offsets),
        blocks=_residual_blocks(architecture) if architecture.residual else _plain_blocks(architecture),
        residual=architecture.residual,
        readout=_readout(architecture),
        head=architecture.head,
        padding=architecture.padding,
        activation=architecture.activation,
    )


def _gain(architecture: Architecture) -> float:
    return variance_gain(activation_moments(architecture.activation), architecture.gain)


def _plain_blocks(architecture: Architecture) -> tuple[tuple[WideLayer, ...], ...]:
    groups, offsets, gain = architecture.groups, architecture.offsets, _gain(architecture)

    def layer(a: int, b: int) -> WideLayer:
        fan_in = a // groups
        return WideLayer(fan_in=fan_in, fan_out=b // groups, variance=gain / (len(offsets) * fan_in), offsets=offsets)

    return tuple((layer(a, b),) for a, b in pairwise(architecture.widths))


def _residual_blocks(architecture: Architecture) -> tuple[tuple[WideLayer, ...], ...]:
    kinds, gain = architecture.branch_kinds, _gain(architecture)
    origin = ((0,) * architecture.dims,)

    def layer(number: int, kind: str) -> WideLayer:
        fan = architecture.widths[0] // (architecture.groups if kind == "conv" else 1)
        offsets = architecture.offsets if kind == "conv" else origin
        scaled = architecture.scaled == "all" or number == len(kinds) - 1
        factor = architecture.c / architecture.depth if scaled else gain
        return WideLayer(fan_in=fan, fan_out=fan, variance=factor / (len(offsets) * fan), offsets=offsets)

    return (tuple(layer(number, kind) for number, kind in enumerate(kinds)),) * architecture.depth


def _readout(architecture: Architecture) -> WideLayer:
    width = architecture.widths[-1]
    variance = width**-2.0 if architecture.readout == "mean-field" else _gain(architecture) / width
    origin = ((0,) * architecture.dims,)
    return WideLayer(fan_in=width, fan_out=architecture.out_features, variance=variance, offsets=origin)
