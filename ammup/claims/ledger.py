"""Measure claims, make records of their findings, and update the baselines."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from ammup.claims import baselines
from ammup.claims.baselines import Comparison, Record, Stopwatch
from ammup.claims.claim import ALPHA, Claim, Finding, examine
from ammup.claims.statements import CLAIMS
from ammup.stats.equivalence import Region
from ammup.stats.verdicts import HOLDS, INCONCLUSIVE


def record_of(finding: Finding, *, seconds: float, reason: str = "") -> Record:
    """A finding as plain numbers and text, with the figure of its first few draws beside that of all."""
    claim, estimate = finding.claim, finding.estimate
    return {
        "id": claim.id,
        "where": claim.where,
        "statement": claim.statement,
        "regime": claim.regime,
        "estimator": claim.estimator,
        "stated": _ends(claim.stated),
        "law": None if claim.law is None else _ends(claim.guarded),
        "change": claim.change,
        "remark": claim.remark,
        "verdict": finding.verdict,
        "agrees_with_law": finding.agrees_with_law,
        "estimate": estimate.value,
        "se": estimate.se,
        "interval": list(finding.interval),
        "interval_level": 1 - 2 * ALPHA,
        "n": estimate.n,
        "looks": finding.looks,
        "reference": float(claim.guarded.centre),
        "margin": _finite(claim.guarded.margin),
        "power": finding.power,
        "false_alarm": finding.false_alarm,
        "alpha": 0.0 if claim.exact else ALPHA,
        "exact": claim.exact,
        "column_means": [float(mean) for mean in finding.means[:16]],
        "column_errors": [float(error) for error in finding.mean_errors[:16]],
        "root": finding.root,
        "seeds": [claim.seeds(finding.root, finding.looks)[0], claim.seeds(finding.root, finding.looks)[-1]],
        "sample": _sample(finding),
        "key": claim.key,
        "reason": reason,
        "provenance": baselines.provenance(seconds),
    }


def _sample(finding: Finding) -> Record:
    seeds, figure = finding.claim.sample(finding.root)
    allowed = baselines.sample_margin(finding.estimate, figure, len(seeds))
    return {"seeds": [seeds[0], seeds[-1]], "estimate": figure, "allowed": allowed}


def measure(claims: Sequence[Claim] = CLAIMS, *, root: int = 0, reason: str = "") -> Iterator[Comparison]:
    """Measure one claim after the other and hold it against its baseline."""
    stored = baselines.read()
    for claim in claims:
        watch = Stopwatch()
        finding = examine(claim, root=root)
        record = record_of(finding, seconds=watch.seconds, reason=reason)
        yield baselines.compare(record, stored.get(claim.id))


def update(
    claims: Sequence[Claim], *, reason: str, accept_verdicts: bool, report: Callable[[Comparison, bool], None]
) -> bool:
    """Measure claims and rewrite the records that moved, group by group, so that a killed run loses one group at most.

    Args:
        claims: which.
        reason: why the figures may move; stored with each.
        accept_verdicts: whether a verdict may change.
        report: called with every comparison and whether its new record is written.

    Returns:
        Whether all that moved was written.
    """
    baselines.check_updatable()
    complete = True
    names = [claim.id for claim in CLAIMS]
    for group, members in groupby(claims, key=lambda claim: claim.group):
        stored = {name: record for name, record in baselines.read().items() if name.split(".")[0] == group}
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
    """Why a run of this claim fails: it is open, left the region that it guards, or is not what its baseline says."""
    new = comparison.new
    found = list(comparison.problems)
    if new["verdict"] == INCONCLUSIVE:
        found.append(f"{new['looks']} looks leave the claim open: {new['interval']}")
    if (new["law"] or new["verdict"] == HOLDS) and not new["agrees_with_law"]:
        found.append(f"{new['interval']} leaves {new['law'] or new['stated']}")
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ends(region: Region) -> list[float | None]:
    return [float(end) if np.isfinite(end) else None for end in (region.low, region.high)]
