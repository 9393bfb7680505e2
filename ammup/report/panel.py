"""The paper's full panel (figure 3): segments, fit and rules, errors of the segments, linear axes."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ammup import colours
from ammup.arrays import Array
from ammup.errors import InputError
from ammup.report import plots, styles
from ammup.report.plots import PAPER_SLOPE
from ammup.report.styles import SWEPT, Style
from ammup.stats.optimum import SweepLaw
from ammup.stats.power_law import fit_power_law
from ammup.stats.segment import Segment
from ammup.transfer.rules import DepthChange

# Half-width of a 95 % interval of a normal estimate, in standard errors.
INTERVAL = 1.96
BARS = "± 1.96 s.e. (95%)"
FLAGGED = "flagged, not fitted"
PAPER_LABEL = "am-mup, L^(−3/2)"
ArtistOptions = dict[str, Any]  # keyword arguments of matplotlib


def plot_panel(law: SweepLaw, *, references: Mapping[str, Mapping[int, float]], title: str = "") -> Figure:
    """The paper's full panel (figure 3): segments, global fit with depth rules, errors, linear axes.

    Args:
        law: the result of :func:`ammup.stats.optimum.fit_sweep`.
        references: η* by depth for each rule, up to a factor. Each rule is scaled to equal the optimum at the smallest
            depth that the line was fitted to. The paper's L^(-3/2) is added unless "am-mup" is given.
        title: heading of the figure.

    Raises:
        InputError: a reference has no value at the depth at which it is scaled, or a value that is not positive.
    """
    figure = Figure(figsize=(9.6, 8.8), layout="constrained")
    segments, fit, errors, linear = figure.subplots(2, 2).flat
    curves = list(_curves(law, references))
    draw_segments(segments, law)
    draw_relative_errors(errors, law)
    for axes in (fit, linear):
        draw_rules(axes, law, curves)
    for axes in (segments, fit):
        log_axes(axes, law, law.optima)
    _limit_to_values(fit, law, curves)
    _linear_axes(linear, law, curves)
    headings = (
        "lines through anchors",
        "global fit and depth rules",
        "errors of the predictions",
        "same as (b), linear axes",
    )
    for letter, axes, heading in zip("abcd", (segments, fit, errors, linear), headings, strict=True):
        axes.set_title(f"({letter}) {heading}", loc="left", fontsize="medium")
        if axes is not linear and axes.get_legend_handles_labels()[1]:
            plots.legend_below(axes)
    figure.suptitle(title)
    return figure


def log_axes(axes: Axes, law: SweepLaw, depths: Iterable[int]) -> None:
    """Label the axes of the optima of a law against L, both logarithmic."""
    plots.depth_ticks(axes, np.array(list(depths), dtype=np.float64))
    axes.set(yscale="log", xlabel="depth L", ylabel=f"{plots.axis_label(law)} η*")


def _values(law: SweepLaw, curves: Sequence["Curve"]) -> Array:
    """The learning rates of all optima and curves."""
    return np.concatenate([[law.lr_star(depth)[0] for depth in law.optima], *(curve.lr_star for curve in curves)])


def _limit_to_values(axes: Axes, law: SweepLaw, curves: Sequence["Curve"]) -> None:
    """Limit the axis to a decade around the values: the band of a line through few depths can be much wider."""
    values, (low, high) = _values(law, curves), axes.get_ylim()
    axes.set_ylim(max(low, values.min() / 10), min(high, values.max() * 10))


def _linear_axes(axes: Axes, law: SweepLaw, curves: Sequence["Curve"]) -> None:
    """Limit the axis to twice the largest value, so that one wide interval does not hide the others."""
    largest = _values(law, curves).max()
    axes.set(xlabel="depth L", ylabel=f"{plots.axis_label(law)} η*", ylim=(0, min(axes.get_ylim()[1], 2 * largest)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def anchor_depth(law: SweepLaw) -> int:
    """The depth at which rules equal the optimum: the smallest fitted depth or, without a fit, the smallest depth."""
    return min(law.used or law.optima)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A depth rule scaled to the swept optima: ``lr_star`` at the depths ``depth``, ascending."""

    label: str
    style: Style
    depth: Array
    lr_star: Array


def _curves(law: SweepLaw, references: Mapping[str, Mapping[int, float]]) -> Iterator[Curve]:
    paper = {depth: depth**PAPER_SLOPE for depth in law.optima}
    others = [name for name in references if name not in styles.RULES]
    for name, rule in {"am-mup": paper, **references}.items():
        depth = np.array(sorted(rule), dtype=np.float64)
        lr_star = np.array([_scaled_to_optimum(law, name, rule, d) for d in sorted(rule)])
        label = name if name in references else PAPER_LABEL
        if name in references and depth.size > 1:
            label += with_minus_sign(f": slope {fit_power_law(depth, lr_star).slope:z.2f}")
        style = styles.RULES[name] if name in styles.RULES else styles.series_style(6 + others.index(name), "*pdh12")
        yield Curve(label=label, style=style, depth=depth, lr_star=lr_star)


