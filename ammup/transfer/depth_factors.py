"""Small closed forms of the paper: overlap counts, boundary fractions and the residual comparison factor."""

import math
from collections.abc import Sequence

import numpy as np

from ammup.errors import InputError, checked_whole
from ammup.stats.power_law import checked_depths


def overlap_sum(depth: int) -> int:
    """Σ_{h1,h2≤l} min(h1, h2) = l(l+1)(2l+1)/6, the paper's count of overlaps at unit l (appendix B).

    Args:
        depth: l, a whole number of at least 1.

    Raises:
        InputError: an unusable depth.

    Example:
        >>> from ammup.transfer.depth_factors import overlap_sum
        >>> overlap_sum(3)
        14
    """
    (unit,) = checked_depths([depth])
    return unit * (unit + 1) * (2 * unit + 1) // 6


def overlap_sum_of_law(depth: int, growth: float = 2.0) -> float:
    """Σ_{h1,h2≤l} [1 + r (l - max(h1, h2))] = l² + r l(l-1)(2l-1)/6, which the law has for :func:`overlap_sum`.

    S_l of a plain net of gain 1 in the wide limit, at η = σ_y = a_h = 1 (theory, section 2). Both sums
    grow like l³, with factors r/3 and 1/3; at r = 1 they are equal.

    Args:
        depth: l, a whole number of at least 1.
        growth: r, the growth a layer of the normalised second spectral moment: 2 for ReLU, 1 for a linear net.

    Raises:
        InputError: an unusable depth, or a growth that is negative or not finite.

    Example:
        >>> from ammup.transfer.depth_factors import overlap_sum_of_law
        >>> overlap_sum_of_law(3)
        19.0
    """
    (unit,) = checked_depths([depth])
    if not 0 <= growth < math.inf:
        raise InputError(f"growth={growth!r} must be finite and at least 0; give E φ'⁴/(E φ'²)², 2 for ReLU")
    return unit**2 + float(growth) * (unit * (unit - 1) * (2 * unit - 1) // 6)


def boundary_fraction(offsets: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> float:
    """Σ over axes of max_Δ |Δ_axis| / size_axis: s/N in 1D, s_h/H + s_w/W in 2D (Theorem 2).

    The order of the correction that zero padding makes to η*, for one layer; over layers the paper takes the maximum.

    Args:
        offsets: the kernel's support, one whole number an axis, as `ammup.architecture.kernels.kernel_offsets` has it.
        sizes: positions along each axis.

    Returns:
        A number of at least 0; above 1 where the kernel reaches beyond the whole map.

    Raises:
        InputError: no offsets or axes, an offset of another number of axes than ``sizes``, or a size below 1.

    Example:
        >>> from ammup.transfer.depth_factors import boundary_fraction
        >>> boundary_fraction([(-1,), (0,), (1,)], [8])
        0.125
    """
    shape = [checked_whole("sizes", size, at_least=1) for size in sizes]
    rows = [_offset(offset, len(shape)) for offset in offsets]
    if not shape or not rows:
        raise InputError(f"offsets={offsets!r} and sizes={sizes!r}: give at least one offset and one axis")
    reach = np.abs(rows).max(axis=0)
    return float(np.sum(reach / shape))


def residual_factor(block: int, *, n_blocks: int, c: float = 2.0) -> float:
    """r_l = (1 + c/(2K))^l, how much E T_l has grown after l of K blocks (Lemma 3 and its comparison factor).

    For one-layer branches z ← z + W relu(z) with Var[W] = c/(K n). It is the growth of a mean (E T_l); the mean square
    that makes S_l needs `ammup.theory.wide_limit`.

    Args:
        block: l, from 0 to ``n_blocks``.
        n_blocks: K.
        c: the residual variance constant of the paper's section 3.2, above 0.

    Raises:
        InputError: a block outside 0..K, or a c that is not positive and finite.

    Example:
        >>> from ammup.transfer.depth_factors import residual_factor
        >>> round(residual_factor(2, n_blocks=4, c=2.0), 6)
        1.5625
    """
    blocks = checked_whole("n_blocks", n_blocks, at_least=1)
    unit = checked_whole("block", block, at_least=0)
    if unit > blocks:
        raise InputError(f"block={unit} lies behind the last of n_blocks={blocks}; give 0 to {blocks}")
    # (1 + x)^l by way of log1p, as 1 + c/(2K) loses the digits of a small c/(2K).
    return math.exp(unit * math.log1p(_variance_constant(c) / (2 * blocks)))


def residual_factor_bounds(c: float = 2.0) -> tuple[float, float]:
    """(1, e^(c/2)), between which :func:`residual_factor` lies at every block and number of blocks (appendix C).

    Raises:
        InputError: a c that is not positive and finite.
    """
    return 1.0, math.exp(_variance_constant(c) / 2)


def _variance_constant(c: float) -> float:
    if not 0 < c < math.inf:
        raise InputError(f"c={c!r} must be positive and finite; the paper's Var[W] = c/(K n) has c = 2 for He")
    return float(c)


def _offset(offset: object, axes: int) -> tuple[int, ...]:
    if not isinstance(offset, tuple | list) or len(offset) != axes:
        raise InputError(f"offsets hold {offset!r}, sizes have {axes} axes; give a tuple of {axes} whole numbers each")
    if not all(isinstance(step, int | np.integer) for step in offset):
        raise InputError(f"offsets hold {offset!r}; a step must be a whole number of positions")
    return tuple(int(step) for step in offset)
