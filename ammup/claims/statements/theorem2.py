"""Theorem 2: the rates at which the corrections for finite width, zero padding and batch size vanish."""

from dataclasses import replace
from itertools import chain

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Setting
from ammup.claims.statements.settings import DIFFERENCE_MARGIN, FIELD, LINE, MLP, PLANE
from ammup.claims.statistics import Statistic, log_lr_star, side_by_side, slope_difference, slope_of_law, slope_over
from ammup.stats.equivalence import Region

WHERE = "Theorem 2, appendix B"
NARROW = (32, 128)
BATCHES = (4, 16, 64)


def _width_rate(rows: Array) -> float:
    """Slope of log(1 - η*/η* of the law) on log n."""
    log_law = np.log([MLP.at(4).of_width(width).law()[0] for width in NARROW])
    shortfall = 1 - np.exp(log_lr_star(rows) - log_law)
    return float(np.diff(np.log(shortfall))[0] / np.diff(np.log(NARROW))[0])


def _paddings(*settings: Setting) -> tuple[Setting, ...]:
    """Each setting twice, with circular and with zero padding. A seed draws the same weights for both."""
    return tuple(
        chain.from_iterable((s.with_arguments(padding="circular"), s.with_arguments(padding="zero")) for s in settings)
    )


def _boundary_rate(sizes: tuple[int, int]) -> Statistic:
    """Slope of log(η* with zero padding / η* with circular padding - 1) on the log of the size."""

    def rate(rows: Array) -> float:
        log_lr = log_lr_star(rows)
        corrections = np.expm1(log_lr[1::2] - log_lr[::2])
        return float(np.diff(np.log(corrections))[0] / np.log(sizes[1] / sizes[0]))

    return rate


def _of_noise(base: Setting, *shape: int) -> Setting:
    """The setting at L = 4, on white noise with this shape of positions."""
    channels = dict(base.arguments)["in_channels"]
    return replace(base.at(4), inputs=("noise", 1, channels, *shape))


LINES = _paddings(_of_noise(LINE, 8), _of_noise(LINE, 32))
ROW_KERNEL = FIELD.with_arguments(kernel=(1, 3))
ALONG = _paddings(_of_noise(ROW_KERNEL, 3, 6), _of_noise(ROW_KERNEL, 3, 24))
ACROSS = _paddings(_of_noise(ROW_KERNEL, 3, 6), _of_noise(ROW_KERNEL, 12, 6))
PADDED = _paddings(PLANE.at(2, 8))
# Dense nets on images; DRAWN has random labels and CLASSED the classes of the images, one setting for each batch size.
CROSSED = Setting(
    family="mlp",
    depths=(4,),
    inputs=("images", 4, 6),
    arguments=(("width", 256), ("in_features", 108)),
    loss="mse",
    part="label",
)


def _across_difference(rows: Array) -> float:
    """Log ratio of the corrections at H = 12 and at H = 3."""
    log_lr = log_lr_star(rows)
    low, tall = np.expm1(log_lr[1::2] - log_lr[::2])
    return float(np.log(tall / low))


def _batch_law(settings: tuple[Setting, ...]) -> float:
    """Slope of log η* of the law on log B."""
    laws = [setting.law()[0] for setting in settings]
    return float(np.polyfit(np.log(BATCHES), np.log(laws), 1)[0])


DRAWN = tuple(replace(CROSSED, inputs=("images", size, 6)) for size in BATCHES)
CLASSED = tuple(replace(one, loss="cross_entropy", part="total", classes=True) for one in DRAWN)


