"""How often intervals miss the truth on each side, from pools of measured S̄ that `draw_pools.py` stored.

A pool is the population: rows are drawn from it with replacement, so the truth is known and rare misses can be counted.
Methods: Student's t on jackknife pseudo-values, the corrections for skewness of Johnson (1978) and Hall (1992), the
log-normal interval of Cox (Olsson 2005), the correction of `ammup.stats.skewness` with the measured third moment, and
the same with the third moment of log-normal rows, which ammup uses. Counts are added to baselines/pools/coverage.json,
and the table is printed from there. The bootstrap-t and BCa intervals are compared on fewer resamples, from 8 draws on,
in baselines/pools/bootstraps.json.

    python benchmarks/interval_calibration.py --resamples 400000
    python benchmarks/interval_calibration.py --bootstrap-resamples 4000
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pool_parts.bootstraps import BOOTSTRAPS, CHUNK_VALUES, SAMPLES
from pool_parts.coverage_cases import cases
from pool_parts.coverage_table import ALPHAS, BOOTSTRAP_BESIDE, bootstrap_table, coverage_tables
from pool_parts.resampling import CLOSED, Array, Bounds, Case, chunks, moments_of
from pool_parts.store import FOLDER

from ammup.atomic import write_atomically

DRAWS = (8, 16, 32, 64, 128)
RESULTS = FOLDER / "coverage.json"
BOOTSTRAPPED = FOLDER / "bootstraps.json"
# A rate at higher levels needs more bootstrap samples than a user would wait for.
BOOTSTRAP_ALPHAS, BOOTSTRAP_DRAWS = ALPHAS[:2], (8, 16, 32)
# With fewer draws only the levels above the claims' are counted, from a fraction of the resamples.
CLAIM_DRAWS, FRACTION = 64, 4


def count(case: Case, n: int, resamples: int, seed: int) -> dict[str, Any]:
    """Misses below and above the truth and mean widths relative to Student's, by method and level."""
    resamples = resamples if n >= CLAIM_DRAWS else resamples // FRACTION
    rng = np.random.default_rng(seed)
    truth, columns = case.truth, case.weights.size
    counts = {name: np.zeros((len(ALPHAS), 3)) for name in CLOSED}
    for size in chunks(resamples, n, columns):
        moments = moments_of(case.resamples(n, size, rng), case.weights)
        for name, method in CLOSED.items():
            for i, alpha in enumerate(ALPHAS):
                counts[name][i] += _misses(method(moments, alpha), truth)
    return _relative(resamples, counts)


def count_bootstraps(case: Case, n: int, resamples: int, seed: int) -> dict[str, Any]:
    """As :func:`count`, for the bootstraps, and for Student's t and the interval of ammup on the same resamples."""
    rng = np.random.default_rng(seed)
    counts = {name: np.zeros((len(BOOTSTRAP_ALPHAS), 3)) for name in (*BOOTSTRAP_BESIDE, *BOOTSTRAPS)}
    for i, size in enumerate(chunks(resamples, n * SAMPLES, case.weights.size, CHUNK_VALUES)):
        rows = case.resamples(n, size, rng)
        moments = moments_of(rows, case.weights)
        bounds = {name: [CLOSED[name](moments, alpha) for alpha in BOOTSTRAP_ALPHAS] for name in BOOTSTRAP_BESIDE}
        bounds |= {name: method(rows, case.weights, BOOTSTRAP_ALPHAS, i) for name, method in BOOTSTRAPS.items()}
        for name, by_level in bounds.items():
            for level, ends in enumerate(by_level):
                counts[name][level] += _misses(ends, case.truth)
    return _relative(resamples, counts)


def _misses(bounds: Bounds, truth: float) -> tuple[float, float, float]:
    """(Intervals below the truth, intervals above it, sum of their widths)."""
    low, high = bounds
    return (high < truth).sum(), (low > truth).sum(), np.nansum(high - low)


def _relative(resamples: int, counts: dict[str, Array]) -> dict[str, Any]:
    """The counts, with mean widths relative to Student's."""
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
    parser.add_argument("--bootstrap-resamples", type=int, default=0, help="count missing cases of the bootstraps")
    parser.add_argument("--bootstrap-results", type=Path, default=BOOTSTRAPPED)
    args = parser.parse_args()
    add(args.results, args.draws, args.resamples, args.cases, count)
    add(args.bootstrap_results, BOOTSTRAP_DRAWS, args.bootstrap_resamples, args.cases, count_bootstraps)
    variation = {case.name: case.variation for case in cases()}
    print(coverage_tables(_read(args.results), variation))
    print(bootstrap_table(_read(args.bootstrap_results), variation))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def add(path: Path, draws: Sequence[int], resamples: int, pattern: str, counted: Callable[..., dict[str, Any]]) -> None:
    """Count the cases that are not in the file yet, and store each at once."""
    results = _read(path)
    for case in cases() if resamples else ():
        for n in draws:
            if pattern in case.name and str(n) not in results.get(case.name, {}):
                results.setdefault(case.name, {})[str(n)] = counted(case, n, resamples, seed=n)
                write_atomically(path, json.dumps(results))
                print(f"{case.name}, n = {n}", flush=True)


if __name__ == "__main__":
    main()
