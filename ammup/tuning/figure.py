"""The figure of a tuning: losses against learning rates at base and target."""

import math
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ammup.colours import BLUE, GREEN, VERMILION

if TYPE_CHECKING:
    from ammup.tuning.answer import Estimate, Tuned

BASE, TARGET, ANSWER = BLUE, VERMILION, GREEN


def plot_tuned(tuned: "Tuned") -> Figure:
    """Losses after ``probe_steps`` steps; runs that diverged or were stopped are crosses at the top."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    depths = ((tuned.base_depth, BASE, tuned.base_edge), (tuned.target, TARGET, tuned.edge))
    for depth, colour, edge in depths:
        _draw_runs(axes, tuned, depth, colour)
        _draw_estimate(axes, edge, colour, "--", f"edge at depth {depth}")
    _draw_estimate(axes, tuned.answer, ANSWER, "-", f"answer for depth {tuned.target}: {tuned.lr:.3g}")
    axes.axvline(
        tuned.base.lr, color=BASE, linestyle=":", label=f"tuned at depth {tuned.base_depth}: {tuned.base.lr:.3g}"
    )
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"training loss after {tuned.probe_steps} steps")
    axes.legend(fontsize="small")
    return figure


def _draw_runs(axes: Axes, tuned: "Tuned", depth: int, colour: str) -> None:
    losses = [(run.lr, run.loss_at(tuned.probe_steps)) for run in tuned.runs if run.depth == depth]
    trained = sorted((lr, loss) for lr, loss in losses if math.isfinite(loss))
    diverged = [lr for lr, loss in losses if math.isinf(loss)]
    if trained:
        axes.plot(*zip(*trained, strict=True), "o", color=colour, label=f"runs at depth {depth}")
    if diverged:
        top = [0.97] * len(diverged)
        axes.plot(
            diverged, top, "x", color=colour, transform=axes.get_xaxis_transform(), label=f"failed at depth {depth}"
        )


def _draw_estimate(axes: Axes, estimate: "Estimate", colour: str, dashes: str, label: str) -> None:
    axes.axvline(estimate.lr, color=colour, linestyle=dashes, label=label)
    axes.axvspan(*estimate.interval, color=colour, alpha=0.12, linewidth=0)
