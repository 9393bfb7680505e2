"""One statement of the paper as an executable claim, and the verdict on it.

A claim measures one row for each weight draw. A statistic of all rows, such as the slope of log means over the draws,
is the estimate. Its standard error comes from a jackknife over the draws. Its confidence interval, which is corrected
for the skewness of S̄ (:mod:`ammup.stats.skewness`), is compared with the region that the statement allows. If one batch
of draws (a look) is inconclusive, a second and larger batch is added.

Error rates: each interval has the one-sided error rate `ALPHA`. `ALPHA` is so small that the probability of a wrong
pass in any look at any claim is at most 1 % (Bonferroni correction).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

from ammup.arrays import Array
from ammup.claims.definition import digest
from ammup.claims.draws import Seeds
from ammup.errors import InputError, unknown
from ammup.format import brief_fields
from ammup.stats.equivalence import INSIDE, OUTSIDE, Estimate, Region, jackknife
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, HOLDS_WITH_CHANGE, INCONCLUSIVE

# One-sided error rate of every interval.
ALPHA = 6e-5
# Rows after the first and after the second look at a claim, in multiples of ``Claim.n``. Nearly all claims are settled
# by the first look, so many rows in the second one take little time, and settle what chance has left undecided.
LOOK_ROWS = (1, 4)
LOOKS = len(LOOK_ROWS)
FALSE_ALARM_BUDGET = 0.01
# Number of weight draws in the sample with which a change of the code is detected quickly.
SAMPLE = 4
# Distance between the first seeds of two seed roots.
SEEDS_PER_ROOT = 1_000_000
KEY_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, its measurement, and the region in which it holds.

    Attributes:
        id: stable identifier "group.name"; the group is the name of the baseline file.
        where: place in the paper.
        statement: the statement in our words.
        regime: nets, depths and data of the test.
        estimator: description of the estimated quantity.
        rows: measures one row for each seed, shape (n, ...).
        statistic: maps the rows to the estimate.
        stated: the region that the statement allows.
        law: computes the region that our own theory predicts, if it differs from the stated one. The estimate must lie
            in this region regardless of the verdict: if it does not, the code, torch or the hardware may have changed.
        change: the modification of the statement with which it holds, if there is one; then ``law`` is required.
        n: number of rows in one look.
        exact: whether the rows are fixed examples instead of random draws, so that there is no sampling error.
        remark: one sentence of explanation, or "".

    Raises:
        InputError: ``change`` is given without ``law``.
    """

    id: str
    where: str
    statement: str
    regime: str
    estimator: str
    rows: Callable[[Seeds], Array]
    stated: Region
    n: int
    statistic: Callable[[Array], float] = np.mean
    law: Callable[[], Region] | None = None
    change: str = ""
    exact: bool = False
    remark: str = ""

    def __post_init__(self) -> None:
        if self.change and self.law is None:
            raise InputError(
                f"claim {self.id}: change={self.change!r} requires the law of the changed statement; pass law="
            )

    @property
    def group(self) -> str:
        """Name of the baseline file."""
        return self.id.partition(".")[0]

    @property
    def guarded(self) -> Region:
        """The region in which the estimate must lie: that of the law, or the stated region if there is no law."""
        return self.law() if self.law else self.stated

    @property
    def key(self) -> str:
        """The version and digest of the definition; estimates with different keys are not comparable.

        The digest covers the id, the sample size, the stated region, the rows and the statistic. The law, the change
        and the texts are not part of it. See :func:`ammup.claims.comparison.same_definition`.
        """
        parts = (self.id, self.n, self.exact, self.stated, self.rows, self.statistic)
        return f"{KEY_VERSION}-{digest(*parts)}"

    def seeds(self, root: int, looks: int) -> Seeds:
        """The seeds of the first ``looks`` looks with a seed root."""
        first = root * SEEDS_PER_ROOT
        return range(first, first + LOOK_ROWS[looks - 1] * self.n)

    def estimate(self, root: int, looks: int) -> tuple[Estimate, Array]:
        """The estimate from the first ``looks`` looks with a seed root, and the rows from which it is computed.

        Raises:
            InputError: a row or the estimate is not finite.
        """
        rows = np.asarray(self.rows(self.seeds(root, looks)), dtype=np.float64)
        if not self.exact:
            return jackknife(rows, self.statistic), rows
        value = float(self.statistic(rows))
        if not np.isfinite(value):
            raise InputError(f"claim {self.id}: the estimate is {value}, which is not finite; check the rows")
        return Estimate(value=value, se=0.0, df=1, n=len(rows)), rows

    def sample(self, root: int) -> tuple[Seeds, float]:
        """(Seeds of the first `SAMPLE` draws, the statistic of their rows); for an exact claim, those of all rows.

        Four draws are too few to test the statement. However, the same seeds give the same value, so a commit that
        changes it is detected within a second.
        """
        seeds = self.seeds(root, 1)
        seeds = seeds if self.exact else seeds[:SAMPLE]
        rows = np.asarray(self.rows(seeds), dtype=np.float64)
        return seeds, float(self.statistic(rows))

    def verdict(self, estimate: Estimate) -> str:
        """One of ``VERDICTS``, from the position of the estimate's interval.

        It is compared with the stated region and, if it lies outside, with the region of the law.
        """
        stated = estimate.against(self.stated, ALPHA)
        if stated == INSIDE:
            return HOLDS
        if stated != OUTSIDE:
            return INCONCLUSIVE
        if self.law is None:
            return DOES_NOT_HOLD
        law = estimate.against(self.guarded, ALPHA)
        if law == INSIDE:
            return HOLDS_WITH_CHANGE if self.change else DOES_NOT_HOLD
        return DOES_NOT_HOLD if law == OUTSIDE else INCONCLUSIVE


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The estimate of a claim and the verdict on it.

    Attributes:
        claim: the claim.
        estimate: its estimate.
        verdict: one of `VERDICTS`.
        looks: number of looks.
        root: seed root.
        means: mean of every column of the rows (often S̄ at each depth).
        mean_errors: standard errors of these means.
    """

    claim: Claim
    estimate: Estimate
    verdict: str
    looks: int
    root: int
    means: tuple[float, ...] = field(default=())
    mean_errors: tuple[float, ...] = field(default=())

    __repr__ = brief_fields

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval that determines the verdict, with confidence level 1 - 2 `ALPHA`."""
        return self.estimate.interval(ALPHA)

    @property
    def agrees_with_law(self) -> bool:
        """Whether the interval of the estimate lies inside the guarded region."""
        return self.estimate.against(self.claim.guarded, ALPHA) == INSIDE

    @property
    def power(self) -> float:
        """Probability that the interval after all looks lies inside the guarded region if its centre is the true value.

        For a one-sided region, which has no centre, the measured value is used as the true value.
        """
        guarded = self.claim.guarded
        truth = guarded.centre if np.isfinite(guarded.margin) else self.estimate.value
        return self._last_look.power(guarded, ALPHA, truth)

    @property
    def false_alarm(self) -> float:
        """Probability that another seed root gives another verdict or an estimate outside the guarded region.

        The probability is computed for normal estimates around the measured value.
        """
        last = self._last_look
        if last.se == 0:
            return 0.0
        lower, upper = last.interval(ALPHA)
        below, above = last.value - lower, upper - last.value
        low, high = -np.inf, np.inf
        stated, guarded = self.claim.stated, self.claim.guarded
        if self.verdict == HOLDS or self.claim.law:
            low, high = guarded.low + below, guarded.high - above
        if self.verdict == HOLDS:
            low, high = max(low, stated.low + below), min(high, stated.high - above)
        elif last.value > stated.centre:
            low = max(low, stated.high + below)
        else:
            high = min(high, stated.low - above)
        below_high, below_low = (ndtr((end - last.value) / last.se) for end in (high, low))
        return float(1 - max(below_high - below_low, 0.0))

    @property
    def _last_look(self) -> Estimate:
        """The estimate with the standard error that it would have after all looks."""
        e, more = self.estimate, LOOK_ROWS[-1] / LOOK_ROWS[self.looks - 1]
        return Estimate(
            value=e.value,
            se=e.se / more**0.5,
            df=more * (e.df + 1) - 1,
            n=round(more * e.n),
            skewness=e.skewness.with_draws(more),
        )


