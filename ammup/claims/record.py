"""The record of one measured claim in a baseline file."""

from typing import Annotated

from pydantic import AfterValidator, Strict

from ammup.errors import check_known
from ammup.stats.verdicts import VERDICTS
from ammup.validation import Ends, Number, StoredModel, VersionedModel

Numbers = Annotated[tuple[Number, ...], Strict(False)]
SeedRange = Annotated[tuple[int, int], Strict(False)]


def _checked_verdict(verdict: str) -> str:
    check_known("verdict", verdict, VERDICTS)
    return verdict


class Provenance(StoredModel):
    """Commit, environment, command and date of a measurement. The commit is "" outside a checkout."""

    commit: str
    dirty: bool | None = None
    date: str
    python: str
    torch: str
    numpy: str
    device: str
    dtype: str
    threads: int
    machine: str | None = None
    command: str | None = None
    seconds: Number


class Sample(StoredModel):
    """The estimate from the first few draws, their first and last seed, and the largest allowed change."""

    seeds: SeedRange
    estimate: Number
    allowed: Number


class ClaimRecord(StoredModel):
    """The definition, result and provenance of a measured claim.

    Fields that are not listed here are those of :class:`~ammup.claims.claim.Claim` and
    :class:`~ammup.claims.claim.Finding`.

    Attributes:
        law: the region of our own theory, or None if it is the stated region.
        reference: centre of the guarded region.
        margin: half the width of the guarded region; None if it is one-sided.
        alpha: one-sided error rate; 0 for an exact claim.
        column_means: means of the first columns of the rows.
        column_errors: standard errors of these means.
        seeds: first and last seed.
        sample: estimate from the first few draws; None if it is not finite. Records of earlier versions have no sample,
            and may also lack other fields that have a default.
        key: digest of the definition of the claim.
        reason: why the claim was measured again.
    """

    id: str
    where: str
    statement: str
    regime: str
    estimator: str
    stated: Ends
    law: Ends | None
    change: str
    remark: str
    verdict: Annotated[str, AfterValidator(_checked_verdict)]
    agrees_with_law: bool | None = None
    estimate: Number
    se: Number
    interval: Ends
    interval_level: Number
    n: int
    looks: int
    reference: Number
    margin: Number | None
    power: Number
    false_alarm: Number
    alpha: Number
    exact: bool
    column_means: Numbers = ()
    column_errors: Numbers = ()
    root: int
    seeds: SeedRange | None = None
    sample: Sample | None = None
    key: str
    reason: str
    provenance: Provenance

    @property
    def group(self) -> str:
        """Name of the baseline file."""
        return self.id.partition(".")[0]


class BaselineFile(VersionedModel):
    """The content of one baseline file."""

    claims: Annotated[tuple[ClaimRecord, ...], Strict(False)]
