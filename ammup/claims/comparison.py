"""The comparison of a claim's new record with its baseline."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ammup.claims.record import ClaimRecord
from ammup.gate.environment import DRIFT_ERRORS, ENVIRONMENT
from ammup.stats.equivalence import Estimate

# With the same seeds, torch, device and dtype, an estimate may change by this share of its standard error. A different
# order of additions (threads, vector units) changes it by far less.
ROUNDING_SHARE = 0.01
# The estimate from the sample may change by this share of its own standard error, or by this rounding error.
SAMPLE_SHARE, SAMPLE_ROUNDING = 0.1, 1e-6
# An end of the interval may change by this share of the standard error before the record is replaced.
INTERVAL_SHARE = 0.05
# The fields that describe a claim. If one of them changes, the record is replaced, but the comparison passes.
TEXTS = ("where", "statement", "regime", "estimator", "change", "remark", "stated")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A new record, the stored record, and the differences between them.

    Attributes:
        id: id of the claim.
        old: the stored record, or None if there is none.
        new: the new record.
        problems: the differences that are not allowed, one sentence each.
    """

    id: str
    old: ClaimRecord | None
    new: ClaimRecord
    problems: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether `ammup baselines update` replaces the stored record."""
        return (
            bool(self.problems)
            or self.old is None
            or _text(self.old) != _text(self.new)
            or _sample_moved(self.new, self.old)
            or _interval_moved(self.new, self.old)
        )

    @property
    def verdict_changed(self) -> bool:
        """Whether the verdict of the new record differs from that of the stored record."""
        return self.old is not None and self.old.verdict != self.new.verdict


def compare(new: ClaimRecord, old: ClaimRecord | None) -> Comparison:
    """Compare a new record with the stored one.

    If the seeds, torch, numpy, device and dtype are the same, the estimates must agree except for rounding. Otherwise
    they may differ by :func:`drift_margin`.
    """
    return Comparison(id=new.id, old=old, new=new, problems=tuple(_problems(new, old)))


def _problems(new: ClaimRecord, old: ClaimRecord | None) -> list[str]:
    if old is None:
        return ["there is no baseline; measure one with `ammup baselines update`"]
    if not same_definition(new, old):
        return ["the claim was defined differently when its baseline was measured"]
    problems = []
    if old.verdict != new.verdict:
        problems.append(f"verdict {old.verdict!r} became {new.verdict!r}")
    if not new.exact:  # the value of an exact claim is compared only with its region, because it may change by rounding
        repeated = old.root == new.root and _environment(old) == _environment(new)
        allowed = ROUNDING_SHARE * old.se if repeated else drift_margin(new, old)
        if abs(new.estimate - old.estimate) > allowed:
            conditions = "the same seeds, torch and device" if repeated else "another torch, device or seed root"
            problems.append(f"{old.estimate:.6g} became {new.estimate:.6g}; {conditions} allow {allowed:.2g}")
    return problems


def same_definition(one: ClaimRecord, other: ClaimRecord) -> bool:
    """Whether both records measured the same claim.

    Keys of the same version are compared directly. The first version of the key was a digest of the regime, the
    estimator, the sample size and the stated region, which a record stores. Records with keys of different versions
    are compared by these fields.
    """
    if _key_version(one) == _key_version(other):
        return one.key == other.key
    return _first_definition(one) == _first_definition(other)


def differences(
    before: Mapping[str, ClaimRecord], after: Mapping[str, ClaimRecord]
) -> list[tuple[str, ClaimRecord | None, ClaimRecord | None]]:
    """Find the claims whose records differ between two sets of records.

    Returns:
        (id, record before, record after) for each claim that was added, was removed, or has another definition,
        estimate, standard error or verdict. The missing record of an added or removed claim is None.
    """
    ids = [*before, *(name for name in after if name not in before)]
    pairs = [(name, before.get(name), after.get(name)) for name in ids]
    return [
        (name, a, b)
        for name, a, b in pairs
        if a is None or b is None or _result(a) != _result(b) or not same_definition(a, b)
    ]


def drift_margin(new: ClaimRecord, old: ClaimRecord) -> float:
    """The largest allowed difference between an estimate and its baseline from another environment or seed root.

    It is the larger of two values: the margin of the guarded region, and the difference that two independent estimates
    with these standard errors exceed with probability 1e-7.
    """
    scatter = DRIFT_ERRORS * float(np.hypot(new.se, old.se))
    return max(new.margin or 0.0, scatter)


def sample_margin(estimate: Estimate, sample: float, n: int) -> float:
    """The largest allowed change of ``sample``, the estimate from the first ``n`` draws.

    Rounding errors are far smaller, and the effect of a changed measurement is usually far larger.
    """
    sampling = SAMPLE_SHARE * estimate.se * math.sqrt(estimate.n / n)
    rounding = SAMPLE_ROUNDING * max(1.0, abs(sample))
    return max(sampling, rounding)


def _key_version(record: ClaimRecord) -> str:
    """The version of the key; "" for the first version, whose keys have no prefix."""
    return record.key.rpartition("-")[0]


def _first_definition(record: ClaimRecord) -> tuple[object, ...]:
    """The fields that the first version of the key covers."""
    rows_of_one_look = record.n // record.looks
    return record.id, record.regime, record.estimator, rows_of_one_look, record.exact, record.stated


def _environment(record: ClaimRecord) -> tuple[object, ...]:
    return tuple(getattr(record.provenance, name) for name in ENVIRONMENT)


def _result(record: ClaimRecord) -> tuple[object, ...]:
    return record.verdict, record.estimate, record.se


def _text(record: ClaimRecord) -> tuple[object, ...]:
    """The fields in ``TEXTS``, and the region of the law without its rounding errors."""
    law = record.law and [None if end is None else float(f"{end:.6g}") for end in record.law]
    return (*(getattr(record, name) for name in TEXTS), law)


def _interval_moved(new: ClaimRecord, old: ClaimRecord) -> bool:
    """Whether an end of the interval differs more than by rounding, as it does with another method for intervals."""
    pairs = zip(new.interval, old.interval, strict=True)
    return any(abs((a or 0.0) - (b or 0.0)) > INTERVAL_SHARE * old.se for a, b in pairs)


def _sample_moved(new: ClaimRecord, old: ClaimRecord) -> bool:
    before, after = old.sample, new.sample
    return before is None or after is None or abs(after.estimate - before.estimate) > before.allowed
