"""Rules that carry a learning rate from one depth to another."""

import math
import warnings
from collections.abc import Mapping, Sequence

import pandas as pd

from ammup.errors import UnreliableTransfer, checked_integer
from ammup.stats.depths import checked_depths
from ammup.transfer.curve_shape import CurveShape, TransferWarning, sharpness_warnings
from ammup.transfer.measured_curve import Measured
from ammup.transfer.recommendation import plausible_range, recommend
from ammup.transfer.rules import MEASURED, PARAMETRIZATION, DepthChange, Law, Transferred
from ammup.transfer.setting import TrainingSetting

COLUMNS = ("depth", "rule", "lr", "low", "high", "price", "assumption", "recommended", "reason")


def transfer_lr(
    lr: float,
    from_depth: int,
    to_depth: int,
    *,
    rule: str = "measured",
    measured: Measured | None = None,
    late: Measured | None = None,
    sharpness: Measured | None = None,
    edges: Measured | None = None,
    family: str | None = None,
    branch: int | Sequence[str] | None = None,
    law: Law | None = None,
    path_sums: Mapping[int, float] | None = None,
) -> float:
    """Carry a learning rate that was tuned at one depth to another: lr · η*(to)/η*(from) (paper, section 5).

    The learning rate holds for one learning rate for all parameters. For the groups of
    ``param_groups(rule="fan-in")``, pass ``tuned="global"`` there, which compensates. The rules hold for plain SGD at a
    constant learning rate; :func:`transfer_table` recommends one of them.

    Args:
        lr: the learning rate tuned at ``from_depth``.
        from_depth: L where ``lr`` was tuned. Every rule except "measured" counts L by the paper's convention, see
            :func:`ammup.minimal_depth`.
        to_depth: L of the returned learning rate.
        rule: "constant", "L^-1/2", "L^-1"; "am-mup", the paper's L^(-3/2); "finite-depth", the law of
            :func:`ammup.finite_depth_law`; "pathsum", the law of :func:`ammup.pathsum_lr` at equal kernels;
            "measured", the measured curve, with log η* interpolated linearly in log L; "measured-late", "sharpness" and
            "edge", the same for ``late``, ``sharpness`` and ``edges``; or "sharpness-fit", the power law fitted to
            ``sharpness`` at three depths or more.
        measured: a DepthLaw, as :func:`ammup.depth_exponent` returns it for your own net, or a mapping from depth to
            η*. Both depths must lie within its range.
        late: a LateCurve, as :func:`ammup.late_curve` returns it, or a mapping from depth to η*.
        sharpness: a DepthLaw, as :func:`ammup.depth_exponent` returns it with ``measure="sharpness"``, or a mapping
            from depth to 2/λ. "sharpness-fit" extrapolates it to other depths.
        edges: an EdgeCurve, as :func:`ammup.probe_edges` returns it; a SweepLaw of :func:`ammup.fit_sweep` with
            ``kind="edge"``, whose flagged depths are left out; or a mapping from depth to the edge.
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

    Warns:
        UnreliableTransfer: the rule is "measured" and the measured curve should not be trusted, or "sharpness" or
            "sharpness-fit" and gradients change exponentially at initialization, see :func:`transfer_table`.

    Example:
        >>> from ammup import transfer_lr
        >>> round(transfer_lr(0.1, 8, 32, rule="am-mup"), 9)
        0.0125
        >>> round(transfer_lr(0.1, 8, 16, rule="finite-depth", family="mlp"), 4)
        0.0415
        >>> round(transfer_lr(0.1, 8, 16, measured={8: 0.4, 12: 0.3, 16: 0.2}), 9)
        0.05
    """
    change = DepthChange(
        from_depth=from_depth,
        to_depth=to_depth,
        measured=measured,
        late=late,
        sharpness=sharpness,
        edges=edges,
        family=family,
        branch=branch,
        law=law,
        path_sums=path_sums,
    )
    carried = change.carry(lr, rule).lr
    found = []
    if rule == "measured" and measured is not None and from_depth != to_depth:
        found = CurveShape.between(measured, from_depth, to_depth).warnings()
    if MEASURED.get(rule) == "sharpness":
        found = sharpness_warnings(sharpness, measured, (from_depth, to_depth))
    for warning in found:
        warnings.warn(warning.text, UnreliableTransfer, stacklevel=2)
    return carried


