"""Generated tables in pages of docs/, each between two comment lines that name the table and its script."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def with_tables(text: str, tables: Mapping[str, str], script: str) -> str:
    """The text of a page with the given tables, by name.

    Raises:
        SystemExit: the comment lines of a table are missing.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/{script} -->\n", f"<!-- end of {name} -->\n"
        before, begin_line, rest = text.partition(begin)
        _, end_line, after = rest.partition(end)
        if not (begin_line and end_line):
            raise SystemExit(f"the page must contain the lines {begin.strip()} and {end.strip()}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def write(tables: Mapping[str, str], *, page: str, script: str, about: str | None) -> None:
    """Write the tables into a page of docs/, or with --check exit with 1 if they are not up to date."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check: exit with 1 if the page is not up to date")
    check = parser.parse_args().check
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    updated = with_tables(text, tables, script)
    if check:
        sys.exit(0 if updated == text else f"docs/{page} is not up to date: run `python benchmarks/{script}`")
    path.write_text(updated, encoding="utf-8")
