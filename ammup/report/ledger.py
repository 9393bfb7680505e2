"""Format the ledger of claims: as tables for a terminal, and as the Markdown tables of the documentation."""

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
    """One row for each claim, and the number of claims with each verdict."""
    rows = list(records)
    table = Table("claim", "measured", "interval", "stated", "verdict", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"  # an id must not be truncated, because --id requires the complete id
    for record in rows:
        verdict = Text(record["verdict"], style=STYLES[record["verdict"]])
        table.add_row(
            record["id"], number_text(record["estimate"]), region_text(record["interval"]), _stated(record), verdict
        )
    counts = {verdict: sum(record["verdict"] == verdict for record in rows) for verdict in STYLES}
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    return Group(table, Text(f"{len(rows)} claims: {summary}. `ammup claims --id ID` shows one in full."))


def claim_text(record: Record) -> RenderableType:
    """All fields of one claim."""
    lines = [
        ("statement", f"{record['statement']}  ({record['where']})"),
        ("verdict", record["verdict"] + (f": {record['change']}" if record["verdict"] == "holds with change" else "")),
        ("measured", f"{with_error(record['estimate'], record['se'], number_text)} s.e., {_level(record)} "
                     f"{interval_text(record['interval'], number_text)}"),
        ("estimator", record["estimator"]),
        ("setting", record["regime"]),
        ("stated region", _stated(record)),
        ("our law", "same as stated" if record["law"] is None else region_text(record["law"])),
        ("sample", f"{record['n']} rows, {record['looks']} look{'s' if record['looks'] > 1 else ''}, "
                   f"seed root {record['root']}"),
        ("error rates", f"false pass {record['alpha']:.2g} per look, false alarm {record['false_alarm']:.2g}, "
                        f"power {record['power']:.6g}"),
        ("remark", record["remark"]),
        ("provenance", _provenance(record["provenance"])),
        ("reason", record["reason"]),
        ("measure again", f"ammup claims --measure --id {record['id']}"),
    ]  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    for name, value in lines:
        if value:
            grid.add_row(Text(name, style="bold"), Text(value))  # not markup: the text may contain brackets
    return Group(Text(record["id"], style="bold"), grid)


def _provenance(made: Record) -> str:
    """Where and when a claim was measured."""
    return (
        f"commit {made['commit'][:8] or '?'}, torch {made['torch']}, {made['device']}, {made['dtype']}, "
        f"{made['threads']} threads, {made['seconds']} s, {made['date']}"
    )


def ledger_markdown(records: Iterable[Record]) -> str:
    """The complete ledger for the documentation: one table for each group of ids."""
    lines = []
    for group, members in groupby(records, key=lambda record: str(record["id"]).partition(".")[0]):
        lines.append(f"**{group}**\n\n| claim | statement | measured | stated | verdict |\n|---|---|---|---|---|")
        for record in members:
            verdict = f"**{record['verdict']}**"
            notes = [note for note in (change_text(record), record["remark"]) if note]
            exact, estimate = record["se"] == 0, record["estimate"]
            measured = number_text(estimate) if exact else with_interval(estimate, record["interval"], number_text)
            name = f"`{record['id'].partition('.')[2]}`"
            row = (name, record["statement"], measured, _stated(record), "; ".join([verdict, *notes]))
            lines.append("| " + " | ".join(_escape(cell) for cell in row) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _escape(text: str) -> str:
    """Escape the characters that would end a Markdown cell or begin italics."""
    return text.replace("|", "\\|").replace("*(", "\\*(")


def change_text(record: Record) -> str:
    """The change with which a claim holds; empty for every verdict other than "holds with change"."""
    return str(record["change"]) if record["verdict"] == "holds with change" else ""


def _level(record: Record) -> str:
    return f"{record['interval_level']:.4%}".replace("0%", "%") + " interval"


def _stated(record: Record) -> str:
    return region_text(record["stated"])


def region_text(ends: Iterable[float | None]) -> str:
    """An interval, or a region without a bound (None) at one or both ends."""
    low, high = ends
    if low is None and high is None:
        return "any"
    if low is None or high is None:
        return f"≥ {number_text(low)}" if high is None and low is not None else f"≤ {number_text(high or 0.0)}"
    return interval_text((low, high), number_text)
