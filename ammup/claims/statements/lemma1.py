"""Lemma 1 with its remarks: the tangent moments of a plain net are the same in every layer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, Setting, random_direction, step_of
from ammup.claims.statements.settings import FIELD, LINE, MLP, PLUS
from ammup.claims.statements.tangents import tangent_moments
from ammup.claims.statistics import Statistic
from ammup.stats.equivalence import Region

WHERE = "Lemma 1, appendix B"


def _first_layer(setting: Setting) -> Callable[[Seeds], Array]:
    """Rows (T_1, T_L) for random directions in the first layer."""
    (depth,) = setting.depths
    return lambda seeds: tangent_moments(setting, ("layers.0.weight",), ("layers.0", f"layers.{depth - 1}"), seeds)


def _per_layer(n_layers: int) -> Statistic:
    """The log growth of E T per layer, from the first column to the last, which is ``n_layers`` later."""
    return lambda rows: float(np.log(rows.mean(axis=0)[-1] / rows.mean(axis=0)[0]) / n_layers)


def _two_directions(setting: Setting) -> Callable[[Seeds], Array]:
    """Rows (T_2(µ1, µ2), T_L(µ1, µ2)): µ1 is in the first layer, µ2 in the first two, and they are not orthogonal."""
    (depth,) = setting.depths

    def rows(seeds: Seeds) -> Array:
        products = []
        for seed in seeds:
            step = step_of(setting, seed, units=("layers.1", f"layers.{depth - 1}"))
            one = random_direction(step, ["layers.0.weight"], seed)
            other = random_direction(step, ["layers.0.weight", "layers.1.weight"], seed, "other")
            other["layers.0.weight"] += one["layers.0.weight"]
            pairs = zip(step.unit_tangents(one), step.unit_tangents(other), strict=True)
            products.append([float((a.double() * b.double()).mean()) for a, b in pairs])
        return np.array(products)

    return rows


def _invariance(name: str, setting: Setting, words: str, n: int) -> Claim:
    return Claim(
        id=f"lemma-1.invariance-{name}",
        where=WHERE,
        statement="E T_h(µ, µ) is the same in every layer, for every kernel",
        regime=f"{words}; directions in the first layer, L = 6",
        estimator="log growth of E T_h per layer",
        rows=_first_layer(setting.at(6)),
        statistic=_per_layer(5),
        stated=Region.around(0, 0.04),
        n=n,
    )


def _gated_over_plain(width: int, seeds: Seeds) -> Array:
    """Rows (E[T_2 | z_1] / T_1 - 1)² for a random direction in W_1; the expectation is over W_2.

    With the tangent t of z_1, E[T_2 | z_1] / T_1 = 2 Σ 1[z_1 > 0] t² / Σ t².
    """
    setting = replace(MLP.of_width(width), depths=(1,))
    rows = []
    for seed in seeds:
        step = step_of(setting, seed)
        (z,) = step.pre_activations(step.weights, None)
        (t,) = step.unit_tangents(random_direction(step, ["layers.0.weight"], seed))
        gated, plain = (t * (z > 0)).double().square().sum(), t.double().square().sum()
        rows.append([float(2 * gated / plain - 1) ** 2])
    return np.array(rows)


def _zero_padding_loss(base: Setting, *shapes: tuple[int, ...]) -> Callable[[Seeds], Array]:
    """Rows (T_1, T_2) with zero padding, two columns for each shape of the input."""
    channels = dict(base.arguments)["in_channels"]
    settings = [
        replace(base.with_arguments(padding="zero"), inputs=("noise", 1, channels, *shape), depths=(2,))
        for shape in shapes
    ]
    return lambda seeds: np.concatenate([_first_layer(setting)(seeds) for setting in settings], axis=1)


def _zero_padding_rate(rows: Array) -> float:
    """Slope of log(1 - E T_2/E T_1) on the log of the side length, which grows by a factor of 4."""
    t = rows.mean(axis=0)
    lost = [1 - t[1] / t[0], 1 - t[3] / t[2]]
    return float(np.log(lost[1] / lost[0]) / np.log(4))


CLAIMS = (
    _invariance("dense", MLP.of_width(128), "dense ReLU, n = 128", 256),
    _invariance("1d-1", LINE.with_arguments(kernel=1), "1D, k = 1, C = 128, 8 positions, circular", 96),
    _invariance("1d-5", LINE.with_arguments(kernel=5), "1D, k = 5, C = 128, 8 positions, circular", 96),
    _invariance("2d-3x3", FIELD.with_arguments(kernel=3), "2D, 3×3, C = 64, 5×5 positions, circular", 96),
    _invariance("2d-plus", FIELD.with_arguments(kernel=PLUS), "2D, plus, C = 64, 5×5 positions, circular", 96),
    Claim(
        id="lemma-1.two-directions",
        where=WHERE,
        statement="E T_h(µ1, µ2) is the same in every layer for two different directions",
        regime="1D, k = 3, C = 128, 8 positions, circular; µ1 in layer 1, µ2 in layers 1 and 2, h = 2 to 6",
        estimator="log growth of E T_h(µ1, µ2) per layer",
        rows=_two_directions(LINE.at(6)),
        statistic=_per_layer(4),
        stated=Region.around(0, 0.05),
        n=96,
    ),
    Claim(
        id="lemma-1.conditional",
        where=WHERE,
        statement="for every value of the pre-activations z^(h-1), the mean over the next weights of T_h, the mean "
        "square of the derivative of z^(h) along a direction in weight space, equals T_(h-1)",
        regime="dense ReLU, n = 64, directions in the first layer, h = 2",
        estimator="mean of (E[T_2 | z_1]/T_1 - 1)²",
        rows=lambda seeds: _gated_over_plain(64, seeds),
        stated=Region(low=0, high=0.001),
        law=lambda: Region.around(3 / 66, 0.03),
        change="on average over z^(h-1), or in the limit of wide layers; for one z^(h-1) of width n, the ratio "
        "E[T_h | z^(h-1)]/T_(h-1) differs from 1 by about √(3/n)",
        n=200,
    ),
    Claim(
        id="lemma-1.zero-padding",
        where="Lemma 1, remark (ii)",
        statement="with zero padding E T_h is smaller than T_(h-1) by a term of order s/N",
        regime="1D, k = 3, C = 128, zero padding, directions in the first layer, h = 2; N = 8 and 32",
        estimator="slope of log(1 - E T_2/E T_1) on log N",
        rows=_zero_padding_loss(LINE, (8,), (32,)),
        statistic=_zero_padding_rate,
        stated=Region.around(-1, 0.6),
        n=400,
    ),
    Claim(
        id="lemma-1.zero-padding-2d",
        where="Lemma 1 in 2D, remark",
        statement="with zero padding in 2D E T_h is smaller than T_(h-1) by a term of order s_h/H + s_w/W",
        regime="2D, 3×3, C = 64, zero padding, directions in the first layer, h = 2; 4×4 and 16×16 positions",
        estimator="slope of log(1 - E T_2/E T_1) on log H",
        rows=_zero_padding_loss(FIELD, (4, 4), (16, 16)),
        statistic=_zero_padding_rate,
        stated=Region.around(-1, 0.6),
        n=300,
    ),
)
