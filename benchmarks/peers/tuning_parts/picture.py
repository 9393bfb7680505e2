"""The figure of the frontier."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ammup.colours import BLACK, BLUE, GREEN, ORANGE, PURPLE, SILVER, VERMILION

# Colour and marker of each kind of method, by the start of its name.
STYLES = {
    "ammup": (VERMILION, "o"), "constant": (BLUE, "s"), "L^": (BLUE, "s"), "TPE": (GREEN, "^"), "random": (SILVER, "v"),
    "torch": (PURPLE, "D"), "fastai": (PURPLE, "D"), "0.1": (BLACK, "x"), "full": (BLACK, "*"),
}  # fmt: skip
OTHER = (ORANGE, "P")  # optimizers without a learning rate


def plot_frontier(table: pd.DataFrame) -> Figure:
    """Mean relative loss of accuracy against the trainings spent, one panel for each group of families."""
    groups = list(dict.fromkeys(table["group"]))
    figure = Figure(figsize=(6 * len(groups), 5.5), layout="constrained")
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        _panel(axes, str(group), table[table["group"] == group])
    return figure


def _panel(axes: Axes, group: str, table: pd.DataFrame) -> None:
    means = table.groupby("method", sort=False)[["trainings", "lost"]].mean()
    for method, (trainings, lost) in zip(means.index, means.to_numpy(), strict=True):
        colour, marker = next((style for start, style in STYLES.items() if str(method).startswith(start)), OTHER)
        axes.plot(trainings, 100 * lost, marker, color=colour)
        axes.annotate(str(method), (trainings, 100 * lost), xytext=(4, 2), textcoords="offset points", fontsize=7)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("symlog", linthresh=2)
    axes.axhline(1, color=SILVER, linewidth=0.8, linestyle=":")
    axes.set_title(f"{group}: {table['family'].nunique()} families" if table["family"].nunique() > 1 else group)
    axes.set_xlabel("complete trainings spent before the final one")
    axes.set_ylabel("test accuracy lost against the best rate, in %")
