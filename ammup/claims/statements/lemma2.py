"""Lemma 2: the second moment of a step is the sum of its output part (A-term) and its label part (B-term)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds
from ammup.claims.statements.settings import FIELD, MLP
from ammup.claims.statements.tangents import tangent_moments
from ammup.measurement.updates import measure_updates
from ammup.stats.equivalence import Region

WHERE = "Lemma 2, appendix B"
SUM = replace(MLP.of_width(64), depths=(3,))


def _total_and_part_sum(seeds: Seeds) -> Array:
    """Rows (S̄ of the total step, A + B). S̄ is averaged over measurements with one set of random labels each."""
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
    """Log of the mean of the last column over the mean of the first."""
    first, last = rows.mean(axis=0)[[0, -1]]
    return float(np.log(last / first))


PARTS_WIDTHS = (64, 256)


def _output_over_label(readout: str) -> Callable[[Seeds], Array]:
    """Rows (A, B) for each width, four columns."""

    def rows(seeds: Seeds) -> Array:
        columns = []
        for width in PARTS_WIDTHS:
            setting = replace(MLP.of_width(width), depths=(2,)).with_arguments(readout=readout)
            columns += [replace(setting, part="output").S_bar(seeds), setting.S_bar(seeds)]
        return np.concatenate(columns, axis=1)

    return rows


def _magnitude_rate(rows: Array) -> float:
    """Slope of log(A/B) on log n, from the rows of :func:`_output_over_label`."""
    m = np.log(rows.mean(axis=0))
    return float(((m[2] - m[3]) - (m[0] - m[1])) / np.log(PARTS_WIDTHS[1] / PARTS_WIDTHS[0]))


def _unit_wise(seeds: Seeds) -> Array:
    """Rows (T_l², T_l T_(L+1)) for l = 3, L = 6 and random directions in layers 1 to 3.

    T_l is the mean of U_a over the units a of layer l, so T_l T_(L+1) is the mean of U_a T_(L+1).
    """
    names = tuple(f"layers.{layer}.weight" for layer in range(3))
    t = tangent_moments(FIELD.at(6), names, ("layers.2", "readout"), seeds)
    return np.stack([t[:, 0] ** 2, t[:, 0] * t[:, 1]], axis=1)


CLAIMS = (
    Claim(
        id="lemma-2.sum",
        where=WHERE,
        statement="if the labels are independent of the net, S̄ is the sum of a part A that the outputs of the net "
        "cause and a part B that the labels cause",
        regime="dense ReLU, n = 64, readout he, one sample, mse; L = 3; 32 labels one by one",
        estimator="log of (A + B) over S̄ of the whole step",
        rows=_total_and_part_sum,
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
        remark="A/B is the variance of the logits, which is of order 1/n",
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
)
