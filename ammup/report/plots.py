"""The panels of the paper and ours, drawn without a global figure state."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ammup.errors import InputError
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
    spread = 10 ** curve["se_log10"].fillna(0).to_numpy(float)
    errors = [lr_star * (1 - 1 / spread), lr_star * (spread - 1)]
    fit = law.power_law
    x = np.geomspace(depth.min(), depth.max(), 100)
    axes.errorbar(depth, lr_star, errors, fmt="o", color=BLUE, capsize=3, label="measured η* ± s.e.", zorder=3)
    low, high = fit.slope_ci
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    axes.plot(x, fit.predict(x), color=BLUE, label=f"fit: slope {fit.slope:.2f}{interval}")
    lower, upper = fit.band(x)
    axes.fill_between(x, lower, upper, color=BLUE, alpha=0.15, linewidth=0, label=f"{fit.level:.0%} band")
    axes.plot(x, _through_centre(fit, depth, x, PAPER_SLOPE), "--", color=VERMILION, label="slope −3/2 (paper)")
    if law.reference is not None:
        label = f"slope {law.reference:.2f} (finite-depth law)"
        axes.plot(x, _through_centre(fit, depth, x, law.reference), ":", color=GREEN, label=label)
    axes.set(xscale="log", yscale="log", xlabel="depth L", ylabel="maximal-update learning rate η*")
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


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix.

    Raises:
        InputError: the format is unknown.
    """
    check_format(path)
    figure.savefig(path, dpi=150)


def check_format(path: Path) -> None:
    """Raise InputError unless matplotlib can write a file with this suffix."""
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        raise InputError(f"a figure cannot be written as {path.name!r}; allowed suffixes: {', '.join(sorted(formats))}")
