"""Sweeps to draw, and functions that read the data of the artists of a figure."""

from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ammup.stats.optimum import SweepLaw
from ammup.stats.segment import Segment

DEPTHS = (2, 4, 8, 16)
LRS = np.geomspace(1e-3, 10, 25)
A, B = Segment(anchors=(2, 4), predict=(8, 16)), Segment(anchors=(4, 8, 16), predict=(2,))
BROKEN = Segment(anchors=(4, 99), predict=(8,))
BARS = "± 1.96 s.e. (95%)"


def sweep(depths=DEPTHS, *, seeds: int = 3, kappa: float = 2.0, slope: float = -1.4, top: float = 4.0) -> pd.DataFrame:
    """Parabolas in log10 η with noise; a replica diverges above ``top``, the first seed above ``top / 1.5``."""
    rng = np.random.default_rng(7)
    rows = [
        {
            "depth": depth,
            "seed": seed,
            "lr": lr,
            "val_accuracy": 0.5 - 0.05 * np.log10(lr / (kappa * depth**slope)) ** 2 + 0.002 * rng.standard_normal(),
            "diverged": lr > (top if seed else top / 1.5),
        }
        for depth in depths
        for seed in range(seeds)
        for lr in LRS
    ]
    return pd.DataFrame(rows).assign(val_accuracy=lambda t: t["val_accuracy"].where(~t["diverged"]))


def flagged_sweep() -> pd.DataFrame:
    """A sweep whose replicas of depth 2 diverge before the maximum."""
    runs = sweep()
    runs.loc[(runs["depth"] == 2) & (runs["lr"] > 0.5), ["val_accuracy", "diverged"]] = [np.nan, True]
    return runs


def rendered(figure: Figure) -> Figure:
    """The figure after rendering (warnings are errors); asserts that legends lie inside it and outside the axes."""
    figure.savefig(BytesIO(), format="png", dpi=50)
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()] + figure.legends
    assert legends
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
    return figure


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def labels(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.get_legend().get_texts()}


def points(axes: Axes, label: str) -> tuple[Line2D, np.ndarray]:
    """The markers of an errorbar, and the ends of its bars: shape (points, 2 ends, x and y), NaN without a bar."""
    (found,) = [c for c in axes.containers if isinstance(c, ErrorbarContainer) and c.get_label() == label]
    ends = [bar if len(bar) else np.full((2, 2), np.nan) for bar in found[2][0].get_segments()]
    return found[0], np.array(ends)


def band(axes: Axes, label: str) -> np.ndarray:
    (found,) = [one for one in axes.collections if one.get_label() == label]
    return found.get_paths()[0].vertices


def intervals(law: SweepLaw, depths) -> np.ndarray:
    """η* divided and multiplied by 10^(1.96 s.e.)."""
    return np.array([[value * 10 ** (sign * 1.96 * se) for sign in (-1, 1)] for value, se in map(law.lr_star, depths)])


def slope_of(text: str) -> str:
    return text.replace("-", "−")