CLAIMS = (
    Claim(
        id="theorem-2.width",
        where=WHERE,
        statement="finite width corrects η* by a term of order 1/C",
        regime="dense ReLU, one sample, mse, label part, readout he; L = 4; n = 32 and 128",
        estimator="slope of log(1 - η*/law) on log n",
        rows=lambda seeds: np.concatenate(
            [MLP.at(4).of_width(width).S_bar_controlled(seeds) for width in NARROW], axis=1
        ),
        statistic=_width_rate,
        stated=Region.around(-1, 0.6),
        n=2000,
        remark="η* is lower by about 2/n at L = 4",
    ),
    Claim(
        id="theorem-2.boundary-1d",
        where=WHERE,
        statement="zero padding corrects η* by a term of order s/N in 1D",
        regime="1D, k = 3, C = 128, white noise, field, mse, label part; L = 4; N = 8 and 32",
        estimator="slope of log(η* zero / η* circular - 1) on log N",
        rows=side_by_side(*LINES),
        statistic=_boundary_rate((8, 32)),
        stated=Region.around(-1, 0.5),
        n=64,
        remark="the correction is +20 % at N = 8 and +6 % at N = 32",
    ),
    Claim(
        id="theorem-2.boundary-2d-along",
        where=WHERE,
        statement="in 2D zero padding corrects η* by s_w/W along an axis that the kernel spans",
        regime="2D, 1×3, C = 64, white noise, field, mse, label part; L = 4; 3×6 and 3×24 positions",
        estimator="slope of log(η* zero / η* circular - 1) on log W",
        rows=side_by_side(*ALONG),
        statistic=_boundary_rate((6, 24)),
        stated=Region.around(-1, 0.5),
        n=64,
    ),
    Claim(
        id="theorem-2.boundary-2d-across",
        where=WHERE,
        statement="in 2D, the correction of η* for zero padding does not depend on the size of the image along an axis "
        "on which the kernel has size 1 (s_h = 0)",
        regime="2D, 1×3, C = 64, white noise, field, mse, label part; L = 4; 3×6 and 12×6 positions",
        estimator="log of (η* zero / η* circular - 1) at H = 12 over the same at H = 3",
        rows=side_by_side(*ACROSS),
        statistic=_across_difference,
        stated=Region.around(0, 0.4),
        n=64,
    ),
    Claim(
        id="theorem-2.batch",
        where=WHERE,
        statement="the batch size corrects η* by a term of order 1/B only",
        regime="dense ReLU, n = 256, images of 6×6, mse, drawn labels, label part, mean-field; L = 4; B = 4, 16, 64",
        estimator="slope of log η* on log B",
        rows=lambda seeds: side_by_side(*DRAWN)(seeds),
        statistic=slope_over(BATCHES),
        stated=Region.around(0, 0.1),
        law=lambda: Region.around(_batch_law(DRAWN), 0.1),
        remark="in the mean over the batch, the gradients of labels that are independent of the images cancel "
        "each other, so η* grows faster than B^(1/2)",
        n=48,
    ),
    Claim(
        id="theorem-2.batch-classes",
        where=WHERE,
        statement="the batch size corrects η* by a term of order 1/B only, with the images' own classes",
        regime="dense ReLU, n = 256, images of 6×6 and their classes, cross-entropy, mean-field; L = 4; B = 4, 16, 64",
        estimator="slope of log η* on log B",
        rows=lambda seeds: side_by_side(*CLASSED)(seeds),
        statistic=slope_over(BATCHES),
        stated=Region.around(0, 0.1),
        law=lambda: Region.around(_batch_law(CLASSED), 0.1),
        n=48,
    ),
    Claim(
        id="theorem-2.exponent-free-of-padding",
        where="Theorem 2, section 4, appendix D.1",
        statement="padding changes the prefactor, not the exponent",
        regime="2D, 3×3, C = 128, 4 images of 6×6, pooled, cross-entropy, mean-field; L = 2, 8; zero and circular",
        estimator="slope with zero padding minus slope with circular padding",
        rows=side_by_side(*PADDED),
        statistic=slope_difference((2, 8)),
        stated=Region.around(0, DIFFERENCE_MARGIN),
        law=lambda: Region.around(slope_of_law(PADDED[1]) - slope_of_law(PADDED[0]), DIFFERENCE_MARGIN),
        n=96,
        remark="zero padding loses a fraction s/N of the signal in every layer, so N >> k L is required",
    ),
)
