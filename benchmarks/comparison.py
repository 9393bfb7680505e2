"""Write tables of the sweeps in baselines/sweeps, slopes and losses, into docs/explanation/reproduction.md.

With --check, nothing is written, and the exit code is 1 if the page is not up to date.

    python benchmarks/comparison.py
"""

from pathlib import Path

from generated_tables import write

from ammup.experiments.analysis import regret_of
from ammup.experiments.record import SweepRecord
from ammup.report.comparison import errors_markdown, regret_markdown, slopes_markdown

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"


def main() -> None:
    records = [SweepRecord.read(path) for path in sorted(SWEEPS.glob("*-small.json"))]
    regrets = {record.experiment.name: regret_of(record) for record in records}
    tables = {
        "slopes": slopes_markdown(records),
        "regret": regret_markdown(regrets),
        "errors": errors_markdown(regrets),
    }
    write(tables, page="explanation/reproduction.md", script="comparison.py", about=__doc__)


if __name__ == "__main__":
    main()
