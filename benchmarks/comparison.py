"""Write the slopes and the losses of the sweeps in baselines/sweeps into README.md.

With --check nothing is written, and the exit code is 1 where the page is stale.

    python benchmarks/comparison.py
"""

import argparse
import sys
from pathlib import Path

from ammup.experiments.record import SweepRecord
from ammup.report.comparison import errors_markdown, regret_markdown, slopes_markdown

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SWEEPS = ROOT / "baselines" / "sweeps"
TABLES = {"slopes": slopes_markdown, "regret": regret_markdown, "errors": errors_markdown}


def with_tables(text: str) -> str:
    """The page with the tables that the records give."""
    records = [SweepRecord.read(path) for path in sorted(SWEEPS.glob("*.json"))]
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: written by benchmarks/comparison.py -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise SystemExit(f"README.md must hold the lines {begin.strip()} and {end.strip()}")
        text = f"{before}{begin}\n{table(records)}\n{end}{after}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 where README.md is stale, and change nothing")
    text = README.read_text(encoding="utf-8")
    fresh = with_tables(text)
    if parser.parse_args().check:
        sys.exit(0 if fresh == text else "README.md is stale: run `python benchmarks/comparison.py`")
    README.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
