"""The figure of a tuning: losses against learning rates at base and target."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ammup.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:
    from ammup.tuning.answer import Estimate, Tuned
    from ammup.tuning.progress import TuningRun

BASE, TARGET, ANSWER = BLUE, VERMILION, GREEN
DEPTHS = (BASE, TARGET, ANSWER, PURPLE, ORANGE, SKY)


def plot_tuned(tuned: "Tuned") -> Figure:
    """Losses after ``probe_steps`` steps; runs that diverged or were stopped are crosses at the top."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    depths = ((tuned.base_depth, BASE, tuned.base_edge), (tuned.target, TARGET, tuned.edge))
    for depth, colour, edge in depths:
        _draw_runs(axes, tuned.runs, tuned.probe_steps, depth, colour)
        _draw_estimate(axes, edge, colour, "--", f"edge at depth {depth}")
    _draw_estimate(axes, tuned.answer, ANSWER, "-", f"answer for depth {tuned.target}: {tuned.lr:.3g}")
    axes.axvline(
        tuned.base.lr, color=BASE, linestyle=":", label=f"tuned at depth {tuned.base_depth}: {tuned.base.lr:.3g}"
    )
    _label(axes, tuned.probe_steps)
    return figure


def plot_runs(runs: "Iterable[TuningRun]", probe_steps: int) -> Figure:
    """Losses after ``probe_steps`` steps at all depths, without an answer."""
    runs = tuple(runs)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, depth in enumerate(sorted({run.depth for run in runs})):
        _draw_runs(axes, runs, probe_steps, depth, DEPTHS[number % len(DEPTHS)])
    _label(axes, probe_steps)
    return figure


def _label(axes: Axes, probe_steps: int) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"training loss after {probe_steps} steps")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _draw_runs(axes: Axes, runs: "Iterable[TuningRun]", probe_steps: int, depth: int, colour: str) -> None:
    losses = [(run.lr, run.loss_at(probe_steps)) for run in runs if run.depth == depth]
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
