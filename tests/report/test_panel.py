"""The full panels: what their artists hold, against the fits they show."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ammup import InputError, fit_power_law
from ammup.report import plots
from ammup.report.curves import plot_accuracies, plot_heatmap
from ammup.report.overlay import plot_overlay
from ammup.report.panel import anchor_depth, plot_panel
from ammup.stats.optimum import SweepLaw, fit_sweep
from ammup.stats.segment import Segment

DEPTHS = (2, 4, 8, 16)
LRS = np.geomspace(1e-3, 10, 25)
A, B = Segment(anchors=(2, 4), predict=(8, 16)), Segment(anchors=(4, 8, 16), predict=(2,))
BROKEN = Segment(anchors=(4, 99), predict=(8,))
BARS = "± 1.96 s.e. (95%)"


def sweep(depths=DEPTHS, *, seeds: int = 3, kappa: float = 2.0, slope: float = -1.4, top: float = 4.0) -> pd.DataFrame:
    """Parabolas in log10 η with a little noise; above ``top`` a replica diverges, the first seed's already earlier."""
    rng = np.random.default_rng(7)
    rows = [
        {
            "depth": depth,
            "seed": seed,
            "lr": lr,
            "val_accuracy": 0.5 - 0.05 * np.log10(lr / (kappa * depth**slope)) ** 2 + 0.002 * rng.standard_normal(),
            "diverged": lr > (top if seed else top / 1.5),
        }
        for depth in depths
        for seed in range(seeds)
        for lr in LRS
    ]
    return pd.DataFrame(rows).assign(val_accuracy=lambda t: t["val_accuracy"].where(~t["diverged"]))


def flagged_sweep() -> pd.DataFrame:
    """At depth 2 the maximum is cut off by divergence."""
    runs = sweep()
    runs.loc[(runs["depth"] == 2) & (runs["lr"] > 0.5), ["val_accuracy", "diverged"]] = [np.nan, True]
    return runs


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return sweep()


@pytest.fixture(scope="module")
def law(runs: pd.DataFrame) -> SweepLaw:
    return fit_sweep(runs, segments=[A, B, BROKEN])


def rendered(figure: Figure) -> Figure:
    """The figure, drawn (a warning is an error), every legend in the figure and off the axes."""
    figure.savefig(BytesIO(), format="png", dpi=50)
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()] + figure.legends
    assert legends
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
    return figure


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def labels(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.get_legend().get_texts()}


def points(axes: Axes, label: str) -> tuple[Line2D, np.ndarray]:
    """The markers of an errorbar, and the ends of its bars: (points, 2 ends, x and y), NaN without a bar."""
    (found,) = [c for c in axes.containers if isinstance(c, ErrorbarContainer) and c.get_label() == label]
    ends = [bar if len(bar) else np.full((2, 2), np.nan) for bar in found[2][0].get_segments()]
    return found[0], np.array(ends)


def band(axes: Axes, label: str) -> np.ndarray:
    (found,) = [one for one in axes.collections if one.get_label() == label]
    return found.get_paths()[0].vertices


def intervals(law: SweepLaw, depths) -> np.ndarray:
    """η* divided and multiplied by 10^(1.96 s.e.)."""
    return np.array([[value * 10 ** (sign * 1.96 * se) for sign in (-1, 1)] for value, se in map(law.lr_star, depths)])


def slope_of(text: str) -> str:
    return text.replace("-", "−")


# --- plot_panel


def test_swept_optima_have_their_95_percent_interval_in_three_axes(law: SweepLaw) -> None:
    segments, fit, _, linear = rendered(plot_panel(law, references={}, title="a title")).axes
    for axes in (segments, fit, linear):
        drawn, ends = points(axes, f"smoothed optimum {BARS}")
        np.testing.assert_allclose(drawn.get_xdata(), DEPTHS)
        np.testing.assert_allclose(drawn.get_ydata(), [law.lr_star(depth)[0] for depth in DEPTHS])
        np.testing.assert_allclose(ends[:, :, 1], intervals(law, DEPTHS))
    assert {axes.get_xscale() + axes.get_yscale() for axes in (segments, fit)} == {"loglog"}
    assert linear.get_xscale() == linear.get_yscale() == "linear"
    assert linear.get_ylim()[0] == 0


