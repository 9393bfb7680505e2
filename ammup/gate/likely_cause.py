"""The likely cause of a failed check: the posterior probabilities of the fault patterns, and the one that is named."""

from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp

from ammup.gate.fault_features import Features
from ammup.gate.fault_patterns import NO_PATTERN, PATTERNS, Pattern

UNKNOWN = "no known pattern"
# Prior probability that a failure has none of the known patterns. The patterns share the rest equally.
UNKNOWN_PRIOR = 0.25
# A cause is named if its posterior probability is at least this, see docs/likely_causes.md.
NAMED_FROM = 0.8

TEXTS = {
    "growing signal": "S̄ grows exponentially with depth relative to what is expected, by a factor of about "
    "{factor:.3g} per unit: the variance of the signal is not preserved. Look for weights that are too large (a wrong "
    "gain, a kernel cardinality missing in the fan-in), residual branches that are not divided by their number, and a "
    "normalization or a skip that was lost",
    "shrinking signal": "S̄ shrinks exponentially with depth relative to what is expected, by a factor of about "
    "{factor:.3g} per unit: the variance of the signal is not preserved. Look for weights that are too small (a wrong "
    "gain or fan-in, a fixed standard deviation) and for skip connections that are scaled down",
    "large branches": "the residual branches contribute too much. Look for branch weights that are too large, and for "
    "branches that are not divided by their number",
    "small branches": "the residual branches contribute too little, or nothing. Look for branch weights that are too "
    "small, a last layer of each branch that starts at zero, and branches in which every layer, instead of only the "
    "last one, is divided by the number of blocks",
    "constant factor": "η* changed by the same factor at every depth and in every unit. Look at a learning-rate factor "
    "of the optimizer, the scale of the readout or of the loss, and the scale of weights that a normalization follows",
    "power of the depth": "η* changed by a power of the depth, equally in every unit. Look at a learning-rate factor, "
    "or a scale of the readout or the loss, that depends on the depth",
    "single layers": "S_l jumps at single units. Look for one or two layers with a different scale of weights",
    "still units": "some units do not change (S_l = 0). Look for frozen or detached layers, and for activations that "
    "are all zero",
    "copied layers": "several layers have equal weights. Look for shared modules, copies of one layer, and layers that "
    "are drawn from the same seed",
    "one unit fewer": "the net has one unit fewer than its depth. Look for an off-by-one error in the number of "
    "layers, and for a depth that counts the readout or the stem",
    "one unit more": "the net has one unit more than its depth. Look for an off-by-one error in the number of layers",
    "twice the units": "the net has twice as many units as it should. Look for blocks that are built or applied twice",
    "other structure": "the number of depth units changed. Look for a skip connection or layers that were lost or "
    "added",
}


def cause_probabilities(features: Features) -> dict[str, float]:
    """The posterior probability of each pattern and of :data:`UNKNOWN`, the most probable first."""
    prior = {name: (1 - UNKNOWN_PRIOR) / len(PATTERNS) for name in PATTERNS} | {UNKNOWN: UNKNOWN_PRIOR}
    patterns = {**PATTERNS, UNKNOWN: NO_PATTERN}
    logs = {name: np.log(prior[name]) + _log_likelihood(pattern, features) for name, pattern in patterns.items()}
    total = logsumexp(list(logs.values()))
    ranked = sorted(logs, key=lambda name: -logs[name])
    return {name: float(np.exp(logs[name] - total)) for name in ranked}


def named_cause(probabilities: Mapping[str, float]) -> str:
    """The most probable pattern if its probability is at least :data:`NAMED_FROM`, otherwise ""."""
    name = max(probabilities, key=lambda cause: probabilities[cause])
    return name if name != UNKNOWN and probabilities[name] >= NAMED_FROM else ""


def cause_text(features: Features, probabilities: Mapping[str, float]) -> str:
    """The named cause in words, with its probability; "" if none is named."""
    name = named_cause(probabilities)
    if not name:
        return ""
    return f"{TEXTS[name].format(factor=_factor_per_unit(features))} (probability {_percent(probabilities[name])})"


def _percent(probability: float) -> str:
    return "over 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _log_likelihood(pattern: Pattern, features: Features) -> float:
    """Log of the probability of the facts and of the density of the features, a mixture over sizes of the fault."""
    from scipy.stats import multivariate_normal  # half a second, and needed only after a failed check

    use = np.isfinite(features.values)
    values, errors = features.values[use], features.covariance[np.ix_(use, use)]
    densities = [
        multivariate_normal.logpdf(values, c.mean[use], c.covariance[np.ix_(use, use)] + errors)
        for c in pattern.components(features)
    ]
    density = float(logsumexp(densities) - np.log(len(densities)))
    return density + float(np.log(pattern.fact_probability(features)))


def _factor_per_unit(features: Features) -> float:
    """The factor by which S̄ grows from one unit to the next, from the shift of the shallowest and deepest net."""
    shift = features.values[: len(features.depths)]
    return float(np.exp(-2 * (shift[-1] - shift[0]) / (features.n_units[-1] - features.n_units[0])))
