"""Rules that carry a learning rate from one depth to another."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ammup.transfer.measured_curve import Measured
from ammup.transfer.rules import DepthChange, Law


def transfer_lr(
    lr: float,
    from_depth: int,
    to_depth: int,
    *,
    rule: str = "measured",
    measured: Measured | None = None,
    family: str | None = None,
    branch: int | Sequence[str] | None = None,
    law: Law | None = None,
    path_sums: Mapping[int, float] | None = None,
) -> float:
    """A learning rate that was tuned at one depth, carried to another: lr · η*(to)/η*(from) (paper, section 5).

    Args:
        lr: the learning rate tuned at ``from_depth``.
        from_depth: L there; every rule but "measured" counts it by the paper's convention, see
            :func:`ammup.minimal_depth`.
        to_depth: L where a learning rate is wanted.
        rule: "constant", "L^-1/2", "L^-1"; "am-mup", the paper's L^(-3/2); "finite-depth", the law of
            :func:`ammup.finite_depth_law`; "pathsum", the law of :func:`ammup.pathsum_lr` at equal kernels; or
            "measured", the measured curve, interpolated on a straight line of log η* against log L.
        measured: a DepthLaw, as :func:`ammup.depth_exponent` measures it on your own net, or a mapping from depth to
            η*. It must span both depths.
        family: "mlp", "cnn" or "resnet", for "finite-depth" and "pathsum" with what those two take by default: He
            variances, ReLU, c = 2 on every branch layer, the label part of mse; a cnn in one dimension of 8 positions
            and kernel 3; a dense resnet, with one ReLU outside of its blocks.
        branch: of a "resnet" only, and needed there: m, the number of layers in each branch, or their kinds.
        law: η* at given depths, for "finite-depth" of another net: such as
            ``functools.partial(ammup.finite_depth_law, family="resnet", branch=2, scaled="last")``.
        path_sums: Σ_p L_p³ by depth, for "pathsum" of any net. It must hold both depths.

    Returns:
        The learning rate at ``to_depth``; ``lr`` itself where the depths are equal.

    Raises:
        InputError: a learning rate that is not positive and finite, a depth that is not whole and positive, an unknown
            rule, one that misses what it needs, or a depth at which nothing was measured.

    Example:
        >>> from ammup import transfer_lr
        >>> round(transfer_lr(0.1, 8, 32, rule="am-mup"), 9)
        0.0125
        >>> round(transfer_lr(0.1, 8, 16, rule="finite-depth", family="mlp"), 4)
        0.0415
        >>> round(transfer_lr(0.1, 8, 16, measured={4: 0.8, 16: 0.2}), 9)
        0.05
    """
    change = DepthChange(
        from_depth=from_depth,
        to_depth=to_depth,
        measured=measured,
        family=family,
        branch=branch,
        law=law,
        path_sums=path_sums,
    )
    return change.carry(lr, rule).lr


def transfer_table(
    lr: float,
    from_depth: int,
    to_depth: int,
    *,
    measured: Measured | None = None,
    family: str | None = None,
    branch: int | Sequence[str] | None = None,
    law: Law | None = None,
    path_sums: Mapping[int, float] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """:func:`transfer_lr` by every rule that what is given allows, to choose from.

    Args:
        lr: as in :func:`transfer_lr`, like all that follow but the last.
        from_depth: where ``lr`` was tuned.
        to_depth: where a learning rate is wanted.
        measured: allows "measured".
        family: allows "finite-depth" and "pathsum".
        branch: of a "resnet" only.
        law: allows "finite-depth", in place of ``family``.
        path_sums: allows "pathsum", in place of ``family``.
        level: confidence level of the intervals.

    Returns:
        One row a rule: rule; lr; low, high, its confidence interval; assumption, a sentence. Only "measured" has an
        interval, from the standard errors of log10 η* (Student's t where the number of draws is known, otherwise
        normal); low and high are NaN for the other rules, and where a standard error is not known. It is about the
        measurement: that the tuned learning rate goes like η* is the assumption, and ``lr`` is taken as exact.

    Raises:
        InputError: as :func:`transfer_lr`, or a level outside (0, 1).

    Example:
        >>> from ammup import transfer_table
        >>> transfer_table(0.1, 8, 32, measured={8: 0.16, 32: 0.04})[["rule", "lr"]].round(4).values.tolist()
        [['constant', 0.1], ['L^-1/2', 0.05], ['L^-1', 0.025], ['am-mup', 0.0125], ['measured', 0.025]]
    """
    change = DepthChange(
        from_depth=from_depth,
        to_depth=to_depth,
        measured=measured,
        family=family,
        branch=branch,
        law=law,
        path_sums=path_sums,
    )
    found = [change.carry(lr, rule, level=level) for rule in change.rules]
    rows = [(t.rule, t.lr, *t.interval, t.assumption) for t in found]
    return pd.DataFrame(rows, columns=["rule", "lr", "low", "high", "assumption"])
