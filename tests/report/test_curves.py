"""Accuracy curves and heat maps: the data of their artists, compared with the runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figures import (
    BARS,
    DEPTHS,
    LRS,
    flagged_sweep,
    intervals,
    labels,
    line,
    points,
    rendered,
    sweep,
)
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex

from ammup.report import styles
from ammup.report.curves import plot_accuracies, plot_heatmap
from ammup.stats.optimum import SweepLaw, fit_sweep


def test_one_axes_for_each_depth_with_curve_seeds_and_crosses(law: SweepLaw, runs: pd.DataFrame) -> None:
    figure = rendered(plot_accuracies(law, runs, title="a title"))
    assert len(figure.axes) == len(DEPTHS)
    for axes, depth in zip(figure.axes, DEPTHS, strict=True):
        here = runs[runs["depth"] == depth]
        kept = here[~here["diverged"]]
        np.testing.assert_array_equal(line(axes, "one seed").get_data(), [kept["lr"], kept["val_accuracy"]])
        lost = here.groupby("lr")["diverged"].any()
        assert 1 < lost.sum() < len(LRS)
        mean = here.groupby("lr")["val_accuracy"].mean().where(~lost)
        np.testing.assert_allclose(line(axes, "mean over seeds").get_data(), [LRS, mean])
        crosses = line(axes, "a replica diverged")
        np.testing.assert_array_equal(crosses.get_xdata(), LRS[lost])
        assert crosses.get_marker() == "x"
        floor = axes.transData.inverted().transform(crosses.get_transform().transform(crosses.get_xydata()))[:, 1]
        assert (floor < here["val_accuracy"].min()).all()
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1


def test_the_title_of_each_depth_states_optimum_and_interval(law: SweepLaw, runs: pd.DataFrame) -> None:
    for axes, depth in zip(plot_accuracies(law, runs).axes, DEPTHS, strict=True):
        value, se = law.lr_star(depth)
        assert axes.get_title() == f"L = {depth}: η* = {value:.2g} ×/÷ {10 ** (1.96 * se):.3g}"
        assert list(line(axes, "optimum η*").get_xdata()) == [value, value]
        (shaded,) = axes.patches
        np.testing.assert_allclose([shaded.get_x(), shaded.get_x() + shaded.get_width()], intervals(law, [depth])[0])
        assert shaded.get_label() == f"η* {BARS}"


def test_a_wide_interval_does_not_widen_the_axes(law: SweepLaw, runs: pd.DataFrame) -> None:
    wide = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=3.0)})
    for axes in plot_accuracies(wide, runs).axes:
        assert axes.get_xlim() == pytest.approx((LRS[0] / 1.5, LRS[-1] * 1.5))


def test_flags_are_written_on_the_side_away_from_the_optimum() -> None:
    runs = flagged_sweep()
    law = fit_sweep(runs)
    for axes, depth in zip(rendered(plot_accuracies(law, runs)).axes, DEPTHS, strict=True):
        (text,) = axes.texts
        assert text.get_text() == "\n".join(law.optima[depth].flags)
        assert bool(text.get_text()) == (depth == 2)
        value = law.lr_star(depth)[0]
        assert text.get_ha() == ("left" if value > np.sqrt(LRS[0] * LRS[-1]) else "right")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_the_lowest_axes_of_each_column_has_tick_labels(count: int) -> None:
    runs = sweep(range(2, 2 + count))
    figure = rendered(plot_accuracies(fit_sweep(runs), runs))
    assert len(figure.axes) == count
    columns = len({round(axes.get_position().x0, 6) for axes in figure.axes})
    for axes in figure.axes[-columns:]:
        assert axes.get_xlabel() == "learning rate η"
        assert axes.xaxis.get_tick_params()["labelbottom"]


def _cells(axes: Axes, label: str) -> np.ndarray:
    """Left, right, lower and upper edges of the hatched cells."""
    (found,) = [one for one in axes.collections if isinstance(one, PolyCollection) and one.get_label() == label]
    assert found.get_hatch()
    corners = np.array([path.vertices[:4] for path in found.get_paths()])
    return np.stack([corners[..., 0].min(1), corners[..., 0].max(1), corners[..., 1].min(1), corners[..., 1].max(1)], 1)


def test_heat_map_shows_means_in_cells_around_the_learning_rates(law: SweepLaw, runs: pd.DataFrame) -> None:
    figure = rendered(plot_heatmap(law, runs, title="a title"))
    axes, bar = figure.axes
    (mesh,) = [one for one in axes.collections if isinstance(one, QuadMesh)]
    values = mesh.get_array().reshape(len(DEPTHS), len(LRS))
    expected = runs.groupby(["depth", "lr"])["val_accuracy"].mean().unstack().to_numpy()
    np.testing.assert_array_equal(values.mask, np.isnan(expected))
    np.testing.assert_allclose(values.filled(np.nan), expected)
    edges = mesh.get_coordinates()[0, :, 0]
    ratio = LRS[1] / LRS[0]
    np.testing.assert_allclose(edges, [*(LRS / ratio**0.5), LRS[-1] * ratio**0.5])
    np.testing.assert_array_equal(mesh.get_coordinates()[:, 0, 1], [-0.5, 0.5, 1.5, 2.5, 3.5])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["2", "4", "8", "16"]
    assert bar.get_ylabel() == "mean validation accuracy"
    assert axes.get_xscale() == "log"
    assert mesh.get_cmap().name == "cividis"


def test_uneven_learning_rates_have_cells_that_meet_halfway_in_log() -> None:
    runs = sweep((2, 4))
    runs = runs[runs["lr"].isin(LRS[[0, 4, 6, 7, 9, 11, 13, 15, 20]])]
    axes = plot_heatmap(fit_sweep(runs), runs).axes[0]
    (mesh,) = [one for one in axes.collections if isinstance(one, QuadMesh)]
    u = np.unique(np.log10(runs["lr"]))
    edges = np.log10(mesh.get_coordinates()[0, :, 0])
    np.testing.assert_allclose(edges[1:-1], (u[1:] + u[:-1]) / 2)
    np.testing.assert_allclose(u[0] - edges[0], edges[1] - u[0])
    np.testing.assert_allclose(edges[-1] - u[-1], u[-1] - edges[-2])


def test_heat_map_hatches_divergence_and_leaves_missing_cells_white(runs: pd.DataFrame) -> None:
    kept = runs[~((runs["depth"] == 16) & (runs["lr"] < LRS[2]))]
    axes = rendered(plot_heatmap(fit_sweep(kept), kept)).axes[0]
    lost = kept.groupby(["depth", "lr"])["diverged"].mean().unstack().to_numpy()
    (mesh,) = [one for one in axes.collections if isinstance(one, QuadMesh)]
    assert mesh.get_array().reshape(lost.shape).mask[3, :2].all()
    edges = mesh.get_coordinates()[0, :, 0]
    for label, chosen in (
        ("some replicas diverged", (lost > 0) & (lost < 1)),
        ("every replica diverged", lost == 1),
    ):
        expected = [[edges[j], edges[j + 1], i - 0.5, i + 0.5] for i, j in zip(*np.nonzero(chosen), strict=True)]
        assert expected
        np.testing.assert_allclose(_cells(axes, label), expected)
        assert label in labels(axes)
    (grey,) = [one for one in axes.collections if one.get_label() == "every replica diverged"]
    assert to_hex(grey.get_facecolor()[0]) == styles.SILVER
    (clear,) = [one for one in axes.collections if one.get_label() == "some replicas diverged"]
    assert len(clear.get_facecolor()) == 0


def test_an_accuracy_stored_for_a_diverged_replica_is_not_shown(law: SweepLaw, runs: pd.DataFrame) -> None:
    stored = runs.assign(val_accuracy=runs["val_accuracy"].fillna(0.1))
    meshes = [plot_heatmap(law, table).axes[0].collections[0].get_array() for table in (runs, stored)]
    np.testing.assert_array_equal(meshes[0].filled(-1), meshes[1].filled(-1))


def test_heat_map_marks_optima_and_the_papers_line() -> None:
    runs = flagged_sweep()
    law = fit_sweep(runs)
    axes = rendered(plot_heatmap(law, runs)).axes[0]
    for label, depths in ((f"smoothed optimum {BARS}", (4, 8, 16)), ("flagged, not fitted", (2,))):
        drawn, ends = points(axes, label)
        rows = [DEPTHS.index(depth) for depth in depths]
        np.testing.assert_allclose(drawn.get_data(), [[law.lr_star(depth)[0] for depth in depths], rows])
        np.testing.assert_allclose(ends[:, :, 0], intervals(law, depths))
    assert points(axes, "flagged, not fitted")[0].get_markerfacecolor() == "white"
    dashed = line(axes, "am-mup, L^(−3/2)")
    np.testing.assert_allclose(dashed.get_xdata(), law.lr_star(4)[0] * (np.array(DEPTHS) / 4) ** -1.5)
    np.testing.assert_array_equal(dashed.get_ydata(), [0, 1, 2, 3])
    assert dashed.get_linestyle() == "--"


def test_a_heat_map_of_one_depth_and_one_learning_rate() -> None:
    runs = sweep((4,))
    runs = runs[runs["lr"] == LRS[12]]
    law = fit_sweep(runs)
    law = replace(law, optima={4: replace(law.optima[4], smoothed_se=np.nan)})
    axes = rendered(plot_heatmap(law, runs)).axes[0]
    low, high = axes.get_xlim()
    assert low * high == pytest.approx(LRS[12] ** 2)
