"""The patterns of faults: what each of them does to the features of a measured depth law.

A pattern predicts the features of :mod:`ammup.gate.fault_features` by a mixture of Gaussians over the unknown size of
its fault, plus the probabilities of the facts. With u the units of the correct net at a depth, L the depth and a, c, p
sizes of the fault (each with a grid of values):

    exponential growth   tilt a·u, shift −1.15 a (u − 0.5), for a > 0; the same for a < 0 is an exponential decay
    size of branches     shift a (1 + p log(L / L_1)), tilt −a (0.6 + 0.85 log(L / L_1)), with p = 0.4, or 1.2 if a > 0:
                         the change saturates with depth
    constant factor      shift c, no tilt
    power of the depth   shift c + p log L, no tilt
    single layers        shift c, tilt −0.7 c or −1.8 c, and a step of half the tilt
    one fewer, one more, twice           shift slope · log((L − 1) / L) and so on, and the fact
    still units, copied layers, other    any shift (or exponential growth), and the fact

Every size comes with a spread, because architectures differ in how strongly they respond: a share of the predicted
value, common to all depths and separate at each, plus a constant. The spread is added to the covariance of the
measurement, so that a pattern is not preferred for fitting noise. The alternative without a pattern expects any shift
and tilt. The constants were chosen on the first six architectures of benchmarks/causes.py; the other three, and the
projects in tests/projects, were kept for testing. docs/likely_causes.md lists how often the named cause is right.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ammup.arrays import Array
from ammup.gate.fault_features import SMALLEST_STEP, Features

# Probability of a fact that a fault does not produce, for example because two causes act together.
UNEXPECTED = 0.0005
# The same under the alternative without a pattern.
UNEXPLAINED = 0.005
# Shares of the predicted values that are common to all depths, and that are separate at each depth; constant part.
COMMON_SPREAD, OWN_SPREAD, LEAST_SPREAD = 0.25, 0.15, 0.2
# Standard deviation of the step feature; its mean and standard deviation under the alternative without a pattern.
STEP_SPREAD, ANY_STEP = 0.6, (np.log(0.9), 1.2)
# The largest step as a share of the standard error of the shift, and as a share of the largest tilt of a profile that
# bends smoothly and of one with a jump.
NOISE_SHARE, SMOOTH_SHARE, JUMP_SHARE = 0.8, 0.03, 0.5


@dataclass(frozen=True, kw_only=True)
class Component:
    """One Gaussian of a mixture: mean and covariance of the features, without the errors of the measurement."""

    mean: Array
    covariance: Array


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The features that one fault produces.

    Attributes:
        components: the Gaussians of the mixture, all with the same weight, for the depths of a law.
        facts: probability of each fact under the pattern: of "still", "copied", and of the counts other than "same".
        unexpected: probability of each fact that is not listed.
        residual: whether the fault requires residual blocks.
    """

    components: Callable[[Features], Iterator[Component]]
    facts: Mapping[str, float] = field(default_factory=dict)
    unexpected: float = UNEXPECTED
    residual: bool = False

    def fact_probability(self, features: Features) -> float:
        """Probability of the facts of a law under this pattern."""
        probability = 1.0
        for name, present in (("still", features.still), ("copied", features.copied)):
            p = self.facts.get(name, self.unexpected)
            probability *= p if present else 1 - p
        if self.residual and features.residual is False:
            probability *= self.unexpected
        if features.count is None:
            return probability
        counts = {name: self.facts.get(name, self.unexpected) for name in ("one fewer", "one more", "twice", "other")}
        return probability * (counts[features.count] if features.count != "same" else 1 - sum(counts.values()))


def _component(
    shift: Array, tilt: Array, step: tuple[float, float], *, common: float, own: float, least: float
) -> Component:
    """A Gaussian around a prediction, with spreads relative to the prediction."""
    mean = np.concatenate((shift, tilt, [step[0]]))
    n = len(shift)
    covariance = np.zeros((2 * n + 1, 2 * n + 1))
    for part, values in ((slice(0, n), shift), (slice(n, 2 * n), tilt)):
        size = np.abs(values)
        covariance[part, part] = common**2 * np.outer(size, size) + np.diag((own * size) ** 2 + least**2)
    covariance[-1, -1] = step[1] ** 2
    return Component(mean=mean, covariance=covariance)


def _step(features: Features, tilt: Array, share: float) -> tuple[float, float]:
    """Mean and standard deviation of the step feature, for a largest step that is a share of the largest tilt."""
    size = SMALLEST_STEP + NOISE_SHARE * features.noise + share * float(np.max(np.abs(tilt)))
    return float(np.log(size)), STEP_SPREAD


def _response(features: Features, shift: Array, tilt: Array) -> Component:
    step = _step(features, tilt, SMOOTH_SHARE)
    return _component(shift, tilt, step, common=COMMON_SPREAD, own=OWN_SPREAD, least=LEAST_SPREAD)


