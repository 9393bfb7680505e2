"""Figures of depth laws and sweeps, drawn without the global state of pyplot."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from matplotlib.transforms import ScaledTranslation

from ammup.arrays import Array
from ammup.colours import GREEN, GREY, VERMILION
from ammup.errors import InputError
from ammup.format import with_interval
from ammup.report.styles import SHARPNESS, SWEPT, Style
from ammup.stats.optimum import SweepLaw
from ammup.stats.power_law import PowerLaw

if TYPE_CHECKING:  # imports torch, which the figures of a sweep do not need
    from ammup.measurement.depth_law import DepthLaw

PAPER_SLOPE = -1.5
# Smallest distance of two depth labels, as a fraction of the width of the log axis. Closer labels would overlap.
LABEL_SPACING = 1 / 18


def plot_depth_law(law: "DepthLaw", *, title: str = "", sharpness: "DepthLaw | None" = None) -> Figure:
    """η* against L on log axes with its fit and references, and S_l against l at each depth.

    Args:
        law: the result of :func:`ammup.depth_exponent`.
        title: heading of the figure.
        sharpness: the law of the edge of stability 2/λ at the same depths, drawn next to η*.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_lr_star(left, law, sharpness)
    draw_profiles(right, law)
    if title:
        figure.suptitle(title)
    return figure


def draw_lr_star(axes: Axes, law: "DepthLaw", sharpness: "DepthLaw | None" = None) -> None:
    """Draw η*(L) ± one standard error, the fitted line with its band, and lines with the reference slopes.

    ``sharpness`` adds 2/λ ± one standard error and its fitted line.
    """
    depth = _draw_curve(axes, law, SWEPT, "measured η* ± s.e.")
    x = _draw_line(axes, law.power_law, depth, "fit")
    if law.reference is not None:
        label = f"slope {law.reference:.2f} (finite-depth law)"
        axes.plot(x, _through_centre(law.power_law, depth, x, law.reference), ":", color=GREEN, label=label)
    quantity = "maximal-update learning rate η*"
    if sharpness is not None:
        _draw_curve(axes, sharpness, SHARPNESS, "measured 2/λ ± s.e.")
        fit = sharpness.power_law
        draw_fit(axes, fit, x, style=SHARPNESS, label=f"2/λ: {slope_text(fit)}", band=f"{fit.level:.0%} band of 2/λ")
        quantity = "learning rate: η* and 2/λ"
    _label_axes(axes, depth, quantity)


def _draw_curve(axes: Axes, law: "DepthLaw", style: Style, label: str) -> Array:
    """Draw the measured learning rates with error bars; returns their depths."""
    curve = law.curve
    depth, lr_star = curve["depth"].to_numpy(float), curve["lr_star"].to_numpy(float)
    errors = error_lengths(lr_star, curve["se_log10"].to_numpy(float))
    axes.errorbar(depth, lr_star, errors, fmt=style.marker, color=style.colour, capsize=3, label=label, zorder=3)
    return depth


def error_lengths(values: Array, se_log10: Array) -> Array:
    """Lengths of error bars of ± one standard error of log10 values.

    Returns:
        Shape (2, number of values): below and above; NaN, for which no bar is drawn, if the error is unknown.
    """
    spread = 10**se_log10
    return np.stack([values * (1 - 1 / spread), values * (spread - 1)])


def _draw_line(axes: Axes, fit: PowerLaw, depth: Array, name: str) -> Array:
    """Draw the fitted line with its band, and the paper's slope through its centre; returns the depths of the lines."""
    x = np.geomspace(depth.min(), depth.max(), 100)
    draw_fit(axes, fit, x, style=SWEPT, label=f"{name}: {slope_text(fit)}", band=f"{fit.level:.0%} band")
    axes.plot(x, _through_centre(fit, depth, x, PAPER_SLOPE), "--", color=VERMILION, label="slope −3/2 (paper)")
    return x


def slope_text(fit: PowerLaw) -> str:
    """The slope, followed by its interval unless that is NaN."""
    return f"slope {with_interval(fit.slope, fit.slope_ci, 'z.2f')}"


def draw_fit(axes: Axes, fit: PowerLaw, x: Array, *, style: Style, label: str, band: str) -> None:
    """Draw the line at the depths ``x`` and, if it is finite, its confidence band, with the label ``band``."""
    axes.plot(x, fit.predict(x), color=style.colour, linestyle=style.dashes, label=label)
    lower, upper = fit.band(x)
    if np.isfinite(lower).all():
        axes.fill_between(x, lower, upper, color=style.colour, alpha=0.15, linewidth=0, label=band)


def depth_ticks(axes: Axes, depth: Array) -> None:
    """Make a log axis with a tick at each depth; a label that would overlap another one is omitted."""
    axes.set_xscale("log")
    depth = np.unique(depth)
    place, labelled = np.log(depth), [0]
    for i in range(1, depth.size):
        if place[i] - place[labelled[-1]] >= LABEL_SPACING * np.ptp(place):
            labelled.append(i)
    axes.set_xticks(depth[labelled])
    axes.set_xticks(np.delete(depth, labelled), minor=True)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_axes(axes: Axes, depth: Array, quantity: str) -> None:
    """Label the axes of a quantity against depth, both logarithmic, and add a legend."""
    depth_ticks(axes, depth)
    axes.set(yscale="log", xlabel="depth L", ylabel=quantity)
    axes.legend(fontsize="small")


def _through_centre(fit: PowerLaw, depth: Array, x: Array, slope: float) -> Array:
    """A line of the given slope through the fit at the geometric mean of the depths, evaluated at ``x``."""
    centre = np.exp(np.log(depth).mean())
    return np.asarray(fit.predict(centre) * (x / centre) ** slope)


