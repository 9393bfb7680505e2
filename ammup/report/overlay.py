"""Several experiments on the same axes, such as an ablation, and their ratios to the first one."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ammup import colours
from ammup.arrays import Array
from ammup.errors import InputError
from ammup.report import plots, styles
from ammup.report.panel import BARS, FLAGGED, INTERVAL, fitted_depths, log_axes, with_minus_sign
from ammup.report.styles import Style
from ammup.stats.optimum import SweepLaw


def plot_overlay(laws: Mapping[str, SweepLaw], *, title: str = "") -> Figure:
    """Optima and fitted lines of several experiments, and the ratios of the optima to the first ones (paper, figure 4).

    Args:
        laws: the result of :func:`ammup.stats.optimum.fit_sweep` by the name of the experiment.
        title: heading of the figure.

    Raises:
        InputError: ``laws`` is empty.
    """
    if not laws:
        raise InputError("laws is empty: expected at least one experiment")
    figure = Figure(figsize=(10, 6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    depths = sorted({depth for law in laws.values() for depth in law.optima})
    for name, law, style, shift in _series(laws):
        flagged = f"{name}: {FLAGGED}"
        plots.draw_swept(left, law, style=style, label=name, flagged=flagged, times=INTERVAL, shift=shift)
        if law.power_law is not None:
            label = f"{name}: {with_minus_sign(plots.slope_text(law.power_law))}"
            plots.draw_fit(left, law.power_law, fitted_depths(law), style=style, label=label, band="")
    log_axes(left, next(iter(laws.values())), depths)
    heading = f"bars: {BARS}, shifted if depths are equal;\nbands: confidence bands of the fits"
    plots.legend_below(left, columns=1, heading=heading)  # names are long: two columns are wider than the axes
    draw_ratios(right, laws)
    figure.suptitle(title)
    return figure


def _series(laws: Mapping[str, SweepLaw]) -> Iterator[tuple[str, SweepLaw, Style, float]]:
    """(Name, law, style, horizontal shift in points) of each experiment."""
    for place, (name, law) in enumerate(laws.items()):
        yield name, law, styles.series_style(place), 5 * (place - (len(laws) - 1) / 2)


def draw_ratios(axes: Axes, laws: Mapping[str, SweepLaw]) -> None:
    """Draw the ratios of the optima to those of the first experiment at equal depths, treated as independent."""
    (first_name, first, *_), *others = _series(laws)
    axes.axhline(1, color=colours.BLACK, linewidth=0.8)
    axes.set(xlabel="depth L", ylabel=f"η* / η* of {first_name}")
    for name, law, style, shift in others:
        common = [depth for depth in first.optima if depth in law.optima]
        for fitted, fill, label in (
            (True, style.colour, name),
            (False, "white", f"{name}: one of the two optima is flagged"),
        ):
            depths = [depth for depth in common if (depth in first.used and depth in law.used) == fitted]
            if depths:
                ratio, errors = _ratios(law, first, depths)
                plots.draw_points(axes, depths, ratio, errors, style=style, fill=fill, label=label, shift=shift)
    drawn = [bars.lines[0].get_ydata() for bars in axes.containers if isinstance(bars, ErrorbarContainer)]
    if drawn:
        low, high = axes.get_ylim()
        axes.set_ylim(max(0, low), min(high, 2 * max(1, np.concatenate(drawn).max())))
        plots.legend_below(axes, columns=1, heading=f"bars: {BARS}, for two independent optima")
    else:
        text = "the experiments have no depth in common" if others else "one experiment: nothing to compare"
        axes.text(0.5, 0.6, text, transform=axes.transAxes, ha="center")


def _ratios(law: SweepLaw, first: SweepLaw, depths: Sequence[int]) -> tuple[Array, Array]:
    """The ratios of η* to those of the first law, and the lengths of their error bars."""
    values, se = np.array([law.lr_star(depth) for depth in depths]).T
    reference, se_reference = np.array([first.lr_star(depth) for depth in depths]).T
    ratio = values / reference
    return ratio, plots.error_lengths(ratio, INTERVAL * np.hypot(se, se_reference))
