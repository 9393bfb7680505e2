"""Tables in README.md that scripts write: each lies between two comment lines that name it and its script."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def with_tables(text: str, tables: Mapping[str, str], script: str) -> str:
    """The page with these tables, by name, in their places."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/{script} -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise SystemExit(f"README.md must hold the lines {begin.strip()} and {end.strip()}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def write(tables: Mapping[str, str], *, script: str, about: str | None) -> None:
    """Write the tables into README.md, or with --check exit with 1 where they are stale."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 where README.md is stale, and change nothing")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    fresh = with_tables(text, tables, script)
    if check:
        sys.exit(0 if fresh == text else f"README.md is stale: run `python benchmarks/{script}`")
    README.write_text(fresh, encoding="utf-8")
