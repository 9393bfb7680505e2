"""Plot for three families the measured η*, the trainability edge of the stored sweep, and lines of slope -3/2.

python benchmarks/story_figure.py baselines/figures/story.png
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from ammup.colours import BLUE, GREY, VERMILION
from ammup.experiments.analysis import law_of
from ammup.experiments.record import SweepRecord
from ammup.stats.power_law import PowerLaw, fit_power_law

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
FAMILIES = {
    "cnn-relu-cifar10-small": "Plain CNN\nwithout skip connections",
    "resnet-last-cifar10-small": "ResNet, last layer\nof each branch scaled",
    "resnet-cifar10-small": "ResNet, all layers\nof each branch scaled",
}
PAPER = -1.5
# Depths, learning rates, and standard errors of their log10.
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def measured(record: SweepRecord) -> Points:
    """Depths, η* at initialization, and the standard errors of log10 η* over weight draws."""
    start = record.measurements[record.measurements["step"] == 0]
    draws = start.groupby("depth")["S_bar"]
    mean, error = draws.mean(), draws.std() / np.sqrt(draws.count())
    # η* = S̄^(-1/2), so that the relative error is half of that of S̄.
    return mean.index.to_numpy(float), mean.to_numpy() ** -0.5, (error / mean / 2 / np.log(10)).to_numpy()


def edges(record: SweepRecord) -> Points:
    """The same for the trainability edges of the trained sweep, without flagged ones."""
    law = law_of(record, kind="edge")
    values, errors = zip(*(law.lr_star(depth) for depth in law.used), strict=True)
    return np.array(law.used, dtype=float), np.array(values), np.array(errors)


def draw_series(axes: Axes, points: Points, *, weighted: bool, colour: str, marker: str) -> PowerLaw:
    """Draw points with bars of two standard errors, and the fit that the tables have: weighted for edges only."""
    depth, lr, se = points
    low, high = lr * (1 - 10 ** (-1.96 * se)), lr * (10 ** (1.96 * se) - 1)
    axes.errorbar(depth, lr, (low, high), fmt=marker, color=colour, markersize=8, capsize=4, linewidth=1.5)
    fit = fit_power_law(depth, lr, se=se if weighted else None)
    axes.plot(depth, fit.predict(depth), "-", color=colour, linewidth=2)
    return fit


def draw_panel(axes: Axes, record: SweepRecord, title: str) -> None:
    """Draw one family."""
    before = draw_series(axes, measured(record), weighted=False, colour=BLUE, marker="o")
    after = draw_series(axes, edges(record), weighted=True, colour=VERMILION, marker="s")
    depths = sorted(set(record.runs["depth"]))
    x = np.array([depths[0], depths[-1]], dtype=float)
    for fit in (before, after):
        centre = np.sqrt(x[0] * x[1])
        axes.plot(x, fit.predict([centre])[0] * (x / centre) ** PAPER, "--", color=GREY, linewidth=1.5, zorder=1)
    slopes = f"before training: slope {before.slope:.1f}\nafter training: slope {after.slope:.1f}".replace("-", "−")
    axes.set_title(title, fontsize=14, fontweight="bold", linespacing=1.1, pad=40)
    axes.text(0.5, 1.02, slopes, transform=axes.transAxes, ha="center", va="bottom", fontsize=12)
    axes.set(xscale="log", yscale="log", xlabel="depth (layers or blocks)")
    axes.xaxis.set_major_locator(FixedLocator(depths))
    axes.xaxis.set_major_formatter(FixedFormatter([str(depth) for depth in depths]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def story_figure() -> Figure:
    """One panel for each family, on common axes."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    panels = figure.subplots(1, len(FAMILIES), sharey=True)
    for axes, (name, title) in zip(panels, FAMILIES.items(), strict=True):
        draw_panel(axes, SweepRecord.read(SWEEPS / f"{name}.json"), title)
        axes.tick_params(labelsize=12)
        axes.xaxis.label.set_size(13)
    panels[0].set_ylabel("learning rate", fontsize=13)
    handles = [
        panels[0].plot([], [], "o-", color=BLUE, markersize=8, label="measured without training")[0],
        panels[0].plot(
            [], [], "s-", color=VERMILION, markersize=8, label="largest rate that trains, from trained sweeps"
        )[0],
        panels[0].plot([], [], "--", color=GREY, label="slope −3/2, as the paper states")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=12.5, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path)
    story_figure().savefig(parser.parse_args().figure, dpi=100)


if __name__ == "__main__":
    main()
