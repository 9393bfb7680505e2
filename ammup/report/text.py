"""Tables for a terminal."""

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.measurement.depth_law import DepthLaw


def depth_law_text(law: DepthLaw, *, heading: str) -> RenderableType:
    """Depth, η* ± s.e. and local slope in a table, then the fitted slope and what it is held against."""
    table = Table("L", "η*", "± s.e.", "local slope", title=heading, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    curve = law.curve
    columns = (curve[name].tolist() for name in ("depth", "lr_star", "se_log10", "local_slope"))
    for depth, lr_star, se_log10, local in zip(*columns, strict=True):
        error = lr_star * np.log(10) * se_log10  # of log10 η*, shown in the units of η*
        slope = "" if np.isnan(local) else f"{local:.2f}"
        table.add_row(str(depth), f"{lr_star:.3g}", "?" if np.isnan(error) else f"{error:.2g}", slope)
    return Group(table, Text("\n".join([*_slopes(law), *_notes(law)])))


def _slopes(law: DepthLaw) -> list[str]:
    fit = law.power_law
    low, high = fit.slope_ci
    interval = (
        f"{fit.level:.0%} interval [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "no interval from one weight draw"
    )
    depths = ", ".join(str(depth) for depth in law.S)
    known = f"{law.reference:.2f}" if law.reference is not None else "not computed for this net and batch"
    return [
        f"slope of log η* on log L   {fit.slope:.2f}   {interval}",
        f"finite-depth law           {known}{f'   at L = {depths}' if law.reference is not None else ''}",
        "paper's limit, L^(-3/2)    -1.50",
    ]


def _notes(law: DepthLaw) -> list[str]:
    notes = []
    if law.noisy_depths:
        depths = ", ".join(str(depth) for depth in law.noisy_depths)
        notes.append(
            f"note: at L = {depths} a few weight draws carry the mean of S̄, and its standard error is rough; "
            "more --seeds or a larger --width make it firm"
        )
    uneven = {depth: n for depth, n in law.units.items() if depth != n}
    if uneven:
        counts = ", ".join(f"{depth} gave {n}" for depth, n in uneven.items())
        notes.append(f"note: depths and counted depth units differ ({counts}); the slope is against the depths given")
    return notes
