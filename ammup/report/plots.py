"""The panels of the paper and ours, drawn without a global figure state."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ammup.errors import InputError
from ammup.fitting.optimum import SweepLaw
from ammup.fitting.power_law import PowerLaw
from ammup.measurement.depth_law import DepthLaw

# Okabe-Ito colours, told apart by colour-blind readers; every line also has a dash pattern of its own for print.
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
PAPER_SLOPE = -1.5


def plot_depth_law(law: DepthLaw, *, title: str = "") -> Figure:
    """η* against L on log axes with its fit and references, and S_l against l at each depth.

    Args:
        law: what :func:`ammup.depth_exponent` returned.
        title: heading of the figure.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_lr_star(left, law)
    draw_profiles(right, law)
    if title:
        figure.suptitle(title)
    return figure


def draw_lr_star(axes: Axes, law: DepthLaw) -> None:
    """η*(L) ± one standard error, the fitted line with its band, and lines of the reference slopes."""
    curve = law.curve
    depth, lr_star = curve["depth"].to_numpy(float), curve["lr_star"].to_numpy(float)
    errors = _bars(lr_star, curve["se_log10"].fillna(0).to_numpy(float))
    axes.errorbar(depth, lr_star, errors, fmt="o", color=BLUE, capsize=3, label="measured η* ± s.e.", zorder=3)
    x = _draw_line(axes, law.power_law, depth, "fit")
    if law.reference is not None:
        label = f"slope {law.reference:.2f} (finite-depth law)"
        axes.plot(x, _through_centre(law.power_law, depth, x, law.reference), ":", color=GREEN, label=label)
    _against_depth(axes, depth, "maximal-update learning rate η*")


def _bars(values: np.ndarray, se_log10: np.ndarray) -> list[np.ndarray]:
    """Lengths below and above of ± one standard error of log10 values."""
    spread = 10**se_log10
    return [values * (1 - 1 / spread), values * (spread - 1)]


def _draw_line(axes: Axes, fit: PowerLaw, depth: np.ndarray, name: str) -> np.ndarray:
    """The fitted line with its band and the paper's slope through its centre; the depths they were drawn at."""
    x = np.geomspace(depth.min(), depth.max(), 100)
    low, high = fit.slope_ci
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    axes.plot(x, fit.predict(x), color=BLUE, label=f"{name}: slope {fit.slope:.2f}{interval}")
    lower, upper = fit.band(x)
    axes.fill_between(x, lower, upper, color=BLUE, alpha=0.15, linewidth=0, label=f"{fit.level:.0%} band")
    axes.plot(x, _through_centre(fit, depth, x, PAPER_SLOPE), "--", color=VERMILION, label="slope −3/2 (paper)")
    return x


def _against_depth(axes: Axes, depth: np.ndarray, quantity: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel="depth L", ylabel=quantity)
    axes.set_xticks(depth)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize="small")


def _through_centre(fit: PowerLaw, depth: np.ndarray, x: np.ndarray, slope: float) -> np.ndarray:
    centre = np.exp(np.log(depth).mean())
    return np.asarray(fit.predict(centre) * (x / centre) ** slope)


def draw_profiles(axes: Axes, law: DepthLaw) -> None:
    """S_l at η = η* against l/L; by definition each curve has mean 1."""
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(law.S)))
    for marker, colour, (depth, S) in zip("osD^vP*X" * len(law.S), colours, law.S.items(), strict=False):
        unit = np.arange(1, len(S) + 1)
        axes.plot(unit / len(S), S / S.mean(), marker=marker, markersize=4, color=colour, label=f"L = {depth}")
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(yscale="log", xlabel="unit l / L", ylabel=r"$S_l$ at η = η*")
    axes.legend(fontsize="small", ncols=2)


def plot_sweep(law: SweepLaw, runs: pd.DataFrame, *, title: str = "") -> Figure:
    """Validation accuracy against learning rate at each depth, and the optima against depth with their line.

    Args:
        law: what :func:`ammup.fitting.optimum.fit_sweep` found.
        runs: what it was given.
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
    """Mean over seeds, a dot for each seed, a cross where a replica diverged, a dashed line at each optimum."""
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(law.optima)))
    for marker, colour, depth in zip("osD^vP*X" * len(law.optima), colours, law.optima, strict=False):
        here = runs[runs["depth"] == depth]
        kept = here[~here["diverged"]]
        mean = kept.groupby("lr")["val_accuracy"].mean()
        axes.plot(mean.index, mean, marker=marker, markersize=4, color=colour, label=f"L = {depth}")
        axes.plot(kept["lr"], kept["val_accuracy"], ".", markersize=3, color=colour, alpha=0.5)
        lost = here[here["diverged"]]["lr"].unique()
        axes.plot(lost, np.full(len(lost), runs["val_accuracy"].min()), "x", color=colour)
        axes.axvline(law.lr_star(depth)[0], color=colour, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="learning rate η", ylabel="validation accuracy")
    axes.legend(fontsize="small")


def draw_optima(axes: Axes, law: SweepLaw) -> None:
    """Optima ± one standard error, hollow where they are flagged, the fitted line with its band, and slope −3/2."""
    depth = np.array(list(law.optima), dtype=float)
    for used, fill in ((True, BLUE), (False, "white")):
        chosen = [d for d in law.optima if (d in law.used) == used]
        if not chosen:
            continue
        values = np.array([law.lr_star(d)[0] for d in chosen])
        errors = _bars(values, np.array([law.lr_star(d)[1] for d in chosen]))
        label = f"best learning rate ({law.kind}) ± s.e." if used else "flagged, not fitted"
        axes.errorbar(
            chosen, values, errors, fmt="o", color=BLUE, markerfacecolor=fill, capsize=3, label=label, zorder=3
        )
    if law.power_law is not None:
        _draw_line(axes, law.power_law, depth, "weighted fit")
    _against_depth(axes, depth, "best learning rate after training")


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix.

    Raises:
        InputError: the format is unknown.
    """
    if path.suffix.lower() not in formats():
        raise InputError(f"a figure cannot be written as {path.name!r}; allowed suffixes: {', '.join(formats())}")
    figure.savefig(path, dpi=150)


def formats() -> tuple[str, ...]:
    """Suffixes that matplotlib can write a figure with."""
    return tuple(f".{name}" for name in sorted(Figure().canvas.get_supported_filetypes()))
