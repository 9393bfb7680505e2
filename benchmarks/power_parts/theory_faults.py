"""Faults in the theory that the claims compare measurements with, and in the closed forms of exact claims."""

from power_parts.fault import Fault, fault

_LIMIT, _LAYERS = "theory.wide_limit:_WideLimit", "theory.wide_net"
_GATES = "theory.activations:Gaussians.square_slope_covariance"
_AFTER = "return Node(self.net.activation, layer.variance * own, carried + own, own)"

THEORY_FAULTS: dict[str, Fault] = {
    "gates taken for independent in the law": fault(
        "law.residual-m1", _GATES,
        'return self._pairs("square", other, "slope", covariance) - np.outer(self.square, other.slope)',
        "return 0 * covariance",
    ),
    "zero padding ignored in the law": fault(
        "law.field-2d-zero", "theory.positions:shifts", '(padding == "circular")', "True"
    ),
    "kernel cardinality left out of the law": fault(
        "law.field-1d", f"{_LAYERS}:_plain_blocks", "variance=gain / (len(offsets) * fan_in)", "variance=gain / fan_in"
    ),
    "first layer with a gain of 2 in the law": fault(
        "law.plain-batch", f"{_LAYERS}:wide_net", "variance=1 / (k * fan_in)", "variance=2 / (k * fan_in)"
    ),
    "variance 10 % too large in one layer of the law": fault(
        "law.field-2d-zero", f"{_LAYERS}:_plain_blocks", "(layer(a, b),) for a, b in pairwise(architecture.widths)",
        '(__import__("dataclasses").replace(layer(a, b), variance=(1 if i else 1.1) * layer(a, b).variance),) '
        "for i, (a, b) in enumerate(pairwise(architecture.widths))",
    ),
    "one block of many not scaled in the law": fault(
        "law.residual-m1", f"{_LAYERS}:_residual_blocks",
        "return (tuple(layer(number, kind) for number, kind in enumerate(kinds)),) * architecture.depth",
        "block = tuple(layer(number, kind) for number, kind in enumerate(kinds))\n"
        '    other = tuple(__import__("dataclasses").replace(one, variance=one.variance * architecture.depth) '
        'for one in block)\n'
        "    return (block, other, *(block,) * (architecture.depth - 2))",
    ),
    "all branch layers scaled in the law": fault(
        "law.residual-m3-last", f"{_LAYERS}:_residual_blocks",
        'scaled = architecture.scaled == "all" or number == len(kinds) - 1', "scaled = True",
    ),
    "own weights of the layers left out of the law": fault(
        "law.plain-batch", f"{_LIMIT}._after", _AFTER, _AFTER.replace("carried + own, own", "carried, own")
    ),
    "gradient of the loss at the pooled outputs not divided by the positions": fault(
        "law.pooled", f"{_LIMIT}._from_readout", "np.ones((size, size))) / size**2", "np.ones((size, size))) / size"
    ),
    "mean of the softmax left out of the law": fault(
        "law.pooled", "theory.loss_gradient:LossGradient._cross_entropy", "labels - 2 / n_outputs + probabilities",
        "labels + probabilities",
    ),
    "depth off by one in the law": fault(
        "law.plain-batch", "theory.wide_limit:_plain_sum", "S = np.array([",
        "passages = passages[:-1]\n    S = np.array(["
    ),
    "covariance of the gates counted twice in the law": fault(
        "law.plain-batch", "theory.wide_limit:_TangentSums.gated",
        "total = x.square * self.ungated + 2 *", "total = x.square * self.ungated + 4 *",
    ),
    "fast mean of the law 10 % too small": fault(
        "law.plain-dense", "theory.mean_moment:mean_unit_moments", "[found[i] for i in range(len(nets))]",
        "[0.9 * found[i] for i in range(len(nets))]",
        "no claim uses the fast mean; `tests/theory/test_mean_moment.py` compares it with the sum over all units",
    ),
    "derivative of GELU without its density": fault(
        "appendix-e.gelu-constant", "theory.activations:_gelu_derivative", "ndtr(z) + z * density", "ndtr(z)"
    ),
    "quadrature up to two standard deviations": fault(
        "appendix-e.relu-constant", "theory.activations:gaussian_quadrature", "np.arange(-600, 601)",
        "np.arange(-100, 101)",
    ),
    "tangent kernel of the limit without the own weights": fault(
        "sharpness.growth-plain-limit", f"{_LIMIT}._after", _AFTER, _AFTER.replace("carried + own, own", "carried, own")
    ),
    "one layer scaled instead of all in the limit": fault(
        "sharpness.growth-residual-limit", f"{_LAYERS}:_residual_blocks",
        'scaled = architecture.scaled == "all" or number == len(kinds) - 1', "scaled = number == len(kinds) - 1",
    ),
    "overlap of layers counted as a maximum": fault(
        "overlap.sum-identity", "transfer.depth_factors:overlap_sum", "(2 * unit + 1) // 6", "(4 * unit - 1) // 6"
    ),
    "geometric mean in place of the arithmetic mean": fault(
        "means.a1-arithmetic", "stats.means:arithmetic_mean", "np.mean(S)", "np.exp(np.mean(np.log(S)))"
    ),
    "harmonic mean not divided by the number of layers": fault(
        "means.a5-slope", "stats.means:harmonic_mean", "1 / np.mean(1 / np.asarray(S))", "1 / np.sum(1 / np.asarray(S))"
    ),
}  # fmt: skip
