"""The figure of the frontier."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ammup.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SILVER, SKY, VERMILION

from .without_rate import LONGER

# (Kind of method, colour, marker) by the start of a method's name. Names of a number of probes or trials end with it.
KINDS = {
    "ammup": ("ammup, probes", VERMILION, "o"),
    "edge ratio": ("ratio of probed edges, probes", GREY, "o"),
    "constant": ("fixed rules", BLUE, "s"),
    "L^": ("fixed rules", BLUE, "s"),
    "TPE + Hyperband": ("TPE + Hyperband, trials", GREEN, "^"),
    "TPE + halving": ("TPE + halving, trials", SKY, "v"),
    "random": ("random, trials", SILVER, "d"),
    "torch": ("range tests", PURPLE, "D"),
    "fastai": ("range tests", PURPLE, "D"),
    "0.1": ("0.1, blind", BLACK, "x"),
    "full": ("full grid", BLACK, "*"),
}
OTHER = ("no learning rate", ORANGE, "P")


def plot_frontier(table: pd.DataFrame) -> Figure:
    """Mean relative loss of accuracy against the trainings spent, one panel for each group of families.

    Runs without a learning rate that are several times as long are not shown; they reach other accuracies.
    """
    table = table[~table["method"].str.endswith(LONGER)]
    groups = list(dict.fromkeys(table["group"]))
    figure = Figure(figsize=(5.5 * len(groups), 5.5), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    shown = {}
    for axes, group in zip(panels, groups, strict=True):
        _panel(axes, str(group), table[table["group"] == group])
        handles, labels = axes.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=min(5, 1 + 2 * len(groups)), fontsize="small"
    )
    return figure


def _panel(axes: Axes, group: str, table: pd.DataFrame) -> None:
    means = table.groupby("method", sort=False)[["trainings", "lost"]].mean()
    for name, (trainings, lost) in zip(means.index, means.to_numpy(), strict=True):
        method = str(name)
        kind, colour, marker = next((style for start, style in KINDS.items() if method.startswith(start)), OTHER)
        numbers = [word for word in method.split(", ")[-1].split() if word.isdigit()]
        axes.plot(trainings, 100 * lost, marker, color=colour, label=kind)
        text = numbers[0] if numbers else "" if method == kind else method
        axes.annotate(text, (trainings, 100 * lost), xytext=(5, 3), textcoords="offset points", fontsize=7)
    axes.set_yscale("symlog", linthresh=5)
    axes.set_yticks([-2, 0, 2, 5, 10, 20, 50])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-0.1, 100)
    axes.set_xticks([0, 1, 3, 10, 30, 100])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axhline(0, color=SILVER, linewidth=0.8)
    count = table["family"].nunique()
    axes.set_title(f"{group}: {count} families" if count > 1 else group)
    axes.set_xlabel("complete trainings spent before the final one")
    axes.set_ylabel("test accuracy lost against the best rate, in %")
