"""Appendix A, (A1) to (A7): properties of the arithmetic mean, on seeded examples and on measured S_l."""

from collections.abc import Callable

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, Setting, step_of
from ammup.claims.statements.settings import DENSE, MLP
from ammup.stats.equivalence import Region
from ammup.stats.means import arithmetic_mean, geometric_mean, harmonic_mean, power_mean, weighted_harmonic_bound

EXAMPLES = 200
Mean = Callable[[Array], float]


def merge_violation(mean: Mean, S: Array, cut: int) -> float:
    """Relative change of a mean when the values before and after ``cut`` are replaced by their averages."""
    merged = np.concatenate([np.full(cut, S[:cut].mean()), np.full(len(S) - cut, S[cut:].mean())])
    return abs(mean(merged) / mean(S) - 1)


def _examples(check: Callable[[Array, np.random.Generator], float]) -> Callable[[Seeds], Array]:
    """Rows with the result of a check on random S, which have 2 to 30 values over six orders of magnitude."""

    def rows(seeds: Seeds) -> Array:
        rng = np.random.default_rng(seeds[0])
        values = (np.exp(rng.uniform(-7, 7, rng.integers(2, 31))) for _ in range(EXAMPLES))
        return np.array([[check(S, rng)] for S in values])

    return rows


def _merge(mean: Mean) -> Callable[[Array, np.random.Generator], float]:
    return lambda S, rng: merge_violation(mean, S, int(rng.integers(1, len(S))))


def _bound_excess(S: Array, rng: np.random.Generator) -> float:
    """Relative excess of L²/Σ(w/S) over the arithmetic mean, for random weights w of sum L (Titu's lemma)."""
    w = rng.dirichlet(np.ones(len(S))) * len(S)
    return float(weighted_harmonic_bound(S, w) / arithmetic_mean(S) - 1)


def _out_of_range(S: Array, rng: np.random.Generator) -> float:
    """Relative distance of the arithmetic mean from [min S, max S]; negative inside."""
    mean = arithmetic_mean(S)
    return float(max(S.min() / mean - 1, mean / S.max() - 1))


def _unbounded_mean(S: Array, rng: np.random.Generator) -> float:
    """|geometric mean - 1| of (ε, 1/ε, 1, …); infinite unless the arithmetic mean of these values exceeds 10^5."""
    S = np.append([1e-7, 1e7], np.ones(len(S) - 2))
    return abs(geometric_mean(S) - 1) if arithmetic_mean(S) > 1e5 else np.inf


def _harmonic_slope(S: Array, rng: np.random.Generator) -> float:
    """Relative error of ∂H/∂S_i = H²/(L S_i²) against complex-step differentiation, which has no cancellation."""
    i, step = int(rng.integers(len(S))), np.zeros(len(S), dtype=complex)
    step[i] = 1e-30j
    measured = np.imag(1 / np.mean(1 / (S + step))) / 1e-30
    return float(abs(measured / (harmonic_mean(S) ** 2 / (len(S) * S[i] ** 2)) - 1))


def _harmonic_slope_at_zero(S: Array, rng: np.random.Generator) -> float:
    """Log10 of (∂H/∂S_1)/L, where S_1 is 10^-12 times the smallest other value."""
    S = np.append(1e-12 * S.min(), S)
    slope = harmonic_mean(S) ** 2 / (len(S) * S[0] ** 2)
    return float(np.log10(slope / len(S)))


