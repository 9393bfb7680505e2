"""Lemmas 1 to 4 with their corollaries and remarks."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, Setting, kept, pulled_back, random_direction, step_of
from ammup.claims.statements.theorem1 import FIELD, LINE, MLP, PLUS
from ammup.claims.statements.theorem3 import DENSE
from ammup.claims.statistics import Statistic, log_lr_star
from ammup.measurement.step import Step
from ammup.measurement.updates import measure_updates
from ammup.stats.equivalence import Region

LEMMA_1, LEMMA_2, LEMMA_3 = "Lemma 1, appendix B", "Lemma 2, appendix B", "Lemma 3, appendix C"


def _mean_square(z: Tensor) -> float:
    return float(z.double().square().mean())


def _tangent_moments(setting: Setting, names: tuple[str, ...], units: tuple[str, ...], seeds: Seeds) -> Array:
    """T_h(µ, µ) of each unit for a random direction µ in the named weights, shape (D, U)."""
    rows = []
    for seed in seeds:
        step = step_of(setting, seed, units=units)
        rows.append([_mean_square(t) for t in step.unit_tangents(random_direction(step, names, seed))])
    return np.array(rows)


def _first_layer(setting: Setting) -> Callable[[Seeds], Array]:
    """T_1 and T_L for directions in the first layer."""
    (depth,) = setting.depths
    return lambda seeds: _tangent_moments(setting, ("layers.0.weight",), ("layers.0", f"layers.{depth - 1}"), seeds)


def _per_layer(n_layers: int) -> Statistic:
    """Log growth of E T per layer."""
    return lambda rows: float(np.log(rows.mean(axis=0)[-1] / rows.mean(axis=0)[0]) / n_layers)


def _two_directions(setting: Setting) -> Callable[[Seeds], Array]:
    """T_2(µ1, µ2) and T_L(µ1, µ2), µ1 in the first and µ2 in the first two layers, not orthogonal."""
    (depth,) = setting.depths

    def rows(seeds: Seeds) -> Array:
        found = []
        for seed in seeds:
            step = step_of(setting, seed, units=("layers.1", f"layers.{depth - 1}"))
            one = random_direction(step, ["layers.0.weight"], seed)
            other = random_direction(step, ["layers.0.weight", "layers.1.weight"], seed, "other")
            other["layers.0.weight"] += one["layers.0.weight"]
            pairs = zip(step.unit_tangents(one), step.unit_tangents(other), strict=True)
            found.append([float((a.double() * b.double()).mean()) for a, b in pairs])
        return np.array(found)

    return rows


def _invariance(name: str, setting: Setting, words: str, n: int) -> Claim:
    return Claim(
        id=f"lemma-1.invariance-{name}",
        where=LEMMA_1,
        statement="E T_h(µ, µ) is the same in every layer, whatever the kernel",
        regime=f"{words}; directions in the first layer, L = 6",
        estimator="log growth of E T_h per layer",
        rows=_first_layer(setting.at(6)),
        statistic=_per_layer(5),
        stated=Region.around(0, 0.04),
        n=n,
    )


def _gated_over_plain(width: int, seeds: Seeds) -> Array:
    """(E over W_2 of T_2 given z_1) / T_1 - 1, squared, for one direction in W_1: 2 Σ gate t² / Σ t² - 1."""
    setting = replace(MLP.of_width(width), depths=(1,))
    rows = []
    for seed in seeds:
        step = step_of(setting, seed)
        (z,) = step.pre_activations(step.weights, None)
        (t,) = step.unit_tangents(random_direction(step, ["layers.0.weight"], seed))
        rows.append([float(2 * (t * (z > 0)).double().square().sum() / t.double().square().sum() - 1) ** 2])
    return np.array(rows)


def _zero_padding_loss(base: Setting, *shapes: tuple[int, ...]) -> Callable[[Seeds], Array]:
    """T_1, T_2 with zero padding on positions of each shape."""
    channels = dict(base.arguments)["in_channels"]
    settings = [
        replace(base.having(padding="zero"), inputs=("noise", 1, channels, *shape), depths=(2,)) for shape in shapes
    ]
    return lambda seeds: np.concatenate([_first_layer(setting)(seeds) for setting in settings], axis=1)


def _zero_padding_rate(rows: Array) -> float:
    """Slope of log(1 - E T_2/E T_1) on the log of the size, which grows fourfold."""
    t = rows.mean(axis=0)
    lost = [1 - t[1] / t[0], 1 - t[3] / t[2]]
    return float(np.log(lost[1] / lost[0]) / np.log(4))


SUM = replace(MLP.of_width(64), depths=(3,))


def _parts(seeds: Seeds) -> Array:
    """S̄ of the total step, averaged over drawn labels one by one, and A + B, for each weight draw."""
    inputs, _ = SUM.batch
    rows = []
    for seed in seeds:
        model = SUM.factory(3, seed=seed)
        labels = torch.randn(32, 1, 64, generator=torch.Generator().manual_seed(seed))
        total = np.mean([measure_updates(model, inputs, y).S_bar for y in labels])
        output = measure_updates(model, inputs, part="output").S_bar
        label = measure_updates(model, inputs, part="label", label_draws=32, seed=seed).S_bar
        rows.append([total, output + label])
    return np.array(rows)


def _log_ratio_of_means(rows: Array) -> float:
    first, last = rows.mean(axis=0)[[0, -1]]
    return float(np.log(last / first))


PARTS_WIDTHS = (64, 256)


def _output_over_label(readout: str) -> Callable[[Seeds], Array]:
    def rows(seeds: Seeds) -> Array:
        columns = []
        for width in PARTS_WIDTHS:
            setting = replace(MLP.of_width(width), depths=(2,)).having(readout=readout)
            columns += [replace(setting, part="output").S_bar(seeds), setting.S_bar(seeds)]
        return np.concatenate(columns, axis=1)

    return rows


def _magnitude_rate(rows: Array) -> float:
    """Slope of log(A/B) on log n."""
    m = np.log(rows.mean(axis=0))
    return float(((m[2] - m[3]) - (m[0] - m[1])) / np.log(PARTS_WIDTHS[1] / PARTS_WIDTHS[0]))


def _unit_wise(seeds: Seeds) -> Array:
    """T_l², and U_a T_(L+1) averaged over the units a of layer l = 3 of 6, for directions in layers 1 to 3."""
    names = tuple(f"layers.{layer}.weight" for layer in range(3))
    t = _tangent_moments(FIELD.at(6), names, ("layers.2", "readout"), seeds)
    return np.stack([t[:, 0] ** 2, t[:, 0] * t[:, 1]], axis=1)


RECURSIONS = tuple(itertools.product((0.5, 2.0, 4.0), (4, 16)))


@kept
def _residual_growth(seeds: Seeds) -> Array:
    """T_0 and T_K for directions in the stem, for every c and K, column after column."""
    columns = []
    for c, n_blocks in RECURSIONS:
        setting = DENSE.having(branch=1, c=c).at(n_blocks)
        columns.append(_tangent_moments(setting, ("stem.weight",), ("stem", f"blocks.{n_blocks - 1}"), seeds))
    return np.concatenate(columns, axis=1)


def _growths(rows: Array) -> Array:
    t = rows.mean(axis=0)
    return np.asarray(np.log(t[1::2] / t[::2]))


def _over_recursion(rows: Array) -> float:
    """Mean over c and K of the log growth over that of (1 + c/2K)^K."""
    expected = np.array([n_blocks * np.log1p(c / (2 * n_blocks)) for c, n_blocks in RECURSIONS])
    return float(np.mean(_growths(rows) / expected))


def _share_of_bound(c: float, n_blocks: int) -> Statistic:
    """Log r_K over c/2 at one c and K."""
    column = RECURSIONS.index((c, n_blocks))
    return lambda rows: float(_growths(rows)[column] / (c / 2))


COMPARED = (DENSE.having(branch=1, c=0.5).at(4, 16), MLP.at(4, 16))


def _comparison(rows: Array) -> float:
    """Log of S̄ res over S̄ plain at L = 16, over the same at L = 4."""
    residual, plain = np.split(-2 * log_lr_star(rows), 2)
    return float((residual[1] - plain[1]) - (residual[0] - plain[0]))


def _comparison_law() -> float:
    residual, plain = (-2 * np.log(setting.law()) for setting in COMPARED)
    return float((residual[1] - plain[1]) - (residual[0] - plain[0]))


def _kernel_vector(step: Step, unit: int, vector: Tensor) -> Tensor:
    """A_l v = J_l J_lᵀ v of one unit."""
    return step.unit_tangents(pulled_back(step, unit, vector))[unit]


def _magnitude_form(seeds: Seeds) -> Array:
    """S_1, S_K and E |A_1 v|², E |A_K v|² with v standard normal: Σ T² over pairs of weights is tr A²."""
    setting = DENSE.having(branch=1).at(16)
    rows = []
    for seed, S in zip(seeds, setting.S(seeds), strict=True):
        step = step_of(setting, seed)
        v = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        rows.append([S[0], S[-1], *(_mean_square(_kernel_vector(step, unit, v)) for unit in (0, 15))])
    return np.array(rows)


def _magnitude_statistic(rows: Array) -> float:
    S_1, S_K, T_1, T_K = np.log(rows.mean(axis=0))
    return float((S_K - T_K) - (S_1 - T_1))


CLAIMS = (
    _invariance("dense", MLP.of_width(128), "dense ReLU, n = 128", 256),
    _invariance("1d-1", LINE.having(kernel=1), "1D, k = 1, C = 128, 8 positions, circular", 96),
    _invariance("1d-5", LINE.having(kernel=5), "1D, k = 5, C = 128, 8 positions, circular", 96),
    _invariance("2d-3x3", FIELD.having(kernel=3), "2D, 3×3, C = 64, 5×5 positions, circular", 96),
    _invariance("2d-plus", FIELD.having(kernel=PLUS), "2D, plus, C = 64, 5×5 positions, circular", 96),
    Claim(
        id="lemma-1.two-directions",
        where=LEMMA_1,
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
        where=LEMMA_1,
        statement="E[T_h | z^(h-1)] = T_(h-1) for every z^(h-1), not only on average over it",
        regime="dense ReLU, n = 64, directions in the first layer, h = 2",
        estimator="mean of (E[T_2 | z_1]/T_1 - 1)²",
        rows=lambda seeds: _gated_over_plain(64, seeds),
        stated=Region(low=0, high=0.001),
        law=lambda: Region.around(3 / 66, 0.03),
        change="on average over z^(h-1), or for many channels: given z^(h-1) it is the gated sum, off by √(3/n)",
        n=200,
    ),
    Claim(
        id="lemma-1.zero-padding",
        where="Lemma 1, remark (ii)",
        statement="with zero padding E T_h falls short of T_(h-1) by a term of order s/N",
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
        statement="with zero padding in 2D E T_h falls short of T_(h-1) by a term of order s_h/H + s_w/W",
        regime="2D, 3×3, C = 64, zero padding, directions in the first layer, h = 2; 4×4 and 16×16 positions",
        estimator="slope of log(1 - E T_2/E T_1) on log H",
        rows=_zero_padding_loss(FIELD, (4, 4), (16, 16)),
        statistic=_zero_padding_rate,
        stated=Region.around(-1, 0.6),
        n=300,
    ),
    Claim(
        id="lemma-2.sum",
        where=LEMMA_2,
        statement="with labels independent of the net the step's second moment is A + B",
        regime="dense ReLU, n = 64, readout he, one sample, mse; L = 3; 32 labels one by one",
        estimator="log of (A + B) over S̄ of the whole step",
        rows=_parts,
        statistic=_log_ratio_of_means,
        stated=Region.around(0, 0.1),
        n=32,
    ),
    Claim(
        id="lemma-2.output-part-he",
        where="Lemma 2, magnitude of the A-term",
        statement="A/B = O(1/n)",
        regime="dense ReLU, n outputs, readout he, one sample, mse; L = 2; n = 64 and 256",
        estimator="slope of log(A/B) on log n",
        rows=_output_over_label("he"),
        statistic=_magnitude_rate,
        stated=Region(low=-np.inf, high=-0.6),
        law=lambda: Region.around(0, 0.4),
        change="the readout is mean-field (variance 1/n²); with a He readout A/B does not fall with the width",
        n=128,
    ),
    Claim(
        id="lemma-2.output-part-mean-field",
        where="Lemma 2, magnitude of the A-term",
        statement="A/B = O(1/n), with a mean-field readout",
        regime="dense ReLU, n outputs, readout mean-field, one sample, mse; L = 2; n = 64 and 256",
        estimator="slope of log(A/B) on log n",
        rows=_output_over_label("mean-field"),
        statistic=_magnitude_rate,
        stated=Region(low=-np.inf, high=-0.6),
        n=128,
        remark="the variance of the logits, which is of order 1/n",
    ),
    Claim(
        id="lemma-2.unit-wise",
        where="Lemma 2, unit-wise equality",
        statement="E[U_a T_(L+1)] = E[T_l²], averaged over the units a",
        regime="2D, 3×3, C = 64, 5×5 positions, readout he; L = 6, l = 3, directions in layers 1 to 3",
        estimator="log of E[T_l T_(L+1)] over E[T_l²]",
        rows=_unit_wise,
        statistic=_log_ratio_of_means,
        stated=Region.around(0, 0.15),
        n=128,
    ),
    Claim(
        id="lemma-3.recursion",
        where=LEMMA_3,
        statement="E T_l = (1 + c/2K) E T_(l-1) in a residual net with one weight layer in a branch",
        regime="residual dense ReLU, n = 256; c = 0.5, 2, 4; K = 4, 16; directions in the stem",
        estimator="log(E T_K / E T_0) over K log(1 + c/2K), mean over c and K",
        rows=_residual_growth,
        statistic=_over_recursion,
        stated=Region.around(1, 0.1),
        n=160,
    ),
    Claim(
        id="lemma-3.upper-bound",
        where="comparison factor, appendix C",
        statement="r_l <= e^(c/2)",
        regime="residual dense ReLU, n = 256; c = 4, K = 4, l = K; directions in the stem",
        estimator="log r_K over c/2",
        rows=_residual_growth,
        statistic=_share_of_bound(4.0, 4),
        stated=Region(low=-np.inf, high=1),
        n=160,
        remark="(1 + c/2K)^K is 5.06 here, the bound 7.39; for K >> c the two cannot be told apart",
    ),
    Claim(
        id="lemma-3.lower-bound",
        where="comparison factor, appendix C",
        statement="1 <= r_l",
        regime="residual dense ReLU, n = 256; c = 0.5, K = 16, l = K; directions in the stem",
        estimator="log r_K over c/2",
        rows=_residual_growth,
        statistic=_share_of_bound(0.5, 16),
        stated=Region(low=0, high=np.inf),
        n=160,
    ),
    Claim(
        id="lemma-3.comparison",
        where="comparison factor, appendix C",
        statement="the B-term of a residual net is that of a plain one within e^(±c/2), at every depth",
        regime="dense, n = 256, c = 0.5, one weight layer in a branch, label part; L = 4 and 16",
        estimator="log of S̄ residual over S̄ plain at L = 16, over the same at L = 4",
        rows=lambda seeds: np.concatenate([COMPARED[0].S_bar(seeds), COMPARED[1].S_bar_controlled(seeds)], axis=1),
        statistic=_comparison,
        stated=Region.around(0, 0.5),
        law=lambda: Region.around(_comparison_law(), 0.4),
        remark="bounded factors of a constant would change by less than e^(c) between any two depths; they fall as 1/L",
        n=96,
    ),
    Claim(
        id="lemma-4.magnitude",
        where="Lemma 4, appendix C",
        statement="in a residual net S_l is of the order of Σ T_l² over all pairs of weights",
        regime="residual dense ReLU, n = 256, c = 2, K = 16, one weight layer in a branch, label part; l = 1 and 16",
        estimator="log of S_l over tr A_l² at l = 16, over the same at l = 1",
        rows=_magnitude_form,
        statistic=_magnitude_statistic,
        stated=Region.around(0, 1.0),
        n=64,
    ),
)
