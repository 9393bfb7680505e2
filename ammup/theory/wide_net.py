"""Nets as their wide limit sees them: layers by what they connect and by the variance of their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ammup.errors import InputError, check_known
from ammup.theory.activations import READOUTS, Activation, activation_moments, variance_gain
from ammup.theory.positions import PADDINGS, Offsets

DENSE: Offsets = ((),)
FAMILIES = ("mlp", "cnn", "resnet")
HEADS = ("pool", "field")
SCALED = ("all", "last")


@dataclass(frozen=True, kw_only=True)
class WideLayer:
    """A weight layer.

    Attributes:
        fan_in: channels that one output channel reads.
        fan_out: output channels that read one channel.
        variance: of a weight.
        offsets: the support of its kernel.
    """

    fan_in: int
    fan_out: int
    variance: float
    offsets: Offsets = DENSE


@dataclass(frozen=True, kw_only=True)
class WideNet:
    """A net z_0 = W x, then blocks z ← W_m φ(… W_1 φ(z)), added to z where it is residual, and a readout.

    Attributes:
        stem: the first layer, fed by the raw inputs.
        blocks: the layers of every block; a plain net has one layer in each.
        residual: whether a block adds to z. Then blocks are the depth units; otherwise the stem is one too.
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

    def __post_init__(self) -> None:
        check_known("padding", self.padding, PADDINGS)
        check_known("head", self.head, HEADS)
        activation_moments(self.activation)

    @property
    def axes(self) -> int:
        """Number of position axes."""
        return len(self.stem.offsets[0])


def plain_net(
    widths: Sequence[int],
    *,
    in_features: int,
    out_features: int,
    offsets: Offsets = DENSE,
    padding: str = "circular",
    head: str = "field",
    activation: Activation = "relu",
    gain: str = "forward",
    readout: str = "he",
    groups: int = 1,
) -> WideNet:
    """A plain net of one layer for each of ``widths``, initialized as `ammup.initialize_` does it.

    Raises:
        InputError: an unknown name, or no layer.
    """
    if not widths:
        raise InputError("a net has at least one layer before the readout")
    factor = variance_gain(activation_moments(activation), gain)
    k = len(offsets)

    def layer(a: int, b: int) -> WideLayer:
        fan_in = a // groups
        return WideLayer(fan_in=fan_in, fan_out=b // groups, variance=factor / (k * fan_in), offsets=offsets)

    first = WideLayer(fan_in=in_features, fan_out=widths[0], variance=1 / (k * in_features), offsets=offsets)
    return WideNet(
        stem=first,
        blocks=tuple((layer(a, b),) for a, b in pairwise(widths)),
        residual=False,
        readout=_readout(widths[-1], out_features, offsets, factor, readout),
        head=head,
        padding=padding,
        activation=activation,
    )


def residual_net(
    n_blocks: int,
    *,
    width: int,
    in_features: int,
    out_features: int,
    branch: Sequence[Offsets] = (DENSE,),
    stem: Offsets = DENSE,
    c: float = 2.0,
    scaled: str = "all",
    padding: str = "circular",
    head: str = "field",
    activation: Activation = "relu",
    gain: str = "forward",
    readout: str = "he",
    groups: Sequence[int] = (),
) -> WideNet:
    """A residual net of ``n_blocks`` blocks, initialized as `ammup.initialize_` does it (paper, section 3.2).

    Args:
        n_blocks: K.
        width: n or C.
        in_features: features of a sample, or channels at each position.
        out_features: outputs (at each position, with head "field").
        branch: the support of each layer in a branch.
        stem: the support of the first layer.
        c: residual variance constant.
        scaled: "all" or "last": which branch layers have variance c/(K fan_in).
        padding: as in :class:`WideNet`.
        head: as in :class:`WideNet`.
        activation: as in :class:`WideNet`.
        gain: the variance rule of the other layers.
        readout: "he" or "mean-field".
        groups: channel groups of each layer in a branch; one where not given.

    Raises:
        InputError: an unknown name, or no block.
    """
    check_known("scaled", scaled, SCALED)
    if n_blocks < 1 or not branch:
        raise InputError(f"n_blocks={n_blocks}, branch={list(branch)!r}: give at least one block of one layer")
    factor = variance_gain(activation_moments(activation), gain)

    def layer(number: int) -> WideLayer:
        fan = width // (groups[number] if groups else 1)
        scale = c / n_blocks if scaled == "all" or number == len(branch) - 1 else factor
        k = len(branch[number])
        return WideLayer(fan_in=fan, fan_out=fan, variance=scale / (k * fan), offsets=branch[number])

    return WideNet(
        stem=WideLayer(fan_in=in_features, fan_out=width, variance=1 / (len(stem) * in_features), offsets=stem),
        blocks=(tuple(layer(number) for number in range(len(branch))),) * n_blocks,
        residual=True,
        readout=_readout(width, out_features, stem, factor, readout),
        head=head,
        padding=padding,
        activation=activation,
    )


def _readout(width: int, out_features: int, offsets: Offsets, factor: float, rule: str) -> WideLayer:
    check_known("readout", rule, READOUTS)
    variance = width**-2.0 if rule == "mean-field" else factor / width
    origin = ((0,) * len(offsets[0]),)
    return WideLayer(fan_in=width, fan_out=out_features, variance=variance, offsets=origin)
