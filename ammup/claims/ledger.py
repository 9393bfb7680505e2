"""Measure claims, compare them with their baselines, and update the baselines."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from ammup.claims import baselines, history
from ammup.claims.claim import ALPHA, Claim, Finding, examine
from ammup.claims.comparison import Comparison, compare, sample_margin
from ammup.claims.record import ClaimRecord, Sample
from ammup.claims.statements import CLAIMS
from ammup.stats.equivalence import Region
from ammup.stats.verdicts import HOLDS, INCONCLUSIVE

# The largest number of columns whose means are stored.
COLUMNS = 16


def record_of(finding: Finding, *, seconds: float, reason: str = "") -> ClaimRecord:
    """Create the record of a finding; ``seconds`` is the duration and ``reason`` the reason for the measurement."""
    claim, estimate = finding.claim, finding.estimate
    seeds = claim.seeds(finding.root, finding.looks)
    return ClaimRecord(
        id=claim.id,
        where=claim.where,
        statement=claim.statement,
        regime=claim.regime,
        estimator=claim.estimator,
        stated=_ends(claim.stated),
        law=None if claim.law is None else _ends(claim.guarded),
        change=claim.change,
        remark=claim.remark,
        verdict=finding.verdict,
        agrees_with_law=finding.agrees_with_law,
        estimate=estimate.value,
        se=estimate.se,
        interval=finding.interval,
        interval_level=1 - 2 * ALPHA,
        n=estimate.n,
        looks=finding.looks,
        reference=claim.guarded.centre,
        margin=_finite(claim.guarded.margin),
        power=finding.power,
        false_alarm=finding.false_alarm,
        alpha=0.0 if claim.exact else ALPHA,
        exact=claim.exact,
        column_means=finding.means[:COLUMNS],
        column_errors=finding.mean_errors[:COLUMNS],
        root=finding.root,
        seeds=(seeds[0], seeds[-1]),
        sample=_sample(finding),
        key=claim.key,
        reason=reason,
        provenance=history.provenance(seconds),
    )


def _sample(finding: Finding) -> Sample | None:
    """The sample, or None if its few draws are outside of the domain of its statistic, such as a logarithm."""
    with np.errstate(invalid="ignore", divide="ignore"):
        seeds, estimate = finding.claim.sample(finding.root)
    if not np.isfinite(estimate):
        return None
    allowed = sample_margin(finding.estimate, estimate, len(seeds))
    return Sample(seeds=(seeds[0], seeds[-1]), estimate=estimate, allowed=allowed)


def measure(claims: Sequence[Claim] = CLAIMS, *, root: int = 0, reason: str = "") -> Iterator[Comparison]:
    """Measure each claim and yield its comparison with the stored baseline."""
    stored = baselines.read()
    for claim in claims:
        start = time.perf_counter()
        finding = examine(claim, root=root)
        record = record_of(finding, seconds=time.perf_counter() - start, reason=reason)
        yield compare(record, stored.get(claim.id))


def update(
    claims: Sequence[Claim], *, reason: str, accept_verdicts: bool, report: Callable[[Comparison, bool], None]
) -> bool:
    """Measure claims and replace the records that changed.

    Files are written group by group, so an interrupted run loses at most one group. Records of claims that no longer
    exist are removed.

    Args:
        claims: the claims to measure.
        reason: why the results may change; stored in each new record.
        accept_verdicts: also replace records whose verdict changed.
        report: called for each claim with the comparison and whether the new record is written.

    Returns:
        True if every changed record was replaced, False if a changed verdict was rejected.

    Raises:
        InputError: baselines may not be updated here, see :func:`ammup.claims.history.check_updatable`.
    """
    history.check_updatable()
    complete = True
    names = [claim.id for claim in CLAIMS]
    for group, members in groupby(claims, key=lambda claim: claim.group):
        stored = {name: record for name, record in baselines.read().items() if record.group == group}
        records = {name: record for name, record in stored.items() if name in names}
        moved = False
        for comparison in measure(list(members), reason=reason):
            accepted = comparison.moved and (accept_verdicts or not comparison.verdict_changed)
            complete &= accepted or not comparison.moved
            if accepted:
                records[comparison.id] = comparison.new
                moved = True
            report(comparison, accepted)
        if moved or len(records) < len(stored):
            baselines.write(baselines.ordered(records.values(), names), group)
    return complete


def alarms(comparison: Comparison) -> list[str]:
    """The reasons for which the test of a claim fails, one sentence each; empty if it passes.

    They are the problems of the comparison, an inconclusive verdict, and an interval outside the guarded region.
    """
    new = comparison.new
    reasons = list(comparison.problems)
    interval = list(new.interval)
    if new.verdict == INCONCLUSIVE:
        reasons.append(f"inconclusive after {new.looks} looks: {interval}")
    if (new.law or new.verdict == HOLDS) and not new.agrees_with_law:
        reasons.append(f"the interval {interval} is not inside {list(new.law or new.stated)}")
    return reasons


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ends(region: Region) -> tuple[float | None, float | None]:
    return _finite(region.low), _finite(region.high)
