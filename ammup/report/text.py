"""Tables for a terminal."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.format import error_from_log10, interval_text
from ammup.measurement.depth_law import DepthLaw
from ammup.models.depth import CONVENTIONS


def depth_law_text(law: DepthLaw, *, heading: str) -> RenderableType:
    """Depth, η* ± s.e. and local slope in a table, then the fitted slope and what it is compared with."""
    table = Table("L", "η*", "± s.e.", "local slope", title=heading, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    curve = law.curve
    columns = (curve[name].tolist() for name in ("depth", "lr_star", "se_log10", "local_slope"))
    for depth, lr_star, se_log10, local in zip(*columns, strict=True):
        error = error_from_log10(lr_star, se_log10)
        slope = "" if np.isnan(local) else f"{local:.2f}"
        table.add_row(str(depth), f"{lr_star:.3g}", "?" if np.isnan(error) else f"{error:.2g}", slope)
    return Group(table, Text("\n".join([*_slopes(law), *_notes(law)])))


def _slopes(law: DepthLaw) -> list[str]:
    fit = law.power_law
    ends = interval_text(fit.slope_ci, ".2f")
    interval = f"{fit.level:.0%} interval {ends}" if ends else "no interval from one weight draw"
    depths = ", ".join(str(depth) for depth in law.S)
    known = f"{law.reference:.2f}" if law.reference is not None else "not computed for this net and batch"
    return [
        f"slope of log η* on log L   {fit.slope:.2f}   {interval}",
        f"finite-depth law           {known}{f'   at L = {depths}' if law.reference is not None else ''}",
        "paper's limit, L^(-3/2)    -1.50",
    ]


# An interval of the slope that holds 0 and is no wider says that η* does not depend on depth: 10 % for each doubling.
FLAT = 0.14
UNDECIDED = "these draws do not show whether a tuned learning rate must"


def meaning(law: DepthLaw) -> str:
    """One sentence in plain words: what the slope says about the learning rate of a net of twice the depth."""
    low, high = law.power_law.slope_ci
    interval = f" ({2**low:.3g} to {2**high:.3g})" if np.isfinite(low) else ""
    if np.isfinite(low) and low <= 0 <= high:
        flat = high - low <= FLAT
        change = f"{'a tuned learning rate need not' if flat else UNDECIDED} change with depth: "
        change += f"for each doubling its factor lies between {2**low:.3g} and {2**high:.3g}"
        change += "" if flat else "; more --seeds narrow that range"
    else:
        change = (
            "each time the depth doubles, multiply a tuned learning rate by about "
            f"{2**law.power_law.slope:.3g}{interval} to keep the first update equally large"
        )
    return f"In plain words: {change}{_theory(law)}."


def _theory(law: DepthLaw) -> str:
    low, high = law.power_law.slope_ci
    if law.reference is None or not np.isfinite(low):
        return ""
    place = "inside" if low <= law.reference <= high else "outside"
    return f"; the finite-depth law, which is for infinite width, gives {2**law.reference:.3g}, {place} that range"


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


def depth_units_text(
    counts: Mapping[int, Mapping[str, int]], units: Mapping[int, Sequence[str]], *, heading: str, convention: str
) -> RenderableType:
    """How many units there are at each depth by each convention, what that counts, and the units of the deepest net."""
    table = Table("depth", *CONVENTIONS, title=heading, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    for depth, row in counts.items():
        table.add_row(str(depth), *(str(row[name]) for name in CONVENTIONS))
    deepest = max(units)
    lines = [
        *(f"{name:<14} {words}" for name, words in CONVENTIONS.items()),
        "the readout is not counted, nor, by the paper, is a stem",
        f"units at depth {deepest}, {convention}:",
        *(f"  {unit}" for unit in units[deepest]),
    ]
    return Group(table, Text("\n".join(lines)))


def transfer_text(rules: pd.DataFrame, *, heading: str) -> RenderableType:
    """A learning rate by every rule, with its interval and what it assumes."""
    table = Table("rule", "lr", "95% interval", "assumes", title=heading, title_justify="left", title_style="bold")
    table.columns[1].justify = "right"
    for row in rules.to_dict("records"):
        interval = interval_text((row["low"], row["high"]), ".3g")
        table.add_row(str(row["rule"]), f"{row['lr']:.3g}", interval, str(row["assumption"]))
    return table