def test_each_segment_has_its_anchors_their_line_and_the_predictions_on_it(law: SweepLaw) -> None:
    axes = plot_panel(law, references={}).axes[0]
    for name, segment, anchors in (("A", A, "2, 4"), ("B", B, "4, 8, 16")):
        filled = line(axes, f"{name}: anchors {anchors}")
        values = [law.lr_star(depth)[0] for depth in segment.anchors]
        np.testing.assert_allclose(filled.get_data(), [segment.anchors, values])
        assert to_rgba(filled.get_markerfacecolor()) == to_rgba(filled.get_color())
        drawn = line(axes, f"{name}: their line, predictions")
        assert drawn.get_markerfacecolor() == "white"
        x, y = (np.asarray(column, dtype=float) for column in drawn.get_data())
        np.testing.assert_allclose(y, fit_power_law(segment.anchors, values).predict(x))
        hollow = drawn.get_markevery()
        table = law.predictions[segment].sort_values("depth")
        np.testing.assert_allclose(x[hollow], table["depth"])
        np.testing.assert_allclose(y[hollow], table["predicted"])
    assert "C: anchors 4, 99: flagged or missing" in labels(axes)
    looks = {(one.get_marker(), one.get_linestyle()) for one in axes.get_lines() if "their line" in one.get_label()}
    assert len(looks) == 2


def test_bars_are_the_relative_errors_in_percent_segment_by_segment(law: SweepLaw) -> None:
    axes = rendered(plot_panel(law, references={})).axes[2]
    bars = {c.get_label(): c for c in axes.containers if isinstance(c, BarContainer)}
    assert list(bars) == ["segment A", "segment B"]
    depth_at = dict(zip(axes.get_xticks(), [text.get_text() for text in axes.get_xticklabels()], strict=True))
    for segment, drawn in zip((A, B), bars.values(), strict=True):
        table = law.predictions[segment]
        heights = [bar.get_height() for bar in drawn]
        np.testing.assert_allclose(heights, 100 * (10 ** table["log10_error"] - 1))
        at = [bar.get_x() + bar.get_width() / 2 for bar in drawn]
        assert [depth_at[x] for x in at] == [str(depth) for depth in segment.predict]
    assert len({bar[0].get_hatch() for bar in bars.values()}) == 2
    assert any(np.all(np.asarray(one.get_ydata()) == 0) for one in axes.get_lines())
    (text,) = [one for one in axes.texts if one.get_text() == "C: no predictions"]
    assert depth_at[text.get_position()[0]] == "8"


def test_predictions_of_depths_without_an_optimum_say_so(runs: pd.DataFrame) -> None:
    law = fit_sweep(runs, segments=[Segment(anchors=(2, 4), predict=(8, 32))])
    axes = rendered(plot_panel(law, references={})).axes[2]
    (bars,) = axes.containers
    assert np.isfinite(bars[0].get_height())
    assert np.isnan(bars[1].get_height())
    (text,) = [one for one in axes.texts if one.get_text().strip() == "no optimum"]
    assert text.get_position() == (1, 0)


def test_the_absence_of_segments_is_said(runs: pd.DataFrame) -> None:
    axes = rendered(plot_panel(fit_sweep(runs), references={})).axes[2]
    assert [text.get_text() for text in axes.texts] == ["no segments"]


def test_global_fit_has_its_slope_its_interval_and_its_band(law: SweepLaw) -> None:
    fit = law.power_law
    _, logarithmic, _, linear = plot_panel(law, references={}).axes
    label = slope_of(f"weighted fit: slope {fit.slope:.2f} [{fit.slope_ci[0]:.2f}, {fit.slope_ci[1]:.2f}]")
    assert label in labels(logarithmic)
    for axes in (logarithmic, linear):
        x, y = line(axes, label).get_data()
        np.testing.assert_allclose(y, fit.predict(x))
        assert (x[0], x[-1]) == (2, 16)
        vertices = band(axes, "its 95% band")
        for depth in (2, 16):
            np.testing.assert_allclose(
                np.unique(vertices[np.isclose(vertices[:, 0], depth), 1])[[0, -1]], np.ravel(fit.band(depth))
            )


