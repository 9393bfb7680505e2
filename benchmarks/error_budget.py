"""The rate at which synthetic seed roots change a verdict or raise an alarm, of every random claim and of all together.

A synthetic root draws the rows of a claim, with both looks, from a log-normal distribution that has the means and the
covariance of its measured rows (of `draw_claim_rows.py`) or, if these are not stored, the means and errors of its
baseline and a common correlation that gives the recorded standard error. So the measured values are the true ones. The
result is added to baselines/pools/budget.json, and the table is printed from there.

    python benchmarks/error_budget.py --roots 4000
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from pool_parts.budget import Population, alarms
from pool_parts.budget_table import budget_table
from pool_parts.store import FOLDER

from ammup.atomic import write_atomically
from ammup.claims import baselines
from ammup.claims.statements import CLAIMS

RESULTS = FOLDER / "budget.json"


def stored_rows() -> dict[str, np.ndarray]:
    rows: dict[str, np.ndarray] = {}
    for path in sorted((FOLDER / "claims").glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            rows |= {name: file[name].astype(np.float64) for name in file.files}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=int, default=0, help="simulate claims that were not simulated yet")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.results.read_text()) if args.results.exists() else {}
    rows, records = stored_rows(), baselines.read()
    for number, claim in enumerate(CLAIMS):
        if claim.exact or not args.roots:
            continue
        start, record = time.process_time(), records[claim.id]
        known = rows.get(claim.id)
        population = Population.from_record(claim, record) if known is None else Population.from_rows(known)
        if results.get(claim.id, {}).get("source") == population.source:
            continue
        found = alarms(claim, record, population, args.roots, seed=number)
        results[claim.id] = {"roots": args.roots, "source": population.source, "nominal": record.false_alarm,
                             **{name: np.flatnonzero(one).tolist() for name, one in found.items()}}  # fmt: skip
        write_atomically(args.results, json.dumps(results))
        print(f"{claim.id}: {found['alarm'].sum()} alarms, {time.process_time() - start:.1f} CPU s", flush=True)
    print(budget_table(results))


if __name__ == "__main__":
    main()
