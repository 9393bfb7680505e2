"""Tables for a terminal: depth laws, depth units and transfer rules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.format import error_from_log10, interval_text
from ammup.measurement.depth_law import DepthLaw
from ammup.models.depth import CONVENTIONS
from ammup.transfer.curve_shape import CurveShape


def depth_law_text(law: DepthLaw, *, heading: str, sharpness: DepthLaw | None = None) -> RenderableType:
    """A table of depth, η* ± s.e. and local slope, followed by the fitted slope and reference slopes.

    Args:
        law: η* with S̄(η*) = 1.
        heading: the title of the table.
        sharpness: the edge of stability 2/λ at the same depths, for three more columns and one more slope.
    """
    table = Table("L", title=heading, title_justify="left", title_style="bold")
    laws = {"η*": law} if sharpness is None else {"η*": law, "2/λ": sharpness}
    for symbol in laws:
        for name in (symbol, "± s.e.", "local slope"):
            table.add_column(name)
    for column in table.columns:
        column.justify = "right"
    cells = [_curve_cells(measured) for measured in laws.values()]
    for depth, *rows in zip(law.curve["depth"], *cells, strict=True):
        table.add_row(str(depth), *(cell for row in rows for cell in row))
    lines = _slopes(law)
    if sharpness is not None:
        lines.insert(1, _slope("slope of log 2/λ on log L", sharpness))
    return Group(table, Text("\n".join([*lines, *_notes(law)])))


def _curve_cells(law: DepthLaw) -> list[list[str]]:
    """The cells of each depth: the learning rate, its standard error and the local slope."""
    curve = law.curve
    rows = []
    for lr, se_log10, local in zip(curve["lr_star"], curve["se_log10"], curve["local_slope"], strict=True):
        error = error_from_log10(lr, se_log10)
        slope = "" if np.isnan(local) else f"{local:.2f}"
        rows.append([f"{lr:.3g}", "?" if np.isnan(error) else f"{error:.2g}", slope])
    return rows


def _slope(label: str, law: DepthLaw) -> str:
    """The fitted slope with its interval."""
    fit = law.power_law
    ends = interval_text(fit.slope_ci, ".2f")
    interval = f"{fit.level:.0%} interval {ends}" if ends else "no interval from one weight draw"
    return f"{label:<26} {fit.slope:.2f}   {interval}"


def _slopes(law: DepthLaw) -> list[str]:
    """The fitted slope and the reference slopes."""
    depths = ", ".join(str(depth) for depth in law.S)
    if law.reference is None:
        reference = "not computed for this net and batch"
    else:
        reference = f"{law.reference:.2f}   at L = {depths}"
    return [
        _slope("slope of log η* on log L", law),
        f"finite-depth law           {reference}",
        "paper's limit, L^(-3/2)    -1.50",
    ]


# An interval of the slope that contains 0 and is at most this wide shows that η* does not depend on depth: a factor of
# 2^0.14 per doubling is 10 %.
FLAT_WIDTH = 0.14


def interpretation(law: DepthLaw) -> str:
    """One sentence: how a tuned learning rate must change when the depth doubles."""
    low, high = law.power_law.slope_ci
    if np.isfinite(low) and low <= 0 <= high:
        change = _undirected_change(low, high)
    else:
        interval = f" ({2**low:.3g} to {2**high:.3g})" if np.isfinite(low) else ""
        change = (
            "each time the depth doubles, multiply a tuned learning rate by about "
            f"{2**law.power_law.slope:.3g}{interval} to keep the size of the first update constant, with "
            "one learning rate for all parameters"
        )
    return f"In plain words: {change}{_theory(law)}."


def _undirected_change(low: float, high: float) -> str:
    """The sentence for an interval of the slope that contains 0."""
    factors = f"with each doubling, it changes by a factor between {2**low:.3g} and {2**high:.3g}"
    if high - low <= FLAT_WIDTH:
        return f"a tuned learning rate need not change with depth: {factors}"
    undecided = "these weight draws do not show whether a tuned learning rate must change with depth"
    return f"{undecided}: {factors}; increase --seeds to narrow that range"


def _theory(law: DepthLaw) -> str:
    """The end of the sentence, which compares the interval with the finite-depth law; "" if one of them is unknown."""
    low, high = law.power_law.slope_ci
    if law.reference is None or not np.isfinite(low):
        return ""
    place = "inside" if low <= law.reference <= high else "outside"
    return f"; the finite-depth law, which assumes infinite width, gives {2**law.reference:.3g}, {place} that range"


def _notes(law: DepthLaw) -> list[str]:
    """Warnings about noisy means, and about depths that differ from the number of depth units."""
    notes = []
    if law.noisy_depths:
        depths = ", ".join(str(depth) for depth in law.noisy_depths)
        notes.append(
            f"note: at L = {depths} a few weight draws dominate the mean of S̄, so its standard error is unreliable; "
            "increase --seeds or --width"
        )
    shape = CurveShape.between(law, min(law.S), max(law.S))
    notes += [f"warning: {one.text}" for one in shape.warnings() if one.kind in ("exponential", "signal", "rise")]
    uneven = {depth: n for depth, n in law.units.items() if depth != n}
    if uneven:
        counts = ", ".join(f"{depth} has {n} units" for depth, n in uneven.items())
        notes.append(f"note: depths and numbers of depth units differ ({counts}); the fit uses the given depths")
    return notes


def depth_units_text(
    counts: Mapping[int, Mapping[str, int]], units: Mapping[int, Sequence[str]], *, heading: str, convention: str
) -> RenderableType:
    """The number of units at each depth by each convention, the conventions, and the units of the deepest net."""
    table = Table("depth", *CONVENTIONS, title=heading, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    for depth, row in counts.items():
        table.add_row(str(depth), *(str(row[name]) for name in CONVENTIONS))
    deepest = max(units)
    lines = [
        *(f"{name:<14} {words}" for name, words in CONVENTIONS.items()),
        "no convention counts the readout; the paper's also excludes a stem",
        f"units at depth {deepest}, {convention}:",
        *(f"  {unit}" for unit in units[deepest]),
    ]
    return Group(table, Text("\n".join(lines)))


def transfer_text(rules: pd.DataFrame, *, heading: str) -> RenderableType:
    """A table of the learning rate by every rule, followed by the recommended learning rates and the warnings.

    Args:
        rules: a table of :func:`ammup.transfer_table`.
        heading: one line above the table.
    """
    several = rules["depth"].nunique() > 1
    columns = (*(("L",) if several else ()), "", "rule", "lr", "95% interval", "price", "assumes")
    table = Table(*columns, title=heading, title_justify="left", title_style="bold")
    for name in ("lr", "price"):
        table.columns[columns.index(name)].justify = "right"
    for row in rules.to_dict("records"):
        cells = [
            "→" if row["recommended"] else "",
            str(row["rule"]),
            f"{row['lr']:.3g}",
            interval_text((row["low"], row["high"]), ".3g"),
            "?" if np.isnan(row["price"]) else f"{row['price']:.0f}",
            str(row["assumption"]),
        ]
        table.add_row(*([str(row["depth"])] if several else []), *cells)
        if several and row["rule"] == rules["rule"].iloc[-1]:
            table.add_section()
    lines = [_recommended(one) for one in rules.attrs["recommendations"]]
    lines += [f"warning: {one['text']}" for one in rules.attrs["warnings"]]
    lines.append("price: the cost of the measurement in training steps, all depths together")
    return Group(table, Text("\n".join([*lines, f"holds for: {rules.attrs['parametrization']}"])))


def _recommended(advice: Mapping[str, Any]) -> str:
    """One line with the recommended learning rate at a depth, the range of the plausible rules, and the reason."""
    if advice["rule"] is None:
        return f"recommended at L = {advice['depth']}: no rule; {advice['reason']}"
    spread = f"plausible: {advice['low']:.3g} to {advice['high']:.3g}"
    return (
        f"→ recommended at L = {advice['depth']}: {advice['lr']:.3g} ({advice['rule']}; {spread}); {advice['reason']}"
    )
