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
    """Carry a learning rate that was tuned at one depth to another: lr · η*(to)/η*(from) (paper, section 5).

    Args:
        lr: the learning rate tuned at ``from_depth``.
        from_depth: L where ``lr`` was tuned. Every rule except "measured" counts L by the paper's convention, see
            :func:`ammup.minimal_depth`.
        to_depth: L of the returned learning rate.
        rule: "constant", "L^-1/2", "L^-1"; "am-mup", the paper's L^(-3/2); "finite-depth", the law of
            :func:`ammup.finite_depth_law`; "pathsum", the law of :func:`ammup.pathsum_lr` at equal kernels; or
            "measured", the measured curve, with log η* interpolated linearly in log L.
        measured: a DepthLaw, as :func:`ammup.depth_exponent` returns it for your own net, or a mapping from depth to
            η*. Both depths must lie within its range.
        family: "mlp", "cnn" or "resnet", for "finite-depth" and "pathsum" with the defaults of these two rules: He
            variances, ReLU, c = 2 on every branch layer, the label part of mse; a cnn with one position axis of size 8
            and kernel 3; a dense resnet with one ReLU outside its blocks.
        branch: required for "resnet", not allowed otherwise: m, the number of layers in each branch, or their kinds.
        law: a function from depths to η*, for "finite-depth" of another net, such as
            ``functools.partial(ammup.finite_depth_law, family="resnet", branch=2, scaled="last")``.
        path_sums: Σ_p L_p³ by depth, for "pathsum" of any net. It must contain both depths.

    Returns:
        The learning rate at ``to_depth``; ``lr`` if the depths are equal.

    Raises:
        InputError: the learning rate is not positive and finite, a depth is not a positive integer, the rule is
            unknown or lacks an argument that it needs, or a depth lies outside the measured ones.

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
    """A table of :func:`transfer_lr` by every rule that the given arguments allow.

    Args:
        lr: as in :func:`transfer_lr`, like all other arguments except ``level``.
        from_depth: L where ``lr`` was tuned.
        to_depth: L of the returned learning rates.
        measured: adds the rule "measured".
        family: adds the rules "finite-depth" and "pathsum".
        branch: required for "resnet", not allowed otherwise.
        law: adds the rule "finite-depth", instead of ``family``.
        path_sums: adds the rule "pathsum", instead of ``family``.
        level: confidence level of the intervals.

    Returns:
        One row for each rule: rule; lr; low and high, its confidence interval; assumption, a sentence. Only "measured"
        has an interval, from the standard errors of log10 η* (Student's t if the number of draws is known, otherwise
        normal). low and high are NaN for the other rules, and if a standard error is unknown. The interval covers the
        measurement error of η* only: ``lr`` is taken as exact, and proportional to η*.

    Raises:
        InputError: as for :func:`transfer_lr`, or the level lies outside (0, 1).

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
    transferred = [change.carry(lr, rule, level=level) for rule in change.rules]
    rows = [(t.rule, t.lr, *t.interval, t.assumption) for t in transferred]
    return pd.DataFrame(rows, columns=["rule", "lr", "low", "high", "assumption"])
