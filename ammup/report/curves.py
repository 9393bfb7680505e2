"""Accuracy against learning rate: one axes for each depth, or a heat map of the complete grid."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from ammup import colours
from ammup.arrays import Array
from ammup.report import plots
from ammup.report.panel import BARS, FLAGGED, INTERVAL, PAPER_LABEL, ArtistOptions, anchor_depth, optimum_name
from ammup.report.plots import PAPER_SLOPE
from ammup.stats.optimum import SweepLaw

# The largest number of seeds whose points are drawn. More points cannot be distinguished, and make the SVG too large
# for a browser.
MAX_SEEDS = 20
# The largest number of axes with minor ticks. In smaller axes they are too close to each other, and take half of the
# time in which a figure is drawn.
MAX_MINOR_TICKS = 9


def plot_accuracies(law: SweepLaw, runs: pd.DataFrame, *, title: str = "") -> Figure:
    """Validation accuracy against learning rate, one axes for each depth, with the optimum and its interval.

    Args:
        law: the result of :func:`ammup.stats.optimum.fit_sweep`.
        runs: the runs that it was fitted to.
        title: heading of the figure.
    """
    count = len(law.optima)
    columns = count if count < 4 else min(4, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(1.2 + 3.2 * columns, 1.2 + 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    by_depth = dict(iter(runs.groupby("depth")))
    for axes, depth in zip(grid, law.optima, strict=False):
        draw_accuracy(axes, law, depth, by_depth[depth])
    if count > MAX_MINOR_TICKS:
        grid[0].xaxis.set_minor_locator(NullLocator())  # the axes share it
    grid[0].set_xlim(runs["lr"].min() / 1.5, runs["lr"].max() * 1.5)  # a wide interval does not widen the axes
    for axes in grid[count - columns : count]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("learning rate η")
    for axes in grid[count:]:
        axes.remove()
    entries = [entry for axes in figure.axes for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    named = {label: handle for handle, label in entries}
    options: ArtistOptions = {"ncols": 1 + columns, "fontsize": "small", "frameon": False}
    figure.legend(list(named.values()), list(named), loc="outside lower center", **options)
    figure.supylabel("validation accuracy", fontsize="medium")
    figure.suptitle(title)
    return figure


def draw_accuracy(axes: Axes, law: SweepLaw, depth: int, runs: pd.DataFrame) -> None:
    """Draw the accuracies at one depth.

    At each learning rate, there is a dot for each seed and the mean over the seeds or, if a replica diverged, a cross
    instead of the mean, because the optimum ignores that learning rate.
    """
    axes.set_xscale("log")
    has_divergence = runs["lr"].isin(runs[runs["diverged"]]["lr"])
    finite, crosses = runs[~runs["diverged"]], np.unique(runs[has_divergence]["lr"])
    mean = runs["val_accuracy"].where(~has_divergence).groupby(runs["lr"]).mean()
    seeds = np.unique(runs["seed"])
    dots, label = finite, "one seed"
    if len(seeds) > MAX_SEEDS:
        dots, label = finite[finite["seed"].isin(seeds[:MAX_SEEDS])], f"one seed, {MAX_SEEDS} of {len(seeds)}"
    axes.plot(dots["lr"], dots["val_accuracy"], ".", color=colours.GREY, markersize=3, label=label)
    axes.plot(mean.index, mean, "-o", color=colours.BLUE, markersize=3.5, label="mean over seeds")
    if crosses.size:
        floor, on_floor = np.full(crosses.size, 0.04), axes.get_xaxis_transform()
        axes.plot(crosses, floor, "x", color=colours.VERMILION, transform=on_floor, label="a replica diverged")
    best, se = law.lr_star(depth)
    axes.axvline(
        best, color=colours.BLACK, linestyle="--", linewidth=1, label="edge" if law.kind == "edge" else "optimum η*"
    )
    if law.kind != "edge" and not law.optima[depth].edge_flags:
        axes.axvline(law.optima[depth].edge, color=colours.VERMILION, linestyle=":", linewidth=1, label="edge")
    interval = ""
    if np.isfinite(se):
        factor = 10 ** (INTERVAL * se)
        axes.axvspan(best / factor, best * factor, color=colours.ORANGE, alpha=0.3, linewidth=0, label=f"η* {BARS}")
        interval = f" ×/÷ {factor:.3g}"
    axes.set_title(f"L = {depth}: η* = {best:.2g}{interval}", fontsize="medium")
    side = "left" if np.log(best) > np.log(runs["lr"]).mean() else "right"
    flags, x = "\n".join(law.flags(depth)), {"left": 0.03, "right": 0.97}[side]
    axes.text(x, 0.95, flags, transform=axes.transAxes, ha=side, va="top", fontsize="small")


def plot_heatmap(law: SweepLaw, runs: pd.DataFrame, *, title: str = "") -> Figure:
    """Heat map of the mean validation accuracy over seeds: one row for each depth, one column for each learning rate.

    Args:
        law: the result of :func:`ammup.stats.optimum.fit_sweep`.
        runs: the runs that it was fitted to.
        title: heading of the figure.
    """
    finite = runs.assign(val_accuracy=runs["val_accuracy"].where(~runs["diverged"]))
    cells = finite.groupby(["depth", "lr"])[["val_accuracy", "diverged"]].mean()
    accuracy, diverged = (cells[name].unstack() for name in ("val_accuracy", "diverged"))
    depths, edges = [int(depth) for depth in accuracy.index], _edges(accuracy.columns.to_numpy())
    figure = Figure(figsize=(9, 2.2 + 0.5 * len(depths)), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="learning rate η", ylabel="depth L", xlim=edges[[0, -1]])
    values, borders = np.ma.masked_invalid(accuracy.to_numpy()), np.arange(len(depths) + 1) - 0.5
    figure.colorbar(axes.pcolormesh(edges, borders, values, cmap="cividis"), label="mean validation accuracy")
    share = diverged.to_numpy()
    _mark(axes, (share > 0) & (share < 1), edges, label="some replicas diverged", fill="none", line=colours.VERMILION)
    _mark(axes, share == 1, edges, label="every replica diverged", fill=colours.SILVER, line=colours.BLACK)
    _draw_row_optima(axes, law, depths)
    axes.set_yticks(range(len(depths)), labels=[str(depth) for depth in depths])
    plots.legend_below(axes)
    figure.suptitle(title)
    return figure


def _edges(lrs: Array) -> Array:
    """Edges of the cells around the learning rates: the geometric means of neighbouring learning rates."""
    u = np.log10(lrs)
    step = np.diff(u) if u.size > 1 else np.array([0.1])
    return np.asarray(10 ** np.concatenate([u[:1] - step[0] / 2, (u[1:] + u[:-1]) / 2, u[-1:] + step[-1] / 2]))


def _mark(axes: Axes, where: NDArray[np.bool_], edges: Array, *, label: str, fill: str, line: str) -> None:
    """Hatch the cells in which ``where`` is true."""
    corners = ((0, -0.5), (1, -0.5), (1, 0.5), (0, 0.5))
    cells = [[(edges[j + right], i + up) for right, up in corners] for i, j in zip(*np.nonzero(where), strict=True)]
    if cells:
        options: ArtistOptions = {"facecolor": fill, "edgecolor": line, "linewidth": 0, "hatch": "//////"}
        axes.add_collection(PolyCollection(cells, **options, label=label))


def _draw_row_optima(axes: Axes, law: SweepLaw, depths: Sequence[int]) -> None:
    """Draw the optimum of each row, and the paper's rule through the optimum at the anchor depth."""
    outline: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]
    for used, fill, label in ((True, colours.BLACK, f"{optimum_name(law)} {BARS}"), (False, "white", FLAGGED)):
        rows = [row for row, depth in enumerate(depths) if (depth in law.used) == used]
        if rows:
            values, se = np.array([law.lr_star(depths[row]) for row in rows]).T
            errors = plots.error_lengths(values, INTERVAL * se)
            options: ArtistOptions = {"fmt": "o", "color": colours.BLACK, "markerfacecolor": fill, "capsize": 3}
            drawn = axes.errorbar(values, np.array(rows), xerr=errors, label=label, **options)
            for artist in drawn.get_children():
                artist.set_path_effects(outline)
    anchor = anchor_depth(law)
    line = law.lr_star(anchor)[0] * (np.array(depths) / anchor) ** PAPER_SLOPE
    axes.plot(line, range(len(depths)), "--", color=colours.VERMILION, path_effects=outline, label=PAPER_LABEL)
