"""One statement of the paper as an executable claim, and the verdict on it.

A claim measures one row for each weight draw. Its statistic of all rows (a slope, say, of log means over draws) is
estimated with a jackknife, whose pseudo-values are one slope for each seed, and the interval is compared with the
region that the statement allows. Error rates: an interval has one-sided error rate `ALPHA` and a claim may look twice;
`ALPHA` is such that all claims together pass wrongly with probability of at most 1 % (Bonferroni).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from ammup.arrays import Array
from ammup.claims.definition import digest
from ammup.claims.draws import Seeds
from ammup.errors import InputError, unknown
from ammup.stats.equivalence import INSIDE, OUTSIDE, Estimate, Region, jackknife
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, HOLDS_WITH_CHANGE, INCONCLUSIVE

ALPHA = 6e-5
LOOKS = 2
FALSE_ALARM_BUDGET = 0.01
SAMPLE = 4
SEEDS_PER_ROOT = 1_000_000
KEY_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, how it is measured, and what would make it true.

    Attributes:
        id: short and stable, "where.what"; the part before the first dot names its baseline file.
        where: place in the paper.
        statement: what is stated, in our words.
        regime: nets, depths and data of the test.
        estimator: description of the measured number.
        rows: measures one row for each seed, shape (n, ...).
        statistic: of the rows; its value is the estimate.
        stated: the region that the statement allows.
        law: computes the region that our own theory gives, where that is not the stated one. The estimate must lie
            in it whatever the verdict: it is what a change of code, torch or hardware would move.
        change: with what change the statement holds, where the law amounts to such a change.
        n: rows of one look.
        exact: the rows are examples, not draws: there is no sampling error.
        remark: one sentence of further explanation, or "".
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
            raise InputError(f"claim {self.id}: a change needs the law that holds instead; pass law=")

    @property
    def group(self) -> str:
        """Name of the baseline file."""
        return self.id.partition(".")[0]

    @property
    def guarded(self) -> Region:
        """The region in which the estimate has to stay: the law's, or the stated one."""
        return self.law() if self.law else self.stated

    @property
    def key(self) -> str:
        """Changes with what is measured and compared: figures of different keys are not comparable.

        The law, the change and the texts are no part of it. Its first part is the version of the digest, see
        :func:`ammup.claims.comparison.same_definition`.
        """
        parts = (self.id, self.n, self.exact, self.stated, self.rows, self.statistic)
        return f"{KEY_VERSION}-{digest(*parts)}"

    def seeds(self, root: int, looks: int) -> Seeds:
        """The seeds of so many looks."""
        first = root * SEEDS_PER_ROOT
        return range(first, first + looks * self.n)

    def estimate(self, root: int, looks: int) -> tuple[Estimate, Array]:
        """The estimate after so many looks at the draws of a seed root, and the rows that it rests on."""
        rows = np.asarray(self.rows(self.seeds(root, looks)), dtype=np.float64)
        if not self.exact:
            return jackknife(rows, self.statistic), rows
        value = float(self.statistic(rows))
        if not np.isfinite(value):
            raise InputError(f"claim {self.id}: its figure is {value}, not finite; check its rows")
        return Estimate(value=value, se=0.0, df=1, n=len(rows)), rows

    def sample(self, root: int) -> tuple[Seeds, float]:
        """The figure of the first few draws alone, and their seeds.

        It is no evidence for the statement, but the same seeds give the same figure, so a commit that changes it is
        detected within a second. For an exact claim these are all rows.
        """
        seeds = self.seeds(root, 1)
        seeds = seeds if self.exact else seeds[:SAMPLE]
        return seeds, float(self.statistic(np.asarray(self.rows(seeds), dtype=np.float64)))

    def verdict(self, estimate: Estimate) -> str:
        """The verdict that follows from the estimate."""
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
    """A claim's figure and verdict.

    Attributes:
        claim: the claim.
        estimate: its estimate.
        verdict: one of `VERDICTS`.
        looks: how many batches of draws it took.
        root: seed root.
        means: mean of every column of the rows (often S̄ at each depth).
        mean_errors: their standard errors.
    """

    claim: Claim
    estimate: Estimate
    verdict: str
    looks: int
    root: int
    means: tuple[float, ...] = field(default=())
    mean_errors: tuple[float, ...] = field(default=())

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that the verdict rests on, of level 1 - 2 `ALPHA`."""
        return self.estimate.interval(ALPHA)

    @property
    def agrees_with_law(self) -> bool:
        """Whether the interval of the estimate lies inside the guarded region."""
        return self.estimate.against(self.claim.guarded, ALPHA) == INSIDE

    @property
    def power(self) -> float:
        """Probability that all looks together put the estimate inside the guarded region if its centre is the truth.

        A one-sided region has no centre; the measured value takes its place.
        """
        guarded = self.claim.guarded
        truth = guarded.centre if np.isfinite(guarded.margin) else self.estimate.value
        return self._last_look.power(guarded, ALPHA, truth)

    @property
    def false_alarm(self) -> float:
        """Probability that another seed root gives another verdict or leaves the guarded region.

        The measured value is taken as the true value; normal approximation.
        """
        last = self._last_look
        if last.se == 0:
            return 0.0
        half = last.interval(ALPHA)[1] - last.value
        low, high = -np.inf, np.inf
        stated, guarded = self.claim.stated, self.claim.guarded
        if self.verdict == HOLDS or self.claim.law:
            low, high = guarded.low + half, guarded.high - half
        if self.verdict == HOLDS:
            low, high = max(low, stated.low + half), min(high, stated.high - half)
        elif last.value > stated.centre:
            low = max(low, stated.high + half)
        else:
            high = min(high, stated.low - half)
        agree = stats.norm.cdf((high - last.value) / last.se) - stats.norm.cdf((low - last.value) / last.se)
        return float(1 - max(agree, 0.0))

    @property
    def _last_look(self) -> Estimate:
        """The estimate with the precision that it has when all looks are taken."""
        e, more = self.estimate, LOOKS / self.looks
        return Estimate(value=e.value, se=e.se / more**0.5, df=more * (e.df + 1) - 1, n=round(more * e.n))


def examine(claim: Claim, *, root: int = 0) -> Finding:
    """Measure a claim; if one batch of draws is inconclusive, again with the next batch, as declared in advance.

    A claim is settled when its verdict is not "inconclusive" and its estimate lies inside the region that it guards, or
    outside it with certainty at the error rate `ALPHA`.
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
    """The claim of this id.

    Raises:
        InputError: there is none.
    """
    by_id = {claim.id: claim for claim in claims}
    if name not in by_id:
        raise unknown("claim", name, by_id, "`ammup claims` lists them")
    return by_id[name]
