"""Measure a claim while a fault is planted: some real seed roots in full, and thousands of synthetic ones."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pool_parts.budget import Population
from pool_parts.budget import alarms as synthetic_alarms

from ammup.arrays import Array
from ammup.claims.claim import Claim, Finding, claim_named, examine
from ammup.claims.comparison import compare
from ammup.claims.draws import Seeds
from ammup.claims.ledger import record_of
from ammup.claims.record import ClaimRecord
from ammup.claims.statements import CLAIMS
from ammup.stats.verdicts import HOLDS, INCONCLUSIVE
from power_parts.edits import planted
from power_parts.fault import Fault

# Further real roots are measured if the earlier ones took at most that many CPU seconds in total: first the seconds for
# faults that every root settles in the first look, then those for the others, of which the probability is less certain.
CHEAP_SECONDS, UNSETTLED_SECONDS = 3.0, 20.0
REAL_ROOTS, UNSETTLED_ROOTS = 3, 10
# Rows that vary less, relative to their mean, differ by rounding errors only.
SMALLEST_SPREAD = 1e-5


@dataclass
class Roots:
    """The results of real roots: whether each detected the fault, and what the claim measured.

    Attributes:
        caught: for each root, whether the test of the claim fails, apart from the comparison with the same seeds.
        values: the estimates.
        baseline: whether the comparison with the estimate from the same seeds, of root 0, detects the fault as well.
        rows: of all roots.
        settled: whether the first look of each root settled the claim.
        error: the error that the measurement raised, or "".
    """

    caught: list[bool] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    baseline: bool = False
    rows: list[Array] = field(default_factory=list)
    settled: bool = True
    error: str = ""


def measured(fault: Fault, record: ClaimRecord, *, roots: int, seed: int) -> dict[str, Any]:
    """The result of one fault, as it is stored.

    Args:
        fault: the fault to plant.
        record: the baseline of its claim.
        roots: number of synthetic roots.
        seed: seed of the synthetic roots.
    """
    claim = claim_named(CLAIMS, fault.claim)
    start = time.process_time()
    with planted(fault.edits):
        real = real_roots(claim, record)
        synthetic = {} if claim.exact or real.error else synthetic_roots(claim, record, real.rows, roots, seed)
    return {
        "claim": claim.id,
        "caught": real.caught,
        "values": [float(f"{value:.5g}") for value in real.values],
        "baseline": real.baseline,
        "exact": claim.exact,
        "cpu": round(time.process_time() - start, 1),
        **({"error": real.error} if real.error else {}),
        **synthetic,
    }


def real_roots(claim: Claim, record: ClaimRecord) -> Roots:
    """Examine the claim with the roots 0, 1, …; one root of an exact claim, and fewer roots of an expensive one."""
    results = Roots()
    start = time.process_time()
    for root in range(1 if claim.exact else UNSETTLED_ROOTS):
        most, seconds = (REAL_ROOTS, CHEAP_SECONDS) if results.settled else (UNSETTLED_ROOTS, UNSETTLED_SECONDS)
        if root and (root >= most or time.process_time() - start > seconds):
            break
        try:
            _add_root(results, claim, record, root)
        except Exception as error:  # a fault may raise anything; then the test of the claim fails
            results.error = f"{type(error).__name__}: {error}"
            results.caught.append(True)
            results.baseline = True
            break
    return results


def _add_root(results: Roots, claim: Claim, record: ClaimRecord, root: int) -> None:
    remembered: dict[Seeds, Array] = {}

    def rows(seeds: Seeds) -> Array:
        remembered[seeds] = np.asarray(claim.rows(seeds), dtype=np.float64)
        return remembered[seeds]

    # The finding is that of the claim itself, whose key is a digest of its own rows.
    finding = replace(examine(replace(claim, rows=rows), root=root), claim=claim)
    results.caught.append(is_alarm(finding, record))
    results.values.append(finding.estimate.value)
    results.rows.append(max(remembered.values(), key=len))
    results.settled &= finding.looks == 1
    if root == 0:
        results.baseline = bool(compare(record_of(finding, seconds=0), record).problems)


def is_alarm(finding: Finding, record: ClaimRecord) -> bool:
    """Whether the verdict differs, is inconclusive, or the interval is not in the guarded region, as in the budget."""
    guards = finding.claim.law is not None or record.verdict == HOLDS
    differs = finding.verdict != record.verdict or finding.verdict == INCONCLUSIVE
    return differs or (guards and not finding.agrees_with_law)


def synthetic_roots(claim: Claim, record: ClaimRecord, rows: list[Array], roots: int, seed: int) -> dict[str, Any]:
    """How many synthetic roots detect the fault; empty if the rows do not vary, or cannot be fitted."""
    flat = np.concatenate(rows)
    if not (flat.std(axis=0) > SMALLEST_SPREAD * np.abs(flat.mean(axis=0))).any() or not (flat.mean(axis=0) > 0).all():
        return {}
    population = Population.from_rows(flat)
    alarms = synthetic_alarms(claim, record, population, roots, seed)
    return {"rows": len(flat), "source": population.source, "roots": roots,
            **{f"{name}s": int(alarms[name].sum()) for name in ("alarm", "second")}}  # fmt: skip