def _blocks(S: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The sums of S over two blocks, before and after one layer is split into two with the same sum."""
    cut, share = int(rng.integers(1, len(S))), rng.uniform(0.1, 0.9)
    split = np.append(S[cut:], 0.0)
    split[[0, -1]] = share * S[cut], (1 - share) * S[cut]
    return np.array([S[:cut].sum(), S[cut:].sum()]), np.array([S[:cut].sum(), split.sum()])


def _split(mean: Mean) -> Callable[[Array, np.random.Generator], float]:
    """Relative change of a mean over blocks when a layer is split."""

    def change(S: Array, rng: np.random.Generator) -> float:
        before, after = _blocks(S, rng)
        return abs(mean(after) / mean(before) - 1)

    return change


def _homogeneous(S: Array, rng: np.random.Generator) -> float:
    """Relative difference between the arithmetic mean of equal values and the value."""
    return float(abs(arithmetic_mean(np.full(len(S), S[0])) / S[0] - 1))


def _sum_over_layers(setting: Setting) -> Callable[[Seeds], Array]:
    """Rows (mean square of Σ_l Δz^(l), Σ_l of the mean squares) at L = 4 and 16, four columns."""

    def rows(seeds: Seeds) -> Array:
        columns = []
        for depth in (4, 16):
            sums = []
            for seed in seeds:
                step = step_of(setting.at(depth), seed)
                outputs, pull_back = step.backward(seed)
                labels = step.labels(outputs, seed)
                residuals = step.residuals(outputs, labels).drawn[0]
                changes = step.unit_tangents(pull_back(residuals)[0])
                total = sum(changes[1:], changes[0])
                squares = [float(z.double().square().mean()) for z in (total, *changes)]
                sums.append([squares[0], sum(squares[1:])])
            columns.append(np.array(sums))
        return np.concatenate(columns, axis=1)

    return rows


def _sum_growth(rows: Array) -> float:
    """Slope of log(E (Σ Δz)² / Σ S_l) on log L."""
    m = np.log(rows.mean(axis=0))
    return float(((m[2] - m[3]) - (m[0] - m[1])) / np.log(4))


def _exact(name: str, place: str, statement: str, check: Callable[[Array, np.random.Generator], float], stated: Region,
           estimator: str, *, statistic: Callable[[Array], float] = np.max, remark: str = "") -> Claim:  # fmt: skip
    return Claim(
        id=f"means.{name}",
        where=f"appendix A, ({place})",
        statement=statement,
        regime=f"{EXAMPLES} random S of 2 to 30 layers over six orders of magnitude",
        estimator=estimator,
        rows=_examples(check),
        statistic=statistic,
        stated=stated,
        n=EXAMPLES,
        exact=True,
        remark=remark,
    )


ZERO = Region(low=0, high=1e-9)
CHANGES = Region(low=1e-3, high=np.inf)
SPLIT = "{} when a layer inside a block is split into two"

CLAIMS = (
    _exact("a1-arithmetic", "A1", "the arithmetic mean is merge-consistent", _merge(arithmetic_mean), ZERO,
           "largest relative change under a merge"),
    _exact("a1-geometric", "A1", "the geometric mean is not merge-consistent", _merge(geometric_mean), CHANGES,
           "median relative change under a merge", statistic=np.median),
    _exact("a1-harmonic", "A1", "the harmonic mean is not merge-consistent", _merge(harmonic_mean), CHANGES,
           "median relative change under a merge", statistic=np.median),
    _exact("a1-quadratic", "A1", "no other power mean is merge-consistent (order 2)",
           _merge(lambda S: power_mean(S, 2.0)), CHANGES, "median relative change under a merge", statistic=np.median),
    Claim(
        id="means.a2-plain",
        where="appendix A, (A2)",
        statement="the steps Δz of different units are nearly orthogonal, E (Σ Δz)² ~ Σ S_l, in plain nets",
        regime="dense ReLU, n = 256, one sample, mse, label part, readout he; L = 4 and 16",
        estimator="slope on log L of the log of E (Σ Δz)² over Σ S_l",
        rows=_sum_over_layers(MLP),
        statistic=_sum_growth,
        stated=Region.around(0, 0.25),
        n=96,
    ),
    Claim(
        id="means.a2-residual",
        where="appendix A, (A2)",
        statement="the steps Δz of different units are nearly orthogonal, under residual normalization",
        regime="residual dense, n = 256, c = 2, one weight layer in a branch, label part; K = 4 and 16",
        estimator="slope on log L of the log of E (Σ Δz)² over Σ S_l",
        rows=_sum_over_layers(DENSE.with_arguments(branch=1)),
        statistic=_sum_growth,
        stated=Region.around(0, 0.25),
        n=48,
        remark="Δz is the total change of a unit, as in S_l; skips propagate it to later units: E (Σ Δz)² ~ L Σ S_l",
    ),
    _exact("a3-bound", "A3", "S̄ >= L²/Σ(w/S) for weights w of sum L", _bound_excess, Region(low=-np.inf, high=1e-12),
           "largest relative excess of the bound over S̄",
           remark="for equal S_l and w = 1 the bound is L S̄; Cauchy-Schwarz gives S̄ >= (Σ √w)²/(L Σ w/S)"),
    _exact("a3-range", "A3", "S̄ lies between the smallest and the largest S_l", _out_of_range,
           Region(low=-np.inf, high=1e-12), "largest relative distance outside"),
    _exact("a4-geometric", "A4", "a fixed value of the geometric mean of the S_l does not bound their sum",
           _unbounded_mean, Region(low=0, high=1e-9), "largest |GM - 1| where the arithmetic mean exceeds 10^5"),
    _exact("a4-order", "A4", "S̄ >= GM", lambda S, rng: geometric_mean(S) / arithmetic_mean(S) - 1,
           Region(low=-np.inf, high=1e-12), "largest relative excess of GM over S̄"),
    _exact("a5-order", "A5", "S̄ >= HM", lambda S, rng: harmonic_mean(S) / arithmetic_mean(S) - 1,
           Region(low=-np.inf, high=1e-12), "largest relative excess of HM over S̄"),
    _exact("a5-slope", "A5", "∂H/∂S_i = H²/(L S_i²)", _harmonic_slope, Region(low=0, high=1e-6),
           "largest relative error against a complex step"),
    _exact("a5-limit", "A5", "∂H/∂S_i grows without bound as S_i falls to 0", _harmonic_slope_at_zero,
           Region(low=3, high=np.inf), "median log10 of ∂H/∂S_i over L at S_i = 10^-12 min S", statistic=np.median,
           remark="it tends to L, the number of layers, because H tends to L S_i"),
    _exact("a6-arithmetic", "A6", SPLIT.format("the arithmetic mean over blocks of Σ S_l does not change"),
           _split(arithmetic_mean), ZERO, "largest relative change"),
    _exact("a6-contrast", "A6", SPLIT.format("the geometric and harmonic means over blocks of Σ S_l change"),
           lambda S, rng: max(_split(geometric_mean)(S, rng), _split(harmonic_mean)(S, rng)), CHANGES,
           "median relative change", statistic=np.median,
           remark="no mean over blocks changes, because the split does not change Σ S_l of the block"),
    _exact("a7-homogeneous", "A7", "if all layers have the same S_l, then S̄ = C requires S_l = C in every layer",
           _homogeneous, ZERO, "largest relative difference"),
)  # fmt: skip
