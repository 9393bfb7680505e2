"""The sharpness at initialization: its limit for wide nets and its slope over depth."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ammup.arrays import Array
from ammup.claims.claim import Claim
from ammup.claims.draws import Seeds, Setting, memoize
from ammup.measurement.sharpness import measure_sharpness
from ammup.models.device import default_device
from ammup.models.factory import build_model
from ammup.stats.equivalence import Region
from ammup.theory.sharpness import largest_gauss_newton_eigenvalues, largest_ntk_eigenvalue

LIMIT, EDGE = "sharpness in the wide limit (ours)", "sharpness and the edge of training (ours)"
# The relative tolerance of the eigenvalue in each draw; its error is about the square, far below the spread of draws.
TOLERANCE = 0.05
# Draws of the outputs in the wide limit; the slope of the mean log eigenvalue then has a standard error below 0.03.
OUTPUT_DRAWS = 1024
DEEP = (64, 256, 1024)
# Margin of slopes that were measured with three draws of nets with 16 channels, whose standard error is larger.
EDGE_MARGIN = 0.2

PLAIN = Setting(
    family="mlp",
    depths=(2, 8),
    inputs=("images", 8, 6),
    arguments=(("width", 128), ("in_features", 108), ("out_features", 1), ("readout", "he")),
)
RESIDUAL = Setting(
    family="resnet",
    depths=(4, 16),
    inputs=("images", 8, 6),
    arguments=(("dims", 0), ("width", 64), ("in_channels", 108), ("out_channels", 1), ("branch", 2),
               ("readout", "he")),
)  # fmt: skip
RELU = Setting(
    family="cnn",
    depths=(3, 12),
    inputs=("images", 4, 4),
    arguments=(("width", 64), ("readout", "he")),
    loss="cross_entropy",
    part="total",
    classes=True,
)
GELU = RELU.with_arguments(activation="gelu", gain="paper")
LAST = replace(RELU, family="resnet", depths=(2, 8)).with_arguments(scaled="last")
BATCH_NORM = replace(LAST.with_arguments(scaled="all", batchnorm=True, width=32))


@memoize
def _eigenvalues(setting: Setting, depth: int, matrix: str, seeds: Seeds) -> Array:
    """The largest eigenvalue λ of each weight draw, shape (D,)."""
    inputs, classes = setting.batch
    models = (build_model(setting.factory, depth, seed, default_device()) for seed in seeds)
    values = [
        measure_sharpness(model, inputs, classes, loss=setting.loss, matrix=matrix, tolerance=TOLERANCE)
        for model in models
    ]
    return np.array([float(value) for value in values])


def _rows(setting: Setting, matrix: str) -> Callable[[Seeds], Array]:
    """A function of the seeds that measures λ of each weight draw and depth, shape (D, L)."""
    return lambda seeds: np.stack([_eigenvalues(setting, depth, matrix, seeds) for depth in setting.depths], axis=1)


@memoize
def _limit(setting: Setting, matrix: str) -> Array:
    """λ in the wide limit at each depth, shape (L,); with "gauss-newton" the geometric mean over the outputs."""
    values = []
    for depth in setting.depths:
        net, batch, _ = setting.law_arguments(depth)
        if matrix == "ntk":
            values.append(largest_ntk_eigenvalue(net, batch, loss=setting.loss))
        else:
            draws = largest_gauss_newton_eigenvalues(net, batch, draws=OUTPUT_DRAWS)
            values.append(float(np.exp(np.log(draws).mean())))
    return np.array(values)


def _log_mean(rows: Array) -> Array:
    """The log of the mean λ of each column."""
    return np.asarray(np.log(rows.mean(axis=0)))


def _mean_log(rows: Array) -> Array:
    """The mean of log λ of each column."""
    return np.asarray(np.log(rows).mean(axis=0))


def _slope(depths: tuple[int, ...], log_values: Array) -> float:
    return float(np.polyfit(np.log(depths), log_values, 1)[0])


def _limit_slope(name: str, setting: Setting, words: str, regime: str, measured: float, remark: str = "") -> Claim:
    """The claim that the slope of 2/λ in the wide limit is the one that few draws of narrow nets had."""
    return Claim(
        id=f"sharpness.slope-{name}",
        where=EDGE,
        statement=f"2/λ of the Gauss-Newton matrix falls with depth in {words} with the slope {measured} that three or "
        "four draws of nets with 16 channels had, also in the limit of wide layers",
        regime=f"{regime}, cross-entropy, readout he, 4 images of 4×4, {OUTPUT_DRAWS} draws of the outputs; "
        f"L = {', '.join(map(str, setting.depths))}",
        estimator="slope on log L of the mean of log(2/λ), in the wide limit",
        rows=lambda seeds: _limit(setting, "gauss-newton")[None],
        statistic=lambda rows: -_slope(setting.depths, _mean_log(rows)),
        stated=Region.around(measured, EDGE_MARGIN),
        n=1,
        exact=True,
        remark=remark,
    )


CLAIMS = (
    Claim(
        id="sharpness.growth-plain",
        where=LIMIT,
        statement="λ, the largest NTK eigenvalue, grows linearly with depth in plain dense nets",
        regime="dense ReLU, n = 128, one output, readout he, mse, 8 images of 6×6; L = 2, 8",
        estimator="slope of log λ on log L",
        rows=_rows(PLAIN, "ntk"),
        statistic=lambda rows: _slope(PLAIN.depths, _log_mean(rows)),
        stated=Region.around(1, 0.3),
        law=lambda: Region.around(_slope(PLAIN.depths, np.log(_limit(PLAIN, "ntk"))), 0.3),
        n=48,
    ),
    Claim(
        id="sharpness.growth-plain-limit",
        where=LIMIT,
        statement="λ, the largest NTK eigenvalue, grows linearly with depth in plain dense nets, in the limit of wide "
        "layers and many of them",
        regime="dense ReLU, one output, readout he, mse, 8 images of 6×6; L = 64, 256, 1024",
        estimator="slope of log λ on log L, in the wide limit",
        rows=lambda seeds: _limit(PLAIN.at(*DEEP), "ntk")[None],
        statistic=lambda rows: _slope(DEEP, _log_mean(rows)),
        stated=Region.around(1, 0.05),
        n=1,
        exact=True,
    ),
    Claim(
        id="sharpness.law-plain",
        where=LIMIT,
        statement="the wide limit predicts λ, the largest NTK eigenvalue of plain dense nets, with its constants",
        regime="dense ReLU, n = 128, one output, readout he, mse, 8 images of 6×6; L = 2, 8",
        estimator="log of λ over that of the limit, mean over the depths",
        rows=_rows(PLAIN, "ntk"),
        statistic=lambda rows: float(np.mean(_log_mean(rows) - np.log(_limit(PLAIN, "ntk")))),
        stated=Region.around(0, 0.2),
        n=48,
    ),
    Claim(
        id="sharpness.growth-residual",
        where=LIMIT,
        statement="λ, the largest NTK eigenvalue, is bounded in depth in residual nets whose branch layers all have "
        "variance c/K",
        regime="residual dense ReLU, two layers in a branch, n = 64, c = 2, one output, readout he, mse, 8 images of "
        "6×6; K = 4, 16",
        estimator="slope of log λ on log K",
        rows=_rows(RESIDUAL, "ntk"),
        statistic=lambda rows: _slope(RESIDUAL.depths, _log_mean(rows)),
        stated=Region(low=-np.inf, high=0.2),
        law=lambda: Region.around(_slope(RESIDUAL.depths, np.log(_limit(RESIDUAL, "ntk"))), 0.4),
        n=24,
    ),
    Claim(
        id="sharpness.growth-residual-limit",
        where=LIMIT,
        statement="λ, the largest NTK eigenvalue, is bounded in depth in residual nets whose branch layers all have "
        "variance c/K, in the limit of wide layers and many blocks",
        regime="residual dense ReLU, two layers in a branch, c = 2, one output, readout he, mse, 8 images of 6×6; "
        "K = 64, 256, 1024",
        estimator="slope of log λ on log K, in the wide limit",
        rows=lambda seeds: _limit(RESIDUAL.at(*DEEP), "ntk")[None],
        statistic=lambda rows: _slope(DEEP, _log_mean(rows)),
        stated=Region.around(0, 0.05),
        n=1,
        exact=True,
    ),
    Claim(
        id="sharpness.growth-residual-last-limit",
        where=LIMIT,
        statement="λ, the largest NTK eigenvalue, grows linearly with the number of blocks in residual nets in which "
        "only the last layer of each branch has variance c/K, in the limit of wide layers and many blocks",
        regime="residual dense ReLU, two layers in a branch, c = 2, one output, readout he, mse, 8 images of 6×6; "
        "K = 64, 256, 1024",
        estimator="slope of log λ on log K, in the wide limit",
        rows=lambda seeds: _limit(RESIDUAL.with_arguments(scaled="last").at(*DEEP), "ntk")[None],
        statistic=lambda rows: _slope(DEEP, _log_mean(rows)),
        stated=Region.around(1, 0.05),
        n=1,
        exact=True,
    ),
    Claim(
        id="sharpness.law-cnn",
        where=LIMIT,
        statement="the wide limit predicts λ, the largest eigenvalue of the Gauss-Newton matrix of cross-entropy",
        regime="2D, 3×3, ReLU, C = 64, readout he, 4 images of 4×4; L = 3",
        estimator="log of the geometric mean of λ over that of the limit",
        rows=_rows(RELU.at(3), "gauss-newton"),
        statistic=lambda rows: float(_mean_log(rows)[0] - np.log(_limit(RELU.at(3), "gauss-newton")[0])),
        stated=Region.around(0, 0.5),
        n=28,
    ),
    Claim(
        id="sharpness.law-residual-last",
        where=LIMIT,
        statement="the wide limit predicts λ, the largest eigenvalue of the Gauss-Newton matrix of cross-entropy, in "
        "residual nets",
        regime="residual 2D, 3×3, two layers in a branch, the last scaled by 1/K, C = 64, c = 2, readout he, 4 images "
        "of 4×4; K = 2",
        estimator="log of the geometric mean of λ over that of the limit",
        rows=_rows(LAST.at(2), "gauss-newton"),
        statistic=lambda rows: float(_mean_log(rows)[0] - np.log(_limit(LAST.at(2), "gauss-newton")[0])),
        stated=Region.around(0, 0.5),
        n=24,
    ),
    _limit_slope("cnn-relu", RELU, "plain CNNs with ReLU", "2D, 3×3", -1.43),
    _limit_slope(
        "cnn-gelu",
        GELU,
        "plain CNNs with GELU",
        "2D, 3×3, weight variance 2√2/fan_in",
        -1.59,
        "with this weight variance, the NTK of wide nets grows exponentially with depth",
    ),
    _limit_slope(
        "residual-last",
        LAST,
        "residual nets in which only the last layer of each branch is scaled by 1/K",
        "residual 2D, 3×3, two layers in a branch, c = 2",
        -1.08,
    ),
    Claim(
        id="sharpness.slope-batch-norm",
        where=EDGE,
        statement="2/λ of the Gauss-Newton matrix falls with depth in residual nets with batch normalization with the "
        "slope -1.16 that three draws of nets with 16 channels had",
        regime="residual 2D, 3×3, two layers in a branch, all scaled by 1/K, batch norm, C = 32, c = 2, cross-entropy, "
        "readout he, 4 images of 4×4; K = 2, 8",
        estimator="slope on log K of the mean of log(2/λ)",
        rows=_rows(BATCH_NORM, "gauss-newton"),
        statistic=lambda rows: -_slope(BATCH_NORM.depths, _mean_log(rows)),
        stated=Region.around(-1.16, 0.5),
        n=20,
    ),
)  # fmt: skip
