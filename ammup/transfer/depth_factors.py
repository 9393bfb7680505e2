"""Closed forms from the paper: overlap counts, boundary fractions and the residual comparison factor."""

import math
from collections.abc import Sequence

import numpy as np

from ammup.errors import InputError, checked_integer
from ammup.stats.depths import checked_depths


def overlap_sum(depth: int) -> int:
    """Σ_{h1,h2≤l} min(h1, h2) = l(l+1)(2l+1)/6, the paper's count of overlaps at unit l (appendix B).

    Args:
        depth: l, an integer of at least 1.

    Raises:
        InputError: the depth is invalid.

    Example:
        >>> from ammup.transfer.depth_factors import overlap_sum
        >>> overlap_sum(3)
        14
    """
    (unit,) = checked_depths([depth])
    return unit * (unit + 1) * (2 * unit + 1) // 6


def overlap_sum_of_law(depth: int, growth: float = 2.0) -> float:
    """Σ_{h1,h2≤l} [1 + r (l - max(h1, h2))] = l² + r l(l-1)(2l-1)/6: the law's version of :func:`overlap_sum`.

    It is S_l of a plain net of gain 1 in the wide limit, at η = σ_y = a_h = 1 (docs/explanation/wide_limit.md). Both
    sums grow like l³: this one with factor r/3, :func:`overlap_sum` with 1/3. At r = 1 they are equal.

    Args:
        depth: l, an integer of at least 1.
        growth: r, the growth per layer of the normalized second spectral moment: 2 for ReLU, 1 for a linear net.

    Raises:
        InputError: the depth is invalid, or the growth is negative or not finite.

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

    This is the order of the correction to η* by the zero padding of one layer; the paper takes the maximum over layers.

    Args:
        offsets: the kernel's support, one integer for each axis, as from
            :func:`ammup.architecture.kernels.kernel_offsets`.
        sizes: positions along each axis.

    Returns:
        A number of at least 0, which can exceed 1 if the kernel is as large as the map.

    Raises:
        InputError: there are no offsets or axes, an offset has another number of axes than ``sizes``, or a size is
            below 1.

    Example:
        >>> from ammup.transfer.depth_factors import boundary_fraction
        >>> boundary_fraction([(-1,), (0,), (1,)], [8])
        0.125
    """
    shape = [checked_integer("sizes", size, at_least=1) for size in sizes]
    rows = [_checked_offset(offset, len(shape)) for offset in offsets]
    if not shape or not rows:
        raise InputError(f"offsets={offsets!r} and sizes={sizes!r}: give at least one offset and one axis")
    reach = np.abs(rows).max(axis=0)
    return float(np.sum(reach / shape))


def residual_factor(block: int, *, n_blocks: int, c: float = 2.0) -> float:
    """r_l = (1 + c/(2K))^l, the growth of E T_l after l of K blocks (Lemma 3 and its comparison factor).

    It applies to one-layer branches z ← z + W relu(z) with Var[W] = c/(K n). It is the growth of a mean (E T_l); S_l
    is a mean square, which `ammup.theory.wide_limit` computes.

    Args:
        block: l, from 0 to ``n_blocks``.
        n_blocks: K.
        c: the residual variance constant of the paper's section 3.2, above 0.

    Raises:
        InputError: the block lies outside 0..K, or c is not positive and finite.

    Example:
        >>> from ammup.transfer.depth_factors import residual_factor
        >>> round(residual_factor(2, n_blocks=4, c=2.0), 6)
        1.5625
    """
    blocks = checked_integer("n_blocks", n_blocks, at_least=1)
    unit = checked_integer("block", block, at_least=0)
    if unit > blocks:
        raise InputError(f"block={unit} exceeds n_blocks={blocks}; give 0 to {blocks}")
    # (1 + x)^l through log1p: the sum 1 + c/(2K) loses the digits of a small c/(2K).
    return math.exp(unit * math.log1p(_variance_constant(c) / (2 * blocks)))


def residual_factor_bounds(c: float = 2.0) -> tuple[float, float]:
    """(1, e^(c/2)), the bounds of :func:`residual_factor` for every block and number of blocks (appendix C).

    Raises:
        InputError: c is not positive and finite.
    """
    return 1.0, math.exp(_variance_constant(c) / 2)


def _variance_constant(c: float) -> float:
    if not 0 < c < math.inf:
        raise InputError(f"c={c!r} must be positive and finite; the paper's Var[W] = c/(K n) has c = 2 for He")
    return float(c)


def _checked_offset(offset: object, axes: int) -> tuple[int, ...]:
    if not isinstance(offset, tuple | list) or len(offset) != axes:
        raise InputError(f"offsets contain {offset!r}, sizes have {axes} axes; give tuples of {axes} integers")
    if not all(isinstance(step, int | np.integer) for step in offset):
        raise InputError(f"offsets contain {offset!r}; a step must be an integer of positions")
    return tuple(int(step) for step in offset)
