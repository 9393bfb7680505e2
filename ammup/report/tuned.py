"""The answer of a tuning for a terminal."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.format import count_text, duration_text, interval_text
from ammup.tuning.answer import Estimate, Tuned


def tuned_text(tuned: Tuned) -> RenderableType:
    """The learning rates with their intervals and origins, the cost, what one more run would buy, and the notes."""
    lines = [
        f"→ train depth {tuned.target} with lr {tuned.lr:.3g} "
        f"({tuned.level:.0%} interval {interval_text(tuned.interval, '.3g')}), "
        f"{tuned.safety:.2g} of its edge",
        _loss_line(tuned),
        _next_line(tuned),
        *(f"note: {note}" for note in tuned.notes),
    ]
    return Group(_estimates(tuned), _spent(tuned), Text("\n".join(lines)))


def _estimates(tuned: Tuned) -> Table:
    title = f"learning rates at depths {tuned.base_depth} and {tuned.target}"
    table = Table(
        "", "lr", f"{tuned.level:.0%} interval", "from", title=title, title_justify="left", title_style="bold"
    )
    table.columns[1].justify = "right"
    rows: dict[str, Estimate] = {
        f"tuned rate at depth {tuned.base_depth}": tuned.base,
        f"edge at depth {tuned.base_depth}": tuned.base_edge,
        f"edge at depth {tuned.target}": tuned.edge,
        f"answer for depth {tuned.target}": tuned.answer,
    }
    for name, estimate in rows.items():
        table.add_row(name, f"{estimate.lr:.3g}", interval_text(estimate.interval, ".3g"), estimate.source)
    prediction = tuned.prediction
    table.add_row("predicted ratio", f"{10**prediction.log_ratio:.3g}", "", f"{prediction.rule}: {prediction.reason}")
    return table


def _spent(tuned: Tuned) -> Table:
    table = Table("depth", "for", "runs", "steps", "complete trainings", "time", title="spent", title_justify="left")
    for name in (0, 2, 3, 4, 5):
        table.columns[name].justify = "right"
    for row in tuned.spent.to_dict("records"):
        cells = (row["purpose"], str(row["runs"]), str(row["steps"]), f"{row['trainings']:.1f}")
        table.add_row(str(row["depth"]), *cells, duration_text(row["seconds"]))
    return table


def _loss_line(tuned: Tuned) -> str:
    loss = tuned.loss
    if math.isnan(loss.mean):
        return f"expected loss of accuracy against a full grid: not known; {loss.source}"
    return (
        f"expected loss of accuracy against a full grid: {loss.mean:.1%} (worst {loss.worst:.1%} of "
        f"{count_text(loss.cases, 'case')}): {loss.source}"
    )


def _next_line(tuned: Tuned) -> str:
    more = tuned.next_run
    return (
        f"one more probe (depth {more.depth}, lr {more.lr:.3g}, {more.steps} steps) would narrow the edge there from "
        f"a factor of {more.factor:.2f} to about {more.factor_after:.2f}"
    )