def legend_below(axes: Axes, *, columns: int = 2, heading: str = "") -> None:
    """Place the legend below the label of the x axis, where it covers no data."""
    below = axes.transAxes + ScaledTranslation(0, -36 / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=below,
        ncols=columns,
        fontsize=7.5,
        handlelength=3.4,
        columnspacing=1.2,
        frameon=False,
        title=heading,
        title_fontsize=7.5,
    )


def draw_profiles(axes: Axes, law: "DepthLaw") -> None:
    """Draw S_l at η = η* against l/L; each curve has mean 1 by definition of η*."""
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(law.S)))
    for marker, colour, (depth, S) in zip("osD^vP*X" * len(law.S), colours, law.S.items(), strict=False):
        unit = np.arange(1, len(S) + 1)
        axes.plot(unit / len(S), S / S.mean(), marker=marker, markersize=4, color=colour, label=f"L = {depth}")
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(
        yscale="log", xlabel="position of the unit in the network, l / L", ylabel=r"mean squared change $S_l$ at η*"
    )
    axes.legend(fontsize="small", ncols=2)


def plot_sweep(law: SweepLaw, runs: pd.DataFrame, *, title: str = "") -> Figure:
    """Validation accuracy against learning rate at each depth, and the optima against depth with their line.

    Args:
        law: the result of :func:`ammup.stats.optimum.fit_sweep`.
        runs: the runs that it was fitted to.
        title: heading of the figure.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_accuracies(left, law, runs)
    draw_optima(right, law)
    if title:
        figure.suptitle(title)
    return figure


def draw_accuracies(axes: Axes, law: SweepLaw, runs: pd.DataFrame) -> None:
    """Draw the mean over seeds, a dot for each seed, a cross for each divergence, and a dashed line at the optimum."""
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(law.optima)))
    for marker, colour, depth in zip("osD^vP*X" * len(law.optima), colours, law.optima, strict=False):
        here = runs[runs["depth"] == depth]
        finite = here[~here["diverged"]]
        mean = finite.groupby("lr")["val_accuracy"].mean()
        axes.plot(mean.index, mean, marker=marker, markersize=4, color=colour, label=f"L = {depth}")
        axes.plot(finite["lr"], finite["val_accuracy"], ".", markersize=3, color=colour, alpha=0.5)
        diverged = here[here["diverged"]]["lr"].unique()
        axes.plot(diverged, np.full(len(diverged), runs["val_accuracy"].min()), "x", color=colour)
        axes.axvline(law.lr_star(depth)[0], color=colour, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="learning rate η", ylabel="validation accuracy")
    axes.legend(fontsize="small")


def draw_optima(axes: Axes, law: SweepLaw) -> None:
    """Draw the optima ± one standard error, hollow if flagged, the fitted line with its band, and slope −3/2."""
    depth = np.array(list(law.optima), dtype=np.float64)
    draw_swept(axes, law, style=SWEPT, label=f"{quantity_of(law)} ± s.e.", flagged="flagged, not fitted")
    if law.power_law is not None:
        _draw_line(axes, law.power_law, depth, "weighted fit")
    _label_axes(axes, depth, axis_label(law))


def quantity_of(law: SweepLaw) -> str:
    """The name of a law's optima in legends."""
    return "edge" if law.kind == "edge" else f"best learning rate ({law.kind})"


def axis_label(law: SweepLaw) -> str:
    """The label of an axis that shows a law's optima."""
    return "edge: largest learning rate that trains" if law.kind == "edge" else "best learning rate after training"


def draw_swept(
    axes: Axes, law: SweepLaw, *, style: Style, label: str, flagged: str, times: float = 1.0, shift: float = 0.0
) -> None:
    """Draw the optima ± ``times`` standard errors; those excluded from the fit are hollow, with the label ``flagged``.

    Args:
        axes: the axes to draw on.
        law: the sweep law whose optima are drawn.
        style: style of the points.
        label: legend label of the points that the line was fitted to.
        flagged: legend label of the other points.
        times: length of an error bar in standard errors.
        shift: shift to the right in typographic points, so that series at equal depths do not overlap.
    """
    used = [depth for depth in law.optima if depth in law.used]
    excluded = [depth for depth in law.optima if depth not in law.used]
    for depths, fill, name in ((used, style.colour, label), (excluded, "white", flagged)):
        if depths:
            values, se = np.array([law.lr_star(depth) for depth in depths]).T
            errors = error_lengths(values, times * se)
            draw_points(axes, depths, values, errors, style=style, fill=fill, label=name, shift=shift)


def draw_points(
    axes: Axes, x: list[int], y: Array, errors: Array, *, style: Style, fill: str, label: str, shift: float = 0.0
) -> None:
    """Draw data points with error bars, shifted to the right by ``shift`` typographic points."""
    options: dict[str, Any] = {"fmt": style.marker, "color": style.colour, "markerfacecolor": fill, "markersize": 5}
    drawn = axes.errorbar(np.array(x), y, errors, **options, capsize=3, label=label, zorder=3)
    if shift:  # after errorbar, so that the axis limits are those of the unshifted points
        shifted = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
        for artist in drawn.get_children():
            artist.set_transform(shifted)


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format given by the suffix of the path.

    Raises:
        InputError: matplotlib does not support the suffix.
    """
    if path.suffix.lower() not in formats():
        raise InputError(f"unsupported suffix of {path.name!r}; expected one of: {', '.join(formats())}")
    figure.savefig(path, dpi=150)


def formats() -> tuple[str, ...]:
    """The suffixes of the formats that matplotlib can write."""
    return tuple(f".{name}" for name in sorted(Figure().canvas.get_supported_filetypes()))
