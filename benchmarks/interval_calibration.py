"""How often intervals miss the truth on each side, from pools of measured S̄ that `draw_pools.py` stored.

A pool is the population: rows are drawn from it with replacement, so the truth is known and rare misses can be counted.
Methods: Student's t on jackknife pseudo-values, the corrections for skewness of Johnson (1978) and Hall (1992), the
log-normal interval of Cox (Olsson 2005), the correction of `ammup.stats.skewness` with the measured third moment, and
the same with the third moment of log-normal rows, which ammup uses. Counts are added to baselines/pools/coverage.json,
and the table is printed from there.

    python benchmarks/interval_calibration.py --resamples 400000
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from pool_parts.coverage_cases import cases
from pool_parts.coverage_table import coverage_tables
from pool_parts.resampling import CLOSED, Case, chunks, moments_of
from pool_parts.store import FOLDER

from ammup.atomic import write_atomically
from ammup.claims.claim import ALPHA

ALPHAS = (0.025, 0.005, 0.0005, ALPHA)
DRAWS = (8, 16, 32, 64, 128)
RESULTS = FOLDER / "coverage.json"
# With fewer draws only the levels above the claims' are counted, from a fraction of the resamples.
CLAIM_DRAWS, FRACTION = 64, 4


def count(case: Case, n: int, resamples: int, seed: int) -> dict[str, Any]:
    """Misses below and above the truth and mean widths relative to Student's, by method and level."""
    rng = np.random.default_rng(seed)
    truth, columns = case.truth, case.weights.size
    counts = {name: np.zeros((len(ALPHAS), 3)) for name in CLOSED}
    for size in chunks(resamples, n, columns):
        moments = moments_of(case.resamples(n, size, rng), case.weights)
        for name, method in CLOSED.items():
            for i, alpha in enumerate(ALPHAS):
                low, high = method(moments, alpha)
                counts[name][i] += (high < truth).sum(), (low > truth).sum(), np.nansum(high - low)
    widths = counts["Student"][:, 2].copy()
    for one in counts.values():
        one[:, 2] /= widths
    return {"resamples": resamples, "methods": {name: one.tolist() for name, one in counts.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=0, help="count cases that were not counted yet")
    parser.add_argument("--cases", default="", help="only cases whose name contains this text")
    parser.add_argument("--draws", type=int, nargs="+", default=list(DRAWS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.results.read_text()) if args.results.exists() else {}
    if args.resamples:
        for case in cases():
            for n in args.draws:
                if args.cases in case.name and str(n) not in results.get(case.name, {}):
                    number = args.resamples if n >= CLAIM_DRAWS else args.resamples // FRACTION
                    results.setdefault(case.name, {})[str(n)] = count(case, n, number, seed=n)
                    write_atomically(args.results, json.dumps(results))
                    print(f"{case.name}, n = {n}", flush=True)
    print(coverage_tables(results, {case.name: case.variation for case in cases()}))


if __name__ == "__main__":
    main()