def test_references_equal_the_optimum_at_the_anchor_depth(law: SweepLaw) -> None:
    references = {
        "finite-depth": {depth: 70 * depth**-1.2 for depth in reversed(DEPTHS)},
        "constant": dict.fromkeys(DEPTHS, 5.0),
        "my own": {2: 1.0, 6: 0.3, 40: 0.01},
    }
    _, fit, _, linear = rendered(plot_panel(law, references=references)).axes
    for name, rule in references.items():
        expected = fit_power_law(list(rule), list(rule.values()))
        label = slope_of(f": slope {expected.slope + 0:z.2f}")
        for axes in (fit, linear):
            x, y = line(axes, name + label).get_data()
            np.testing.assert_array_equal(x, sorted(rule))
            np.testing.assert_allclose(y, [rule[depth] * law.lr_star(2)[0] / rule[2] for depth in sorted(rule)])
    assert "constant: slope 0.00" in labels(fit)
    assert "finite-depth: slope −1.20" in labels(fit)


def test_the_papers_line_is_added_unless_it_is_given(law: SweepLaw) -> None:
    axes = plot_panel(law, references={}).axes[1]
    x, y = line(axes, "am-mup, L^(−3/2)").get_data()
    np.testing.assert_allclose(y, law.lr_star(2)[0] * (x / 2) ** -1.5)
    given = plot_panel(law, references={"am-mup": {2: 1.0, 16: 0.5}}).axes[1]
    assert "am-mup, L^(−3/2)" not in labels(given)
    np.testing.assert_allclose(line(given, "am-mup: slope −0.33").get_ydata(), law.lr_star(2)[0] * np.array([1, 0.5]))


def test_a_flagged_depth_is_hollow_and_no_rule_is_anchored_there() -> None:
    law = fit_sweep(flagged_sweep(), segments=[A])
    assert law.used == (4, 8, 16)
    assert anchor_depth(law) == 4
    segments, fit, errors, linear = rendered(plot_panel(law, references={"pathsum": {2: 9.0, 4: 3.0, 8: 1.0}})).axes
    for axes in (segments, fit, linear):
        drawn, ends = points(axes, "flagged, not fitted")
        np.testing.assert_allclose(drawn.get_data(), [[2], [law.lr_star(2)[0]]])
        np.testing.assert_allclose(ends[:, :, 1], intervals(law, [2]))
        assert drawn.get_markerfacecolor() == "white"
    assert [text.get_text() for text in errors.texts] == ["A: no predictions"]
    (fitted,) = [one for one in fit.get_lines() if one.get_label().startswith("weighted fit")]
    assert fitted.get_xdata()[[0, -1]].tolist() == [2, 16]
    (pathsum,) = [one for one in fit.get_lines() if one.get_label().startswith("pathsum")]
    np.testing.assert_allclose(pathsum.get_ydata(), law.lr_star(4)[0] * np.array([3, 1, 1 / 3]))


def test_a_reference_is_interpolated_at_the_anchor_depth_and_refused_outside(law: SweepLaw) -> None:
    axes = plot_panel(law, references={"measured": {1: 8.0, 4: 2.0, 16: 1.0}}).axes[1]
    (drawn,) = [one for one in axes.get_lines() if one.get_label().startswith("measured")]
    np.testing.assert_allclose(drawn.get_ydata(), law.lr_star(2)[0] * np.array([2, 0.5, 0.25]))
    with pytest.raises(InputError, match=r"'measured' cannot be scaled to the optimum at depth 2: .*\[4, 16\]"):
        plot_panel(law, references={"measured": {4: 2.0, 16: 1.0}})


