"""Tables of a sweep for a terminal: progress, cost, fitted optima and regret."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.experiments.live import status_table
from ammup.format import duration_text, error_from_log10, interval_text, with_interval
from ammup.stats.held_out import SWEPT
from ammup.stats.optimum import SweepLaw
from ammup.stats.regret import Regret

if TYPE_CHECKING:  # imports torch
    from ammup.experiments.cost import Cost

# If less than this share of a core was available while steps were timed, a note is added to the estimated time.
BUSY = 0.8


def status_text(name: str, status: pd.DataFrame) -> RenderableType:
    """One row for each depth, and the total number of finished cells."""
    done = (status["done"] + status["left_out"]).sum()
    return Group(status_table(name, status), Text(f"{done} of {status['total'].sum()} cells are done"))


def cost_text(name: str, cost: "Cost") -> RenderableType:
    """One row for each depth, and the totals."""
    title = f"{name}: missing cells"
    table = Table("L", "cells", "operations", "seconds per cell", title=title, title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in cost.table.to_dict("records"):
        cells = (str(int(row["depth"])), str(int(row["cells"])), f"{row['flops']:.2g}", f"{row['seconds']:.3g}")
        table.add_row(*cells)
    searched = ", and an adaptive search needs a quarter to a third of this" if cost.searched else ""
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''}, strategy {cost.strategy}"
    short_runs = " and the short runs" if cost.short_run_seconds else ""
    lines = [
        f"{int(cost.table['cells'].sum())} cells, {cost.flops:.2g} floating-point operations, about "
        f"{duration_text(cost.seconds)} for the cells{short_runs} on this machine ({workers}); diverging replicas stop "
        f"early{searched}"
    ]
    if cost.core_share < BUSY:
        lines.append(
            f"note: other programs used this machine while steps were timed ({cost.core_share:.0%} of a core was "
            f"available); without them, about {duration_text(cost.seconds * cost.core_share)}"
        )
    return Group(table, Text("\n".join(lines)))


def sweep_law_text(law: SweepLaw, *, heading: str, missing: int, paper_slope: float | None = None) -> RenderableType:
    """All kinds of optimum at each depth with standard errors and flags, the fitted slope, and the segments."""
    columns = ("L", "argmax", "± s.e.", "smoothed", "± s.e.", "edge", "± s.e.", "val. accuracy")
    table = Table(*columns, title=heading, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    level = law.power_law.level if law.power_law else 0.95
    table.add_column(f"fit, {level:.0%} band")
    table.add_column("flags")
    for (depth, optimum), (_, fitted, low, high) in zip(law.optima.items(), law.line.to_numpy(), strict=True):
        table.add_row(
            str(depth),
            *_with_error(optimum.argmax, optimum.argmax_se),
            *_with_error(optimum.smoothed, optimum.smoothed_se),
            *_with_error(optimum.edge, optimum.edge_se),
            f"{optimum.accuracy:.1%}",
            "" if np.isnan(fitted) else with_interval(fitted, (low, high), ".3g", ".2g"),
            ", ".join(all_flags(law, depth)),
        )
    lines = [*_slope(law, paper_slope), *_segments(law)]
    if missing:
        lines.append(f"note: {missing} cells of the grid are missing; `ammup sweep` trains them")
    return Group(table, Text("\n".join(lines)))


def regret_text(regret: Regret) -> RenderableType:
    """The regret of each rule: the mean over the held-out depths, and the accuracy lost at each depth."""
    by_depth = regret.by_depth
    depths = sorted(by_depth["depth"].unique())
    title = f"tuned at one depth, transferred to L = {', '.join(str(depth) for depth in depths)}: accuracy lost by rule"
    table = Table("rule", "|log10 error|", "mean", "out of sample", "loss added", title=title, title_justify="left")
    for depth in depths:
        table.add_column(f"L = {depth}")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in regret.mean.to_dict("records"):
        of_rule = by_depth[by_depth["rule"] == row["rule"]].set_index("depth")
        lost = [percent_text(of_rule.loc[depth].to_dict()) if depth in of_rule.index else "" for depth in depths]
        means = (
            f"{row['abs_log10_error']:.2f}",
            percent_text(row),
            percent_text(row, "held_out"),
            f"{row['loss_added']:.3f}",
        )
        table.add_row(row["rule"], *means, *lost)
    note = (
        f"accuracy lost is relative to the best grid point; {SWEPT!r} is the optimum of each depth: its loss is not 0, "
        "because the best of many noisy points overestimates the maximum\n"
        "out of sample: rates are chosen on one half of the seeds, accuracies measured on the other half; relative to "
        "the optimum of each depth, so negative where transfer is better than tuning on these seeds"
    )
    return Group(table, Text(note))


def percent_text(row: Mapping[Any, Any], name: str = "accuracy_lost") -> str:
    """The relative loss of accuracy in a row of a regret table, with its interval if it is known; a dash if NaN.

    Args:
        row: the row.
        name: "accuracy_lost", or "held_out" for the loss out of sample.
    """
    if np.isnan(row[name]):
        return "–"
    prefix = name.removesuffix("_lost")
    ends = (100 * row[f"{prefix}_low"], 100 * row[f"{prefix}_high"])
    return with_interval(row[name], ends, ".1%", ".1f")


def _with_error(value: float, se_log10: float) -> tuple[str, str]:
    """A learning rate, and its standard error converted from that of log10; "?" if that is unknown."""
    return f"{value:.3g}", "?" if np.isnan(se_log10) else f"{error_from_log10(value, se_log10):.2g}"


def all_flags(law: SweepLaw, depth: int) -> list[str]:
    """The flags of the optimum that the line is fitted to and, after "edge:", those of the edge."""
    return [*law.flags(depth), *(f"edge: {flag}" for flag in law.optima[depth].edge_flags if law.kind != "edge")]


def _slope(law: SweepLaw, paper_slope: float | None) -> list[str]:
    """The lines of text about the fitted slope; ``paper_slope`` is the slope that the paper reports, or None."""
    flagged = [depth for depth in law.optima if depth not in law.used]
    notes = []
    if flagged:
        depths = ", ".join(str(depth) for depth in flagged)
        notes.append(f"excluded from the fit: L = {depths} (flagged; --keep-flagged includes them)")
    fit = law.power_law
    if fit is None:
        return ["no fit: fewer than two depths have a valid optimum", *notes]
    ends = interval_text(fit.slope_ci, ".2f")
    interval = f"{fit.level:.0%} interval {ends}" if ends else "no interval from two depths"
    return [
        f"slope of log lr on log L   {fit.slope:.2f}   {interval}   R² {fit.r2:.3f}   {_fitted_to(law)}",
        "paper's law, L^(-3/2)      -1.50",
        *([f"paper, this experiment     {paper_slope:.2f}"] if paper_slope is not None else []),
        *notes,
    ]


def _fitted_to(law: SweepLaw) -> str:
    """The weights and the kind of optimum of the fit, as text."""
    if law.kind != "edge":
        return f"weighted, {law.kind} optima"
    unweighted = all(np.isnan(law.lr_star(depth)[1]) for depth in law.used)
    return f"{'unweighted (one seed)' if unweighted else 'weighted'}, edges (half of the rise above {law.chance:.1%})"


def _segments(law: SweepLaw) -> list[str]:
    """One line for each predicted depth of each segment."""
    lines = []
    for segment, table in law.predictions.items():
        anchors = ", ".join(str(depth) for depth in segment.anchors)
        if table is None:
            lines.append(f"segment on L = {anchors}: an anchor has no valid optimum")
            continue
        for row in table.to_dict("records"):
            if np.isnan(row["measured"]):
                error = "not measured"
            else:
                error = f"measured {row['measured']:.3g}, off by a factor of {10 ** row['log10_error']:.2f}"
            lines.append(f"segment on L = {anchors} → {row['depth']:.0f}: predicted {row['predicted']:.3g}, {error}")
    return lines
