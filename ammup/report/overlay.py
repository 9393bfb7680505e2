"""Several experiments on one axes, and their ratio to the first: paddings, or an ablation."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.report import plots
from ammup.report.panel import BARS, FLAGGED, INTERVAL, fitted_depths, log_axes, minus
from ammup.report.plots import Style
from ammup.stats.optimum import SweepLaw


def plot_overlay(laws: Mapping[str, SweepLaw], *, title: str = "") -> Figure:
    """Optima and fitted lines of several experiments, and their ratios to those of the first (paper, figure 4).

    Args:
        laws: by the experiment's name.
        title: heading of the figure.

    Raises:
        InputError: no experiment.
    """
    if not laws:
        raise InputError("there is no experiment to draw; give one at least")
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    depths = sorted({depth for law in laws.values() for depth in law.optima})
    for name, law, style, shift in _series(laws):
        flagged = f"{name}: {FLAGGED}"
        plots.draw_swept(left, law, style=style, label=name, flagged=flagged, times=INTERVAL, shift=shift)
        if law.power_law is not None:
            label = f"{name}: {minus(plots.slope_text(law.power_law))}"
            plots.draw_fit(left, law.power_law, fitted_depths(law), style=style, label=label, band="")
    log_axes(left, depths)
    plots.legend_below(left, heading=f"bars: {BARS}, side by side where depths are the same; bands: of the fits")
    draw_ratios(right, laws)
    figure.suptitle(title)
    return figure


def _series(laws: Mapping[str, SweepLaw]) -> Iterator[tuple[str, SweepLaw, Style, float]]:
    for place, (name, law) in enumerate(laws.items()):
        yield name, law, plots.series_style(place), 5 * (place - (len(laws) - 1) / 2)


def draw_ratios(axes: Axes, laws: Mapping[str, SweepLaw]) -> None:
    """Optima over those of the first experiment at the same depth, with intervals as of independent ones."""
    (of_first, first, *_), *others = _series(laws)
    axes.axhline(1, color=plots.BLACK, linewidth=0.8)
    axes.set(xlabel="depth L", ylabel=f"η* / η* of {of_first}")
    for name, law, style, shift in others:
        common = [depth for depth in first.optima if depth in law.optima]
        for trusted, fill, label in ((True, style.colour, name), (False, "white", f"{name}: one of the two flagged")):
            depths = [depth for depth in common if (depth in first.used and depth in law.used) == trusted]
            if depths:
                ratio, errors = _ratios(law, first, depths)
                plots.draw_points(axes, depths, ratio, errors, style=style, fill=fill, label=label, shift=shift)
    drawn = [bars.lines[0].get_ydata() for bars in axes.containers if isinstance(bars, ErrorbarContainer)]
    if drawn:
        low, high = axes.get_ylim()
        axes.set_ylim(max(0, low), min(high, 2 * max(1, np.concatenate(drawn).max())))
        plots.legend_below(axes, heading=f"bars: {BARS}, the two optima taken as independent")
    else:
        text = "no depth in common" if others else "one experiment: nothing to compare"
        axes.text(0.5, 0.6, text, transform=axes.transAxes, ha="center")


def _ratios(law: SweepLaw, first: SweepLaw, depths: Sequence[int]) -> tuple[Array, Array]:
    """η* over that of the first law, and the lengths of the bars."""
    values, se = np.array([law.lr_star(depth) for depth in depths]).T
    reference, se_reference = np.array([first.lr_star(depth) for depth in depths]).T
    ratio = values / reference
    return ratio, plots.error_lengths(ratio, INTERVAL * np.hypot(se, se_reference))