def test_one_point_is_a_reference_without_a_slope(law: SweepLaw) -> None:
    axes = rendered(plot_panel(law, references={"measured": {2: 7.0}})).axes[1]
    np.testing.assert_allclose(line(axes, "measured").get_data(), [[2], [law.lr_star(2)[0]]])


@pytest.mark.parametrize("kind", ["smoothed", "argmax"])
def test_one_depth_has_no_line_but_a_panel(kind: str) -> None:
    law = fit_sweep(sweep((4,)), kind=kind)
    assert law.power_law is None
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert labels(axes) == {f"{kind} optimum {BARS}", "am-mup, L^(−3/2)"}


def test_without_a_usable_depth_rules_start_at_the_smallest() -> None:
    law = fit_sweep(sweep((2, 4), top=0.01))
    assert law.used == ()
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert line(axes, "am-mup, L^(−3/2)").get_ydata()[0] == law.lr_star(2)[0]


def test_two_depths_have_no_interval_and_no_band() -> None:
    law = fit_sweep(sweep((2, 4)))
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert slope_of(f"weighted fit: slope {law.power_law.slope:.2f}") in labels(axes)
    assert not any("band" in label for label in labels(axes))


def test_one_seed_has_panels() -> None:
    runs = sweep(seeds=1)
    law = fit_sweep(runs, segments=[A])
    for figure in (plot_panel(law, references={}), plot_accuracies(law, runs), plot_heatmap(law, runs)):
        rendered(figure)
    rendered(plot_overlay({"one": law, "two": law}))


def test_an_unknown_error_has_no_bar(law: SweepLaw, runs: pd.DataFrame) -> None:
    unknown = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=np.nan)})
    for axes in rendered(plot_panel(unknown, references={})).axes[:2]:
        drawn, ends = points(axes, f"smoothed optimum {BARS}")
        assert np.isfinite(drawn.get_ydata()).all()
        assert np.isnan(ends[:, :, 1]).all(axis=1).tolist() == [False, False, True, False]
    axes = rendered(plot_accuracies(unknown, runs)).axes[2]
    assert axes.get_title() == f"L = 8: η* = {law.lr_star(8)[0]:.2g}"
    assert not axes.patches
    rendered(plot_heatmap(unknown, runs))
    rendered(plot_overlay({"known": law, "unknown": unknown}))


def test_one_wide_interval_does_not_press_the_linear_view_to_the_floor(law: SweepLaw) -> None:
    wide = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=2.0)})
    linear = plot_panel(wide, references={"constant": dict.fromkeys(DEPTHS, 1.0)}).axes[3]
    assert linear.get_ylim() == pytest.approx((0, 2 * law.lr_star(2)[0]))


def test_every_rule_has_a_colour_a_marker_and_dashes_of_its_own(law: SweepLaw) -> None:
    known = {"am-mup", "finite-depth", "pathsum", "measured", "measured-late", "constant", "L^-1/2", "L^-1"}
    assert set(plots.RULES) == known
    for feature in ("colour", "marker", "dashes"):
        assert len({getattr(style, feature) for style in plots.RULES.values()}) == len(known)
    names = [*sorted(known), "new 1", "new 2", "new 3"]
    references = {name: {2: 1.0, 16: 0.5 / (1 + place)} for place, name in enumerate(names)}
    axes = rendered(plot_panel(law, references=references)).axes[1]
    lines = [one for one in axes.get_lines() if ": slope" in one.get_label() and "fit" not in one.get_label()]
    assert [one.get_label().split(":")[0] for one in lines] == ["am-mup", *[name for name in names if name != "am-mup"]]
    assert len({one.get_marker() for one in lines}) == len(lines)
    assert len({(one.get_color(), str(one._unscaled_dash_pattern)) for one in lines}) == len(lines)
    for one in lines:
        name = one.get_label().split(":")[0]
        if name in known:
            assert (one.get_color(), one.get_marker()) == (plots.RULES[name].colour, plots.RULES[name].marker)


