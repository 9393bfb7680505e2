"""The comparison of a claim's new record with its baseline."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ammup.claims.record import ClaimRecord
from ammup.gate.environment import DRIFT_ERRORS, ENVIRONMENT
from ammup.stats.equivalence import Estimate

# With the same torch, device, dtype and seeds only the order of additions (threads, vector units) can differ: it
# changes a figure by far less than this share of the standard error.
NEAR = 0.01
# The figure of the first few draws may change by this share of its own standard error, or by rounding.
SAMPLE_NEAR, SAMPLE_ROUNDING = 0.1, 1e-6
TEXTS = ("where", "statement", "regime", "estimator", "change", "remark", "stated")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A new record and the stored one.

    Attributes:
        id: of the claim.
        old: the stored record, or None.
        new: the new record.
        problems: why they do not agree, one sentence each; empty where they do.
    """

    id: str
    old: ClaimRecord | None
    new: ClaimRecord
    problems: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether an update replaces the stored record."""
        return (
            bool(self.problems)
            or self.old is None
            or _text(self.old) != _text(self.new)
            or _sample_moved(self.new, self.old)
        )

    @property
    def verdict_changed(self) -> bool:
        """Whether the stored record has another verdict."""
        return self.old is not None and self.old.verdict != self.new.verdict


def compare(new: ClaimRecord, old: ClaimRecord | None) -> Comparison:
    """Compare a new record with the stored one.

    Nearly exact where torch, device, dtype and seeds are the same; within the claim's drift margin otherwise.
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
    if not new.exact:  # an exact figure is compared with its region only: it differs by rounding
        same = old.root == new.root and _environment(old) == _environment(new)
        allowed = NEAR * old.se if same else drift_margin(new, old)
        if abs(new.estimate - old.estimate) > allowed:
            kind = "the same seeds, torch and device" if same else "another torch, device or seed root"
            problems.append(f"{old.estimate:.6g} became {new.estimate:.6g}; {kind} allow {allowed:.2g}")
    return problems


def same_definition(one: ClaimRecord, other: ClaimRecord) -> bool:
    """Whether both records measured the same claim.

    The first version of the key was a digest of the regime and the estimator as texts, of the sample size and of the
    stated region. A record that has it is compared by these, which it stores.
    """
    if _key_version(one) == _key_version(other):
        return one.key == other.key
    return _first_definition(one) == _first_definition(other)


def differences(
    before: Mapping[str, ClaimRecord], after: Mapping[str, ClaimRecord]
) -> list[tuple[str, ClaimRecord | None, ClaimRecord | None]]:
    """New claims, removed ones, and those with another definition, figure or verdict: (id, before, after)."""
    ids = [*before, *(name for name in after if name not in before)]
    pairs = [(name, before.get(name), after.get(name)) for name in ids]
    return [
        (name, a, b)
        for name, a, b in pairs
        if a is None or b is None or _figure(a) != _figure(b) or not same_definition(a, b)
    ]


def drift_margin(new: ClaimRecord, old: ClaimRecord) -> float:
    """How far a figure may be from its baseline in another environment.

    The larger of the margin of the guarded region and the largest difference of two independent samples of this
    precision.
    """
    scatter = DRIFT_ERRORS * float(np.hypot(new.se, old.se))
    return max(new.margin or 0.0, scatter)


def sample_margin(estimate: Estimate, sample: float, n: int) -> float:
    """How far the figure of the first ``n`` draws may change without counting as moved.

    Rounding changes it by far less; a change of what is measured by far more.
    """
    return max(SAMPLE_NEAR * estimate.se * math.sqrt(estimate.n / n), SAMPLE_ROUNDING * max(1.0, abs(sample)))


def _key_version(record: ClaimRecord) -> str:
    """Version of the key's digest; empty for the first one, whose keys have no prefix."""
    return record.key.rpartition("-")[0]


def _first_definition(record: ClaimRecord) -> tuple[object, ...]:
    rows_of_one_look = record.n // record.looks
    return record.id, record.regime, record.estimator, rows_of_one_look, record.exact, record.stated


def _environment(record: ClaimRecord) -> tuple[object, ...]:
    return tuple(getattr(record.provenance, name) for name in ENVIRONMENT)


def _figure(record: ClaimRecord) -> tuple[object, ...]:
    return record.verdict, record.estimate, record.se


def _text(record: ClaimRecord) -> tuple[object, ...]:
    law = record.law and [None if end is None else float(f"{end:.6g}") for end in record.law]
    return (*(getattr(record, name) for name in TEXTS), law)


def _sample_moved(new: ClaimRecord, old: ClaimRecord) -> bool:
    before, after = old.sample, new.sample
    return before is None or after is None or abs(after.estimate - before.estimate) > before.allowed
