"""Synthetic seed roots of a claim: rows drawn from the log-normal distribution fitted to its measured rows.

Axes: R root, D draw, C column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ammup.claims.claim import ALPHA, LOOK_ROWS, Claim
from ammup.claims.record import ClaimRecord
from ammup.stats.equivalence import INSIDE, OUTSIDE, UNDECIDED, Region
from ammup.stats.skewness import limited, log_gradient, transformed
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, HOLDS_WITH_CHANGE, INCONCLUSIVE

Array = NDArray[np.float64]
CHUNK = 2_000_000  # numbers in one block of synthetic rows
LARGE = 1000  # so many stored rows are the population themselves


@dataclass(frozen=True, kw_only=True)
class Population:
    """A multivariate log-normal distribution of rows.

    Attributes:
        mean: mean of the logs, (C,).
        covariance: of the logs, (C, C).
        shape: of one row.
        source: "rows" if it was fitted to stored rows, "record" if to the means and errors of a baseline, "pool" if
            rows are drawn from many stored rows with replacement.
        pool: these rows, (rows, C).
    """

    mean: Array
    covariance: Array
    shape: tuple[int, ...]
    source: str
    pool: Array | None = None

    @classmethod
    def from_rows(cls, rows: Array) -> "Population":
        """The log-normal distribution with the means and the covariance of the rows."""
        flat = rows.reshape(len(rows), -1)
        means = flat.mean(axis=0)
        covariance = np.log1p(np.atleast_2d(np.cov(flat / means, rowvar=False)))
        many = len(rows) >= LARGE
        return cls(mean=np.log(means) - covariance.diagonal() / 2, covariance=covariance, shape=rows.shape[1:],
                   source="pool" if many else "rows", pool=flat if many else None)  # fmt: skip

    @classmethod
    def from_record(cls, claim: Claim, record: ClaimRecord) -> "Population":
        """The distribution with the recorded means and errors, and the correlation that gives the recorded error."""
        means, errors = np.array(record.column_means), np.array(record.column_errors)
        sd = errors / means * np.sqrt(max(1, record.n - 1))
        parts = log_gradient(claim.statistic, means) * sd
        own, together = float(parts @ parts), float(parts.sum() ** 2)
        spare = together - own
        rho = (record.n * record.se**2 - own) / spare if abs(spare) > 1e-12 * own else 0.0
        rho = float(np.clip(rho, -0.9999 / max(1, means.size - 1), 0.9999))
        relative = np.outer(sd, sd) * (rho + (1 - rho) * np.eye(means.size))
        covariance = np.log1p(relative)
        return cls(mean=np.log(means) - covariance.diagonal() / 2, covariance=covariance, shape=means.shape,
                   source="record")  # fmt: skip

    def draw(self, roots: int, draws: int, rng: np.random.Generator) -> Array:
        """Rows, (R, D, C)."""
        if self.pool is not None:
            return np.asarray(self.pool[rng.integers(len(self.pool), size=(roots, draws))])
        values, vectors = np.linalg.eigh(self.covariance)
        half = vectors * np.sqrt(np.maximum(values, 0))
        noise = rng.standard_normal((roots, draws, self.mean.size))
        return np.asarray(np.exp(noise @ half.T + self.mean))


def alarms(
    claim: Claim, record: ClaimRecord, population: Population, roots: int, seed: int
) -> dict[str, NDArray[np.bool_]]:
    """For each synthetic root: whether the verdict differs, there is any alarm, and a second look; each (R,)."""
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK // (LOOK_ROWS[-1] * claim.n * population.mean.size))
    parts = [_block(claim, record, population, min(size, roots - start), rng) for start in range(0, roots, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _block(
    claim: Claim, record: ClaimRecord, population: Population, roots: int, rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    rows = population.draw(roots, LOOK_ROWS[-1] * claim.n, rng)
    stated, guarded = claim.stated, claim.guarded
    settled = np.zeros(roots, dtype=bool)
    verdict = np.full(roots, INCONCLUSIVE, dtype=object)
    inside = np.zeros(roots, dtype=bool)
    for number, multiple in enumerate(LOOK_ROWS):
        low, high = intervals(claim, rows[:, : multiple * claim.n], population.shape)
        at_law = places(guarded, low, high)
        new = _verdicts(claim, places(stated, low, high), at_law)
        verdict = np.where(settled, verdict, new)
        inside = np.where(settled, inside, at_law == INSIDE)
        settled |= (new != INCONCLUSIVE) & (at_law != UNDECIDED)
        if number == 0:
            second = ~settled
            if not second.any():
                break
    other = verdict != record.verdict
    guards = claim.law is not None or record.verdict == HOLDS
    alarm = other | (verdict == INCONCLUSIVE) | (guards & ~inside)
    return {"verdict": other, "alarm": alarm, "second": second}


def intervals(claim: Claim, rows: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The interval of the claim's statistic of every root, to the accuracy of the delta method."""
    n = rows.shape[1]
    means = rows.mean(axis=1)
    by_logs = not is_function_of_means(claim, rows[0].reshape(n, *shape))
    centres = np.exp(np.log(rows).mean(axis=1)) if by_logs else means
    value, a = _evaluated(claim, centres, shape)
    u = np.log(rows / centres[:, None]) if by_logs else rows / means[:, None] - 1
    covariance = np.einsum("rdi,rdj->rij", u, u) / ((n - 1) * n)
    towards = np.einsum("rij,rj->ri", covariance, a)
    se = np.sqrt(np.einsum("ri,ri->r", a, towards))
    curvature = np.einsum("ri,ri->r", a, towards**2) * (not by_logs)
    triple = np.einsum("ri,rj,rk,rij,rik,rjk->r", a, a, a, covariance, covariance, covariance, optimize=True)
    linear = np.einsum("rdj,rj->rd", u, a)
    skew = stats.skew(linear, axis=1, bias=False)
    third = np.asarray(limited(3 * curvature + n * triple, skew, se**2, n)) * (not by_logs)
    bias = -0.5 * np.einsum("ri,rii->r", a, covariance) * (not by_logs)
    quadratic = (3 * curvature - 2 * third) / (6 * se**3)
    constant = bias / se + (curvature - third / 2) / se**3 - quadratic
    t = stats.t.ppf(1 - ALPHA, n - 1)
    upper, lower = (transformed(np.float64(z), quadratic, constant) for z in (t, -t))
    return value - upper * se, value - lower * se


