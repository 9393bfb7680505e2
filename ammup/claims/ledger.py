"""Measure claims, make records of their findings, and update the baselines."""

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

COLUMNS = 16


def record_of(finding: Finding, *, seconds: float, reason: str = "") -> ClaimRecord:
    """The record of a finding, with the figure of its first few draws."""
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


def _sample(finding: Finding) -> Sample:
    seeds, figure = finding.claim.sample(finding.root)
    allowed = sample_margin(finding.estimate, figure, len(seeds))
    return Sample(seeds=(seeds[0], seeds[-1]), estimate=figure, allowed=allowed)


def measure(claims: Sequence[Claim] = CLAIMS, *, root: int = 0, reason: str = "") -> Iterator[Comparison]:
    """Measure one claim after the other and compare it with its baseline."""
    stored = baselines.read()
    for claim in claims:
        start = time.perf_counter()
        finding = examine(claim, root=root)
        record = record_of(finding, seconds=time.perf_counter() - start, reason=reason)
        yield compare(record, stored.get(claim.id))


def update(
    claims: Sequence[Claim], *, reason: str, accept_verdicts: bool, report: Callable[[Comparison, bool], None]
) -> bool:
    """Measure claims and rewrite the records that moved, group by group: a killed run loses one group at most.

    Args:
        claims: the claims to measure.
        reason: why the figures may move; stored in each record.
        accept_verdicts: whether a verdict may change.
        report: called with every comparison and whether its new record is written.

    Returns:
        Whether every record that moved was written.

    Raises:
        InputError: baselines must not be updated here, see :func:`ammup.claims.history.check_updatable`.
    """
    history.check_updatable()
    complete = True
    names = [claim.id for claim in CLAIMS]
    for group, members in groupby(claims, key=lambda claim: claim.group):
        stored = {name: record for name, record in baselines.read().items() if record.group == group}
        known = {name: record for name, record in stored.items() if name in names}
        moved = False
        for comparison in measure(list(members), reason=reason):
            accepted = comparison.moved and (accept_verdicts or not comparison.verdict_changed)
            complete &= accepted or not comparison.moved
            if accepted:
                known[comparison.id] = comparison.new
                moved = True
            report(comparison, accepted)
        if moved or len(known) < len(stored):
            baselines.write(baselines.ordered(known.values(), names), group)
    return complete


def alarms(comparison: Comparison) -> list[str]:
    """Why a run of this claim fails: it is inconclusive, outside its guarded region, or differs from its baseline."""
    new = comparison.new
    found = list(comparison.problems)
    interval = list(new.interval)
    if new.verdict == INCONCLUSIVE:
        found.append(f"inconclusive after {new.looks} looks: {interval}")
    if (new.law or new.verdict == HOLDS) and not new.agrees_with_law:
        found.append(f"{interval} leaves {list(new.law or new.stated)}")
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ends(region: Region) -> tuple[float | None, float | None]:
    return _finite(region.low), _finite(region.high)
