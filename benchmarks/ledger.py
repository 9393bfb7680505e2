"""Write the ledger of claims, from the baselines, into docs/explanation/ledger.md.

With --check, nothing is written, and the exit code is 1 if the page is not up to date.

    python benchmarks/ledger.py
"""

from generated_tables import write

from ammup.claims import baselines
from ammup.claims.baselines import ordered
from ammup.claims.statements import CLAIMS
from ammup.report.ledger import ledger_markdown


def main() -> None:
    records = ordered(baselines.read().values(), [claim.id for claim in CLAIMS])
    write(
        {"ledger": ledger_markdown(record.to_dict() for record in records)},
        page="explanation/ledger.md",
        script="ledger.py",
        about=__doc__,
    )


if __name__ == "__main__":
    main()