def test_series_differ_in_colour_marker_dashes_and_hatch() -> None:
    styles = [plots.series_style(place) for place in range(36)]
    assert len(set(styles)) == 36
    for feature in ("colour", "marker", "dashes", "hatch"):
        assert len({getattr(style, feature) for style in styles[:6]}) == 6


def test_numbers_of_many_depths_leave_room_for_one_another() -> None:
    axes = Figure().subplots()
    plots.depth_ticks(axes, np.arange(1.0, 41.0))
    numbered, others = axes.get_xticks(), axes.get_xticks(minor=True)
    assert sorted([*numbered, *others]) == list(range(1, 41))
    assert np.diff(np.log(numbered)).min() >= np.log(40) / 18
    assert len(numbered) > 8


# --- plot_accuracies


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


def test_each_depth_says_its_optimum_and_interval(law: SweepLaw, runs: pd.DataFrame) -> None:
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


def test_flags_are_written_where_the_optimum_is_not() -> None:
    runs = flagged_sweep()
    law = fit_sweep(runs)
    for axes, depth in zip(rendered(plot_accuracies(law, runs)).axes, DEPTHS, strict=True):
        (text,) = axes.texts
        assert text.get_text() == "\n".join(law.optima[depth].flags)
        assert bool(text.get_text()) == (depth == 2)
        value = law.lr_star(depth)[0]
        assert text.get_ha() == ("left" if value > np.sqrt(LRS[0] * LRS[-1]) else "right")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_any_number_of_depths_has_a_numbered_axis_below(count: int) -> None:
    runs = sweep(range(2, 2 + count))
    figure = rendered(plot_accuracies(fit_sweep(runs), runs))
    assert len(figure.axes) == count
    columns = len({round(axes.get_position().x0, 6) for axes in figure.axes})
    for axes in figure.axes[-columns:]:
        assert axes.get_xlabel() == "learning rate η"
        assert axes.xaxis.get_tick_params()["labelbottom"]


# --- plot_heatmap


def _cells(axes: Axes, label: str) -> np.ndarray:
    """Left, right, lower and upper edges of the hatched cells."""
    (found,) = [one for one in axes.collections if isinstance(one, PolyCollection) and one.get_label() == label]
    assert found.get_hatch()
    corners = np.array([path.vertices[:4] for path in found.get_paths()])
    return np.stack([corners[..., 0].min(1), corners[..., 0].max(1), corners[..., 1].min(1), corners[..., 1].max(1)], 1)


def test_heat_map_holds_means_in_cells_around_the_learning_rates(law: SweepLaw, runs: pd.DataFrame) -> None:
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
    assert to_hex(grey.get_facecolor()[0]) == plots.SILVER
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


# --- plot_overlay


@pytest.fixture(scope="module")
def laws(law: SweepLaw) -> dict[str, SweepLaw]:
    return {"circular": law, "zero": fit_sweep(sweep((4, 8, 16, 32), kappa=3.0, slope=-1.3))}


def test_overlay_shows_optima_and_lines_of_each(laws: dict[str, SweepLaw]) -> None:
    axes, _ = rendered(plot_overlay(laws, title="a title")).axes
    looks = set()
    for name, law in laws.items():
        drawn, ends = points(axes, name)
        looks.add((drawn.get_color(), drawn.get_marker()))
        np.testing.assert_allclose(drawn.get_data(), [list(law.optima), [law.lr_star(d)[0] for d in law.optima]])
        np.testing.assert_allclose(ends[:, :, 1], intervals(law, law.optima))
        low, high = law.power_law.slope_ci
        label = f"{name}: " + slope_of(f"slope {law.power_law.slope:.2f} [{low:.2f}, {high:.2f}]")
        x, y = line(axes, label).get_data()
        np.testing.assert_allclose(y, law.power_law.predict(x))
        assert label in labels(axes)
    assert len(looks) == 2
    assert axes.get_xscale() == axes.get_yscale() == "log"
    ends = np.concatenate([intervals(law, law.optima).ravel() for law in laws.values()])
    assert axes.get_ylim()[0] < ends.min() < ends.max() < axes.get_ylim()[1]