def transfer_table(
    lr: float,
    from_depth: int,
    to_depth: int | Sequence[int],
    *,
    measured: Measured | None = None,
    late: Measured | None = None,
    sharpness: Measured | None = None,
    edges: Measured | None = None,
    family: str | None = None,
    branch: int | Sequence[str] | None = None,
    law: Law | None = None,
    path_sums: Mapping[int, float] | None = None,
    setting: TrainingSetting | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """A table of :func:`transfer_lr` by every rule that the given arguments allow, with a recommended one.

    docs/transfer.md states how the recommended rule follows from the measurement, and the evidence for it.

    Args:
        lr: as in :func:`transfer_lr`, like all other arguments except ``setting`` and ``level``.
        from_depth: L where ``lr`` was tuned.
        to_depth: L of the returned learning rates: one depth, or several.
        measured: adds the rule "measured".
        late: adds the rule "measured-late".
        sharpness: adds the rules "sharpness" and, with at least three depths, "sharpness-fit".
        edges: adds the rule "edge".
        family: adds the rules "finite-depth" and "pathsum".
        branch: required for "resnet", not allowed otherwise.
        law: adds the rule "finite-depth", instead of ``family``.
        path_sums: adds the rule "pathsum", instead of ``family``.
        setting: how the nets are trained, for the warnings; None states nothing.
        level: confidence level of the intervals.

    Returns:
        One row for each depth and rule: depth; rule; lr; low and high, its confidence interval; price, the cost of the
        measurement in training steps at all depths together (0 for a formula, NaN if unknown; a step is counted as
        three passes through the model); assumption, a sentence; recommended, true in at most one row of each depth;
        reason, why the rule is recommended, otherwise empty. Only the measured rules have an interval, from the
        standard errors of log10 η* (Student's t if the number of draws is known, otherwise normal). low and high are
        NaN for the other rules, and if a standard error is unknown. The interval covers the measurement error of η*
        only: ``lr`` is taken as exact, and proportional to η*.

        Its ``attrs`` contain ``warnings``, a list of dicts with ``kind`` and ``text``; ``parametrization``, for which
        the learning rates hold; and ``recommendations``, for each depth a dict with ``depth``, ``rule`` (or None),
        ``lr``, ``low`` and ``high`` (the range of the plausible rules) and ``reason``.

    Raises:
        InputError: as for :func:`transfer_lr`, or the level lies outside (0, 1).

    Example:
        >>> from ammup import transfer_table
        >>> table = transfer_table(0.1, 8, 16, measured={8: 0.16, 16: 0.08})
        >>> table[["rule", "lr"]].round(4).values.tolist()
        [['constant', 0.1], ['L^-1/2', 0.0707], ['L^-1', 0.05], ['am-mup', 0.0354], ['measured', 0.05]]
        >>> table.loc[table["recommended"], ["rule", "reason"]].values.tolist()
        [['measured', 'nothing that was measured contradicts it']]
    """
    depths = checked_depths([checked_integer("to_depth", d, at_least=1) for d in _as_sequence(to_depth)])
    setting = setting or TrainingSetting()
    rows, recommendations, shapes = [], [], list[CurveShape]()
    for depth in depths:
        change = DepthChange(
            from_depth=from_depth,
            to_depth=depth,
            measured=measured,
            late=late,
            sharpness=sharpness,
            edges=edges,
            family=family,
            branch=branch,
            law=law,
            path_sums=path_sums,
        )
        carried = [change.carry(lr, rule, level=level) for rule in change.rules]
        advice, shape = _advice(change, carried, setting)
        recommendations.append(advice)
        shapes += [] if shape is None else [shape]
        for t in carried:
            chosen = t.rule == advice["rule"]
            rows.append(
                (depth, t.rule, t.lr, *t.interval, t.price, t.assumption, chosen, advice["reason"] if chosen else "")
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    found = _shape_warnings(shapes, measured, (from_depth, *depths))
    found += sharpness_warnings(sharpness, measured, (from_depth, *depths))
    found += [TransferWarning(kind="late", text=text) for text in getattr(late, "warnings", ())]
    found += [TransferWarning(kind="edge", text=text) for text in getattr(edges, "warnings", ())]
    found += [TransferWarning(kind="setting", text=text) for text in setting.warnings()]
    table.attrs = {
        "warnings": [warning.to_dict() for warning in dict.fromkeys(found)],
        "parametrization": PARAMETRIZATION,
        "recommendations": recommendations,
    }
    return table


def _shape_warnings(
    shapes: Sequence[CurveShape], measured: Measured | None, depths: Sequence[int]
) -> list[TransferWarning]:
    """The warnings over the complete range of depths, and those of a kind that shows only in a part of it."""
    if measured is None or not shapes:
        return []
    found = CurveShape.between(measured, min(depths), max(depths)).warnings()
    for warning in (warning for shape in shapes for warning in shape.warnings()):
        if warning.kind not in {other.kind for other in found}:
            found.append(warning)
    return found


def _as_sequence(depths: int | Sequence[int]) -> Sequence[int]:
    return depths if isinstance(depths, Sequence) and not isinstance(depths, str) else [depths]


def _advice(
    change: DepthChange, carried: Sequence[Transferred], setting: TrainingSetting
) -> tuple[dict[str, str | float | None], CurveShape | None]:
    """The recommendation for one depth, and the shape of the measured curve up to it."""
    shape = None
    if change.measured is not None and change.from_depth != change.to_depth:
        shape = CurveShape.between(change.measured, change.from_depth, change.to_depth)
    chosen = recommend(shape, setting)
    lrs = {t.rule: (t.lr, *(end for end in t.interval if math.isfinite(end))) for t in carried}
    low, high = plausible_range(chosen, lrs) or (None, None)
    lr = None if chosen.rule is None else lrs[chosen.rule][0]
    return {
        "depth": change.to_depth,
        "rule": chosen.rule,
        "lr": lr,
        "low": low,
        "high": high,
        "reason": chosen.reason,
    }, shape
