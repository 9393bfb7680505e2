"""Write the ledger of claims, as the baselines have it, into README.md.

With --check nothing is written, and the exit code is 1 where the page is stale.

    python benchmarks/ledger.py
"""

import argparse
import sys
from pathlib import Path

from ammup.report.ledger import ledger_markdown
from ammup.suite import baselines
from ammup.suite.baselines import ordered
from ammup.suite.statements import CLAIMS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- ledger: written by benchmarks/ledger.py -->\n", "<!-- end of ledger -->\n"


def with_ledger(text: str) -> str:
    """The page with the ledger that the baselines give."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"README.md must hold the lines {BEGIN.strip()} and {END.strip()}")
    records = ordered(baselines.read().values(), [claim.id for claim in CLAIMS])
    return f"{before}{BEGIN}\n{ledger_markdown(records)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 where README.md is stale, and change nothing")
    text = README.read_text(encoding="utf-8")
    fresh = with_ledger(text)
    if parser.parse_args().check:
        sys.exit(0 if fresh == text else "README.md is stale: run `python benchmarks/ledger.py`")
    README.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
