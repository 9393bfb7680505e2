"""Write the tables of miss rates, of seed roots and of planted faults into docs/explanation/statistics.md.

They come from the results that `interval_calibration.py`, `error_budget.py`, `seed_roots.py` and `claim_power.py`
stored in baselines/pools. With --check, nothing is written, and the exit code is 1 if the page is not up to date.

    python benchmarks/statistics_tables.py
"""

import json

from generated_tables import write
from pool_parts.budget_table import budget_table
from pool_parts.coverage_cases import cases
from pool_parts.coverage_table import bootstrap_table, case_table, methods_table, split
from pool_parts.roots_table import roots_table
from pool_parts.store import FOLDER
from power_parts.table import power_table


def main() -> None:
    coverage = json.loads((FOLDER / "coverage.json").read_text(encoding="utf-8"))
    budget = json.loads((FOLDER / "budget.json").read_text(encoding="utf-8"))
    bootstraps = json.loads((FOLDER / "bootstraps.json").read_text(encoding="utf-8"))
    roots = json.loads((FOLDER / "roots.json").read_text(encoding="utf-8"))
    power = json.loads((FOLDER / "power.json").read_text(encoding="utf-8"))
    variation = {case.name: case.variation for case in cases()}
    moderate, strong = split(coverage, variation)
    tables = {
        "interval-methods": methods_table(moderate),
        "interval-methods-strong": methods_table(strong),
        "interval-bootstraps": bootstrap_table(bootstraps, variation),
        "interval-cases": case_table(coverage),
        "error-budget": budget_table(budget),
        "seed-roots": roots_table(roots),
        "fault-power": power_table(power),
    }
    print("\n\n".join(tables.values()))
    write(tables, page="explanation/statistics.md", script="statistics_tables.py", about=__doc__)


if __name__ == "__main__":
    main()
