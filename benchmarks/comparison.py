"""Write the slopes and the losses of the sweeps in baselines/sweeps into README.md.

With --check nothing is written, and the exit code is 1 where the page is stale.

    python benchmarks/comparison.py
"""

from pathlib import Path

from readme_tables import write

from ammup.experiments.record import SweepRecord
from ammup.report.comparison import errors_markdown, regret_markdown, slopes_markdown

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
TABLES = {"slopes": slopes_markdown, "regret": regret_markdown, "errors": errors_markdown}


def main() -> None:
    records = [SweepRecord.read(path) for path in sorted(SWEEPS.glob("*.json"))]
    tables = {name: table(records) for name, table in TABLES.items()}
    write(tables, script="comparison.py", about=__doc__)


if __name__ == "__main__":
    main()