def examine(claim: Claim, *, root: int = 0) -> Finding:
    """Measure a claim with one look, and with a second look if the first does not settle it.

    A claim is settled if its verdict is not "inconclusive" and the interval of its estimate lies entirely inside or
    entirely outside the guarded region.
    """
    looks = 1
    estimate, rows = claim.estimate(root, looks)
    while looks < LOOKS and not claim.exact and not _settled(claim, estimate):
        looks += 1
        estimate, rows = claim.estimate(root, looks)
    flat = rows.reshape(len(rows), -1)
    return Finding(
        claim=claim,
        estimate=estimate,
        verdict=claim.verdict(estimate),
        looks=looks,
        root=root,
        means=tuple(flat.mean(axis=0)),
        mean_errors=tuple(flat.std(axis=0) / max(1, len(flat) - 1) ** 0.5),
    )


def _settled(claim: Claim, estimate: Estimate) -> bool:
    guarded = estimate.against(claim.guarded, ALPHA)
    return claim.verdict(estimate) != INCONCLUSIVE and guarded in (INSIDE, OUTSIDE)


def claim_named(claims: Sequence[Claim], name: str) -> Claim:
    """The claim with this id.

    Raises:
        InputError: no claim has this id.
    """
    by_id = {claim.id: claim for claim in claims}
    if name not in by_id:
        raise unknown("claim", name, by_id, "`ammup claims` lists them")
    return by_id[name]