def test_overlay_draws_optima_of_one_depth_side_by_side(laws: dict[str, SweepLaw]) -> None:
    figure = rendered(plot_overlay(laws))
    at = {}
    for name in laws:
        drawn, _ = points(figure.axes[0], name)
        at[name] = dict(zip(drawn.get_xdata(), drawn.get_transform().transform(drawn.get_xydata())[:, 0], strict=True))
    assert at["zero"][8] - at["circular"][8] == pytest.approx(5 / 72 * figure.dpi)


def test_overlay_ratios_are_to_the_first_at_common_depths(laws: dict[str, SweepLaw]) -> None:
    _, axes = plot_overlay(laws).axes
    drawn, ends = points(axes, "zero")
    first, second = laws.values()
    ratio = np.array([second.lr_star(depth)[0] / first.lr_star(depth)[0] for depth in (4, 8, 16)])
    np.testing.assert_allclose(drawn.get_data(), [[4, 8, 16], ratio])
    se = np.array([np.hypot(second.lr_star(depth)[1], first.lr_star(depth)[1]) for depth in (4, 8, 16)])
    np.testing.assert_allclose(ends[:, :, 1], np.stack([ratio / 10 ** (1.96 * se), ratio * 10 ** (1.96 * se)], 1))
    assert axes.get_ylabel() == "η* / η* of circular"
    assert any(np.all(np.asarray(one.get_ydata()) == 1) for one in axes.get_lines())


def test_one_wide_interval_does_not_press_the_ratios_to_the_floor(law: SweepLaw) -> None:
    wide = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=2.0)})
    _, axes = plot_overlay({"first": law, "wide": wide}).axes
    assert axes.get_ylim() == pytest.approx((0, 2))


def test_overlay_of_flagged_optima_and_of_a_law_without_a_line(law: SweepLaw) -> None:
    flagged, single = fit_sweep(flagged_sweep()), fit_sweep(sweep((4,)))
    left, right = rendered(plot_overlay({"first": law, "flagged": flagged, "single": single})).axes
    drawn, _ = points(left, "flagged: flagged, not fitted")
    np.testing.assert_array_equal(drawn.get_xdata(), [2])
    assert not any(label.startswith("single: slope") for label in labels(left))
    drawn, _ = points(right, "flagged: one of the two flagged")
    np.testing.assert_allclose(drawn.get_data(), [[2], [flagged.lr_star(2)[0] / law.lr_star(2)[0]]])
    assert drawn.get_markerfacecolor() == "white"
    np.testing.assert_array_equal(points(right, "flagged")[0].get_xdata(), [4, 8, 16])
    np.testing.assert_array_equal(points(right, "single")[0].get_xdata(), [4])
    reverse = plot_overlay({"flagged": flagged, "second": law}).axes[1]
    np.testing.assert_array_equal(points(reverse, "second: one of the two flagged")[0].get_xdata(), [2])


def test_overlay_says_when_there_is_nothing_to_compare(law: SweepLaw) -> None:
    for laws, text in (
        ({"only": law}, "one experiment: nothing to compare"),
        ({"a": law, "b": fit_sweep(sweep((3, 5)))}, "no depth in common"),
    ):
        _, right = rendered(plot_overlay(laws)).axes
        assert [one.get_text() for one in right.texts] == [text]
    with pytest.raises(InputError, match="give one at least"):
        plot_overlay({})


def test_a_wide_band_does_not_press_the_rules_together(law: SweepLaw) -> None:
    assert law.power_law is not None
    wide = replace(law, power_law=replace(law.power_law, covariance=((9.0, 0.0), (0.0, 9.0))))
    axes = plot_panel(wide, references={}).axes[1]
    low, high = axes.get_ylim()
    anchor = anchor_depth(wide)
    paper = [wide.lr_star(anchor)[0] * (depth / anchor) ** -1.5 for depth in wide.optima]
    drawn = paper + [wide.lr_star(depth)[0] for depth in wide.optima]
    assert min(drawn) / 10 <= low < min(drawn)
    assert max(drawn) < high <= 10 * max(drawn)