def _scaled_to_optimum(law: SweepLaw, name: str, rule: Mapping[int, float], depth: int) -> float:
    """η* of a rule at ``depth``, scaled to equal the optimum at the anchor depth."""
    anchor = anchor_depth(law)
    try:
        change = DepthChange(from_depth=anchor, to_depth=depth, measured=rule)
        return change.carry(law.lr_star(anchor)[0], "measured").lr
    except InputError as error:
        raise InputError(
            f"the reference {name!r} cannot be scaled to the optimum at depth {anchor}: {error}"
        ) from error


def with_minus_sign(text: str) -> str:
    """The text with the minus sign that matplotlib uses in tick labels."""
    return text.replace("-", "−")


def draw_rules(axes: Axes, law: SweepLaw, curves: Sequence[Curve]) -> None:
    """Draw the optima with their intervals, the weighted fit with its band, and the rules."""
    draw_swept(axes, law, SWEPT)
    if law.power_law is not None:
        fit = law.power_law
        label, band = with_minus_sign(f"weighted fit: {plots.slope_text(fit)}"), f"{fit.level:.0%} band of the fit"
        plots.draw_fit(axes, fit, fitted_depths(law), style=SWEPT, label=label, band=band)
    for place, curve in enumerate(curves):
        every = math.ceil(curve.depth.size / 8)
        axes.plot(curve.depth, curve.lr_star, **curve.style.hollow, markevery=(place % every, every), label=curve.label)


def draw_swept(axes: Axes, law: SweepLaw, style: Style) -> None:
    """Draw the optima with their 95 % intervals; flagged ones are hollow."""
    plots.draw_swept(axes, law, style=style, label=f"{optimum_name(law)} {BARS}", flagged=FLAGGED, times=INTERVAL)


def optimum_name(law: SweepLaw) -> str:
    """The name of one optimum of a law."""
    return "edge" if law.kind == "edge" else f"{law.kind} optimum"


def fitted_depths(law: SweepLaw) -> Array:
    """The depths at which a fitted line is drawn."""
    return np.geomspace(min(law.optima), max(law.optima), 200)


def _segments(law: SweepLaw) -> Iterator[tuple[str, Style, Segment, pd.DataFrame | None]]:
    """(Letter, style, segment, its predictions or None) of each segment."""
    for place, (segment, table) in enumerate(law.predictions.items()):
        yield ascii_uppercase[place % 26], styles.series_style(place), segment, table


def draw_segments(axes: Axes, law: SweepLaw) -> None:
    """Draw the optima with their intervals, and each segment's anchors, fitted line and predictions."""
    draw_swept(axes, law, Style(colour=colours.BLACK, marker="o"))
    for name, style, segment, table in _segments(law):
        anchors = ", ".join(str(depth) for depth in segment.anchors)
        if table is None:
            axes.plot([], [], " ", label=f"{name}: anchors {anchors}: flagged or missing")
            continue
        values = [law.lr_star(depth)[0] for depth in segment.anchors]
        depth = sorted({*segment.anchors, *segment.predict})
        line = fit_power_law(segment.anchors, values).predict(depth)
        hollow = [place for place, d in enumerate(depth) if d in segment.predict]
        filled = style.hollow | {"markerfacecolor": style.colour, "linestyle": ""}
        axes.plot(segment.anchors, values, **filled, zorder=5, label=f"{name}: anchors {anchors}")
        axes.plot(depth, line, **style.hollow, markevery=hollow, zorder=4, label=f"{name}: fitted line, predictions")


def draw_relative_errors(axes: Axes, law: SweepLaw) -> None:
    """Draw predicted / swept optimum − 1 as a bar for each predicted depth of each segment."""
    axes.axhline(0, color=colours.BLACK, linewidth=0.8)
    axes.set(xlabel="predicted depth L, by segment", ylabel="predicted / swept − 1 (%)")
    if not law.predictions:
        axes.text(0.5, 0.6, "no segments", transform=axes.transAxes, ha="center")
    start = 0
    ticks: dict[float, str] = {}
    for name, style, segment, table in _segments(law):
        place = start + np.arange(len(segment.predict), dtype=np.float64)
        ticks |= {x: str(depth) for x, depth in zip(place, segment.predict, strict=True)}
        if table is None:
            options: ArtistOptions = {"rotation": 90, "ha": "center", "va": "bottom"}
            axes.text(place.mean(), 0.55, f"{name}: no predictions", transform=axes.get_xaxis_transform(), **options)
        else:
            percent = 100 * (table["predicted"] / table["measured"] - 1)
            _draw_bars(axes, place, percent.to_numpy(), style, f"segment {name}")
        start += len(place) + 1
    axes.set_xticks(list(ticks), labels=list(ticks.values()))
    axes.set_xlim(-1, max(start - 1, 1))
    axes.margins(y=0.15)
    if not axes.containers:
        axes.set_yticks([0])


def _draw_bars(axes: Axes, place: Array, percent: Array, style: Style, label: str) -> None:
    bars = axes.bar(place, percent, color="white", edgecolor=style.colour, hatch=style.hatch, label=label)
    axes.bar_label(bars, fmt=lambda v: with_minus_sign(f"{v:+z.0f}"), padding=2, fontsize="small")
    for x in place[np.isnan(percent)]:
        axes.text(x, 0, " no optimum", rotation=90, ha="center", va="bottom", fontsize="small")
