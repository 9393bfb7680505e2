"""Plain and residual nets of the theory, written down by their widths and the offsets of their kernels."""

from collections.abc import Sequence
from typing import Any

from ammup.architecture.architecture import Architecture
from ammup.architecture.kernels import DENSE, Offsets
from ammup.theory.wide_net import WideNet, wide_net


def plain_net(widths: Sequence[int], *, offsets: Offsets = DENSE, **fields: Any) -> WideNet:
    """One layer for each of ``widths``, every one with the same kernel."""
    dims = len(offsets[0])
    family = "cnn" if dims else "mlp"
    return wide_net(
        Architecture(family=family, depth=len(widths), width=widths, dims=dims, kernel=list(offsets), **fields)
    )


def residual_net(
    n_blocks: int, *, width: int, stem: Offsets = DENSE, branch: Sequence[str] = ("dense",), **fields: Any
) -> WideNet:
    """Blocks of "conv" layers with the stem's kernel and "dense" ones."""
    dims = len(stem[0])
    return wide_net(
        Architecture(
            family="resnet", depth=n_blocks, width=width, dims=dims, kernel=list(stem), branch=branch, **fields
        )
    )