def _evaluated(claim: Claim, centres: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """(The statistic, its derivatives by the logs of the means) of every root; most statistics are linear in them."""

    def at(one: Array) -> float:
        return float(claim.statistic(one.reshape(1, *shape)))

    typical = np.exp(np.log(centres).mean(axis=0))
    slope = log_gradient(claim.statistic, typical.reshape(shape))
    linear = at(typical) + np.log(centres / typical) @ slope
    if np.allclose(linear[:3], [at(one) for one in centres[:3]], rtol=1e-5, atol=1e-7):
        return linear, np.broadcast_to(slope, centres.shape)
    gradients = np.array([log_gradient(claim.statistic, one.reshape(shape)) for one in centres])
    return np.array([at(one) for one in centres]), gradients


def is_function_of_means(claim: Claim, rows: Array) -> bool:
    return bool(np.isclose(claim.statistic(rows), claim.statistic(rows.mean(axis=0)[None]), rtol=1e-9, atol=1e-12))


def places(region: Region, low: Array, high: Array) -> NDArray[np.object_]:
    """As :meth:`Region.place`, of many intervals."""
    outside = (high < region.low) | (low > region.high)
    inside = (region.low <= low) & (high <= region.high)
    return np.where(inside, INSIDE, np.where(outside, OUTSIDE, UNDECIDED)).astype(object)


def _verdicts(claim: Claim, stated: NDArray[np.object_], law: NDArray[np.object_]) -> NDArray[np.object_]:
    """As :meth:`Claim.verdict`, of many intervals."""
    if claim.law is None:
        outside = np.full(len(stated), DOES_NOT_HOLD, dtype=object)
    else:
        agreed = HOLDS_WITH_CHANGE if claim.change else DOES_NOT_HOLD
        outside = np.where(law == INSIDE, agreed, np.where(law == OUTSIDE, DOES_NOT_HOLD, INCONCLUSIVE)).astype(object)
    return np.where(stated == INSIDE, HOLDS, np.where(stated == OUTSIDE, outside, INCONCLUSIVE)).astype(object)
