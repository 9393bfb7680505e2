"""Sweeps for a terminal: how far they have come, and what they will cost."""

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.experiments.cost import Cost
from ammup.experiments.live import status_table


def status_text(name: str, status: pd.DataFrame) -> RenderableType:
    """One row for each depth, and the sum."""
    return Group(status_table(name, status), Text(f"{status['done'].sum()} of {status['total'].sum()} cells are done"))


def cost_text(name: str, cost: Cost) -> RenderableType:
    """One row for each depth, and what they come to."""
    title = f"{name}: what is missing"
    table = Table("L", "cells", "operations", "seconds a cell", title=title, title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for row in cost.table.to_dict("records"):
        cells = (str(int(row["depth"])), str(int(row["cells"])), f"{row['flops']:.2g}", f"{row['seconds']:.3g}")
        table.add_row(*cells)
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''}, strategy {cost.strategy}"
    return Group(
        table,
        Text(
            f"{int(cost.table['cells'].sum())} cells, {cost.flops:.2g} floating-point operations, about "
            f"{cost.hours:.2g} hours on this machine ({workers}); diverging replicas end early"
        ),
    )