def _grid(low: float, high: float, points: int) -> Array:
    return np.geomspace(low, high, points)


def _exponential(sign: int) -> Callable[[Features], Iterator[Component]]:
    def components(features: Features) -> Iterator[Component]:
        for a in sign * _grid(0.1, 4, 12):
            yield _response(features, -1.15 * a * (features.n_units - 0.5), a * features.n_units)

    return components


def _branch_size(sign: int, rates: tuple[float, ...]) -> Callable[[Features], Iterator[Component]]:
    def components(features: Features) -> Iterator[Component]:
        growth = np.log(features.depths / features.depths[0])
        for a, rate in product(sign * _grid(0.4, 6, 9), rates):
            yield _response(features, a * (1 + rate * growth), -a * (0.6 + 0.85 * growth))

    return components


def _constant(features: Features) -> Iterator[Component]:
    for c in (*_grid(0.15, 6, 12), *-_grid(0.15, 6, 12)):
        shift = np.full(len(features.depths), c)
        yield _component(shift, 0 * shift, _step(features, 0 * shift, 0.0), common=0.2, own=0.02, least=0.1)


def _power(features: Features) -> Iterator[Component]:
    log_depth = np.log(features.depths)
    for p, c in product((-1.5, -1, -0.5, 0.5, 1, 1.5), (-4, -2, 0, 2, 4)):
        shift = p * log_depth
        spread = _component(shift, 0 * shift, _step(features, 0 * shift, 0.0), common=0.2, own=0.05, least=0.1)
        spread.mean[: len(shift)] += c
        spread.covariance[: len(shift), : len(shift)] += 1.0
        yield spread


def _single_layers(features: Features) -> Iterator[Component]:
    for c, share in product((*_grid(0.8, 25, 9), *-_grid(0.8, 25, 9)), (0.7, 1.8)):
        shift = np.full(len(features.depths), c)
        step = _step(features, share * shift, JUMP_SHARE)
        yield _component(shift, -share * shift, step, common=0.3, own=0.35, least=0.5)


def _anything(features: Features) -> Iterator[Component]:
    """Any shift, tilt and step: levels and separate deviations of several sizes, from almost none to large ones."""
    zero, one = np.zeros(len(features.depths)), np.ones(len(features.depths))
    for size in (0.1, 0.5, 1.5, 5.0):
        spread = _component(one, one, ANY_STEP, common=size, own=0.7 * size, least=0.05)
        yield Component(mean=np.array([*zero, *zero, ANY_STEP[0]]), covariance=spread.covariance)


def _other_count(units: Callable[[Array], Array]) -> Callable[[Features], Iterator[Component]]:
    def components(features: Features) -> Iterator[Component]:
        actual = np.maximum(units(features.depths), 0.5)
        shift = features.slope * np.log(actual / features.depths)
        yield _component(shift, 0 * shift, _step(features, 0 * shift, 0.0), common=0.3, own=0.3, least=0.05)
        if features.count is not None:  # the number of units is known, so that the shift may be less exact
            yield _component(shift, 0 * shift, _step(features, 0 * shift, 0.0), common=0.6, own=0.6, least=0.5)

    return components


def _other_structure(features: Features) -> Iterator[Component]:
    yield from _anything(features)
    if features.count is not None:  # otherwise it is part of the growing signal
        yield from _exponential(1)(features)


def _either(*parts: Callable[[Features], Iterator[Component]]) -> Callable[[Features], Iterator[Component]]:
    return lambda features: (component for part in parts for component in part(features))


# Probability that a fault shows its fact.
SEEN = 0.99
# The names of the causes; the alternative without a pattern is not one of them.
PATTERNS: Mapping[str, Pattern] = {
    "growing signal": Pattern(components=_exponential(1)),
    "shrinking signal": Pattern(components=_exponential(-1)),
    "large branches": Pattern(components=_branch_size(-1, (0.4,)), residual=True),
    "small branches": Pattern(components=_branch_size(1, (0.4, 1.2)), residual=True),
    "constant factor": Pattern(components=_constant),
    "power of the depth": Pattern(components=_power),
    "single layers": Pattern(components=_single_layers),
    "still units": Pattern(components=_anything, facts={"still": SEEN}),
    "copied layers": Pattern(components=_either(_anything, _exponential(1)), facts={"copied": SEEN}),
    "one unit fewer": Pattern(components=_other_count(lambda n: n - 1), facts={"one fewer": SEEN}),
    "one unit more": Pattern(components=_other_count(lambda n: n + 1), facts={"one more": SEEN}),
    "twice the units": Pattern(components=_other_count(lambda n: 2 * n), facts={"twice": SEEN}),
    "other structure": Pattern(components=_other_structure, facts={"other": 0.7, "twice": 0.28}),
}
NO_PATTERN = Pattern(components=_anything, unexpected=UNEXPLAINED)
