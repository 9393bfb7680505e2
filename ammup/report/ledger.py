"""The ledger of claims as text: for a terminal, and as the table in README.md."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ammup.format import interval_text, number_text, with_error, with_interval

Record = dict[str, Any]
STYLES = {"holds": "green", "holds with change": "yellow", "does not hold": "red", "inconclusive": "magenta"}


def ledger_text(records: Iterable[Record]) -> RenderableType:
    """One line for each claim, and how many there are of each verdict."""
    known = list(records)
    table = Table("claim", "measured", "interval", "stated", "verdict", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"  # an id that is cut off cannot be typed
    for record in known:
        verdict = Text(record["verdict"], style=STYLES[record["verdict"]])
        table.add_row(
            record["id"], number_text(record["estimate"]), region_text(record["interval"]), _stated(record), verdict
        )
    counts = {verdict: sum(record["verdict"] == verdict for record in known) for verdict in STYLES}
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    return Group(table, Text(f"{len(known)} claims: {summary}. `ammup claims --id ID` tells one whole."))


def claim_text(record: Record) -> RenderableType:
    """All that is known of one claim."""
    made = record["provenance"]
    lines = [
        ("statement", f"{record['statement']}  ({record['where']})"),
        ("verdict", record["verdict"] + (f": {record['change']}" if record["verdict"] == "holds with change" else "")),
        ("measured", f"{with_error(record['estimate'], record['se'], number_text)} s.e., {_level(record)} "
                     f"{interval_text(record['interval'], number_text)}"),
        ("what", record["estimator"]),
        ("on", record["regime"]),
        ("stated region", _stated(record)),
        ("our law", "the same" if record["law"] is None else region_text(record["law"])),
        ("sample", f"{record['n']} rows, {record['looks']} look{'s' if record['looks'] > 1 else ''}, "
                   f"seed root {record['root']}"),
        ("error rates", f"passes wrongly {record['alpha']:.2g} a look, false alarm {record['false_alarm']:.2g}, "
                        f"power {record['power']:.6g}"),
        ("remark", record["remark"]),
        ("from", f"commit {made['commit'][:8] or '?'}, torch {made['torch']}, {made['device']}, {made['dtype']}, "
                 f"{made['threads']} threads, {made['seconds']} s, {made['date']}"),
        ("reason", record["reason"]),
        ("measure again", f"ammup claims --measure --id {record['id']}"),
    ]  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    for name, value in lines:
        if value:
            grid.add_row(Text(name, style="bold"), Text(value))  # not markup: a reason may hold brackets
    return Group(Text(record["id"], style="bold"), grid)


def ledger_markdown(records: Iterable[Record]) -> str:
    """The whole ledger as a table for each place, for README.md."""
    parts = []
    for group, members in groupby(records, key=lambda record: str(record["id"]).partition(".")[0]):
        parts.append(f"**{group}**\n\n| claim | statement | measured | stated | verdict |\n|---|---|---|---|---|")
        for record in members:
            verdict = f"**{record['verdict']}**"
            notes = [note for note in (change_text(record), record["remark"]) if note]
            told = "; ".join([verdict, *notes])
            exact, estimate = record["se"] == 0, record["estimate"]
            figure = number_text(estimate) if exact else with_interval(estimate, record["interval"], number_text)
            row = (f"`{record['id'].partition('.')[2]}`", record["statement"], figure, _stated(record), told)
            parts.append("| " + " | ".join(cell.replace("|", "\\|").replace("*(", "\\*(") for cell in row) + " |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def change_text(record: Record) -> str:
    """With what change a claim holds; nothing where it holds without one, or not at all."""
    return str(record["change"]) if record["verdict"] == "holds with change" else ""


def _level(record: Record) -> str:
    return f"{record['interval_level']:.4%}".replace("0%", "%") + " interval"


def _stated(record: Record) -> str:
    return region_text(record["stated"])


def region_text(ends: Iterable[float | None]) -> str:
    """An interval, or a region that is open (None) at one end or at both."""
    low, high = ends
    if low is None and high is None:
        return "any"
    if low is None or high is None:
        return f"≥ {number_text(low)}" if high is None and low is not None else f"≤ {number_text(high or 0.0)}"
    return interval_text((low, high), number_text)
