"""`Architecture`: a frozen description of a net of one of the paper's families and of its initialization."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ammup.architecture.kernels import DENSE, PADDINGS, Kernel, Offsets, kernel_offsets
from ammup.arrays import Array
from ammup.errors import InputError, check_known

Function = Callable[[Array], Array]
Activation = str | tuple[Function, Function]  # a name from ACTIVATIONS, or the functions φ and φ'
Widths = int | Sequence[int]

FAMILIES = ("mlp", "cnn", "resnet")
ACTIVATIONS = ("relu", "gelu", "linear")
GAINS = ("forward", "derivative", "paper")
READOUTS = ("mean-field", "he")
HEADS = ("pool", "field")
SCALED = ("all", "last")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A net of one of the families, with the variance rules of its weights (paper, sections 2.3 and 3.2).

    `ammup.models.families` builds the net; `ammup.theory` computes its finite-depth law.

    Attributes:
        family: "mlp", "cnn" (stride 1) or "resnet" (a stem, then pre-activation blocks).
        depth: L, the number of layers before the readout, or of residual blocks.
        width: n or C; a plain net also takes a sequence, one width for each layer.
        in_features: features of a flattened sample, or channels at each position.
        out_features: M, the number of outputs, or of outputs at each position (head "field").
        dims: number of position axes: 0 (dense), 1 or 2.
        kernel: an int (equal sides), a tuple of ints (a rectangle), or a list of offsets.
        padding: "circular" or "zero".
        dilation: spacing of the kernel's taps.
        groups: channel groups of every convolution except the first.
        head: "pool" (mean over the positions) or "field" (outputs at each position).
        activation: "relu", "gelu", "linear"; for the finite-depth law also a pair of functions φ and φ'.
        gain: the variance rule of a weight layer after an activation: "forward", "derivative" or "paper".
        readout: variance of the readout: "mean-field" (1/width²) or "he".
        branch: number of weight layers in a residual branch, or a sequence of their kinds such as ("conv", "dense").
        c: residual variance constant, Var[W] = c/(K fan_in).
        scaled: "all" if every branch layer has this variance, "last" if only the last layer of each branch has it.
        projections: the blocks, counted from 1, that double the width and halve every position axis.
        batchnorm: batch norm before each activation of a branch.
        dropout: rate of the dropout before the last branch layer.

    Raises:
        InputError: a size is not an integer of at least 1, a name is unknown, or another field is out of range.
    """

    family: str
    depth: int
    width: Widths
    in_features: int
    out_features: int
    dims: int = 0
    kernel: Kernel = 3
    padding: str = "circular"
    dilation: int = 1
    groups: int = 1
    head: str = "field"
    activation: Activation = "relu"
    gain: str = "forward"
    readout: str = "he"
    branch: int | Sequence[str] = 1
    c: float = 2.0
    scaled: str = "all"
    projections: Sequence[int] = ()
    batchnorm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_names()
        self._check_sizes()
        if self.residual:
            self._check_blocks()
        if self.dims and not isinstance(self.kernel, int | tuple):
            object.__setattr__(self, "kernel", self.offsets)
        # Sequences are converted to tuples, so that descriptions can be compared and hashed.
        for name in ("width", "branch", "projections"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if isinstance(value, int) else tuple(value))

    @property
    def residual(self) -> bool:
        """Whether the net consists of residual blocks, whose output is added to their input."""
        return self.family == "resnet"

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each layer of a plain net; for a residual net, that of each block's input and of the last output."""
        if isinstance(self.width, int):
            if not self.residual:
                return (self.width,) * self.depth
            blocks = range(1, self.depth + 2)
            doublings = [sum(projection < block for projection in self.projections) for block in blocks]
            return tuple(self.width * 2**times for times in doublings)
        return tuple(self.width)

    @property
    def offsets(self) -> Offsets:
        """The offsets in the kernel's support; a dense layer has a single, empty offset."""
        return kernel_offsets(self.kernel, self.dims, dilation=self.dilation) if self.dims else DENSE

    @property
    def branch_kinds(self) -> tuple[str, ...]:
        """The kind of each weight layer in a residual branch: "conv", or "dense" over the channels of each position."""
        if isinstance(self.branch, int):
            return ("conv" if self.dims else "dense",) * self.branch
        return tuple(self.branch)

    @property
    def has_law(self) -> bool:
        """Whether a finite-depth law is derived for this net: only without batch norm, dropout and projections."""
        return not (self.batchnorm or self.dropout or self.projections)

    def _check_names(self) -> None:
        allowed = {
            "family": FAMILIES,
            "padding": PADDINGS,
            "head": HEADS,
            "gain": GAINS,
            "readout": READOUTS,
            "scaled": SCALED,
        }
        for name, names in allowed.items():
            check_known(name, getattr(self, name), names)
        if isinstance(self.activation, str):
            check_known("activation", self.activation, ACTIVATIONS)

    def _check_sizes(self) -> None:
        kind = "features" if self.family == "mlp" else "channels"
        sizes = {f"in_{kind}": self.in_features, f"out_{kind}": self.out_features}
        _check_positive(depth=self.depth, **sizes, groups=self.groups, dilation=self.dilation)
        if self.family == "cnn" and self.dims not in (1, 2):
            raise InputError(f"dims={self.dims} is not a convolution; allowed: 1, 2 (use mlp for dense nets)")
        if self.dims not in (0, 1, 2):
            raise InputError(f"dims={self.dims} is unknown; expected 0 (dense), 1 or 2")
        if self.residual or isinstance(self.width, int):
            _check_positive(width=self.width)
            return
        if isinstance(self.width, float | str):
            raise InputError(f"width={self.width!r}: expected an integer, or one for each layer")
        if len(self.width) != self.depth:
            given = f"width={self.width!r} gives {len(self.width)} widths for depth={self.depth}"
            raise InputError(f"{given}; give one for each layer")
        for size in self.width:
            _check_positive(width=size)

    def _check_blocks(self) -> None:
        if not (np.isfinite(self.c) and self.c > 0):
            raise InputError(f"c={self.c} must be positive and finite")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout={self.dropout} must be at least 0 and below 1")
        if not set(self.projections) <= set(range(1, self.depth + 1)):
            given = f"projections={list(self.projections)}"
            raise InputError(f"{given} must be block numbers from 1 to depth={self.depth}")
        allowed = ("conv", "dense") if self.dims else ("dense",)
        if not self.branch_kinds or not set(self.branch_kinds) <= set(allowed):
            given = f"branch={self.branch!r} with dims={self.dims}"
            raise InputError(f"{given} must be a count of at least 1 or names from {allowed}")


def _check_positive(**sizes: object) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"{name}={size!r}: expected an integer of at least 1")
