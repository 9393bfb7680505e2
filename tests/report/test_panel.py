"""The full panel: the data of its artists, compared with the fits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figures import (
    BARS,
    DEPTHS,
    A,
    B,
    band,
    flagged_sweep,
    intervals,
    labels,
    line,
    points,
    rendered,
    slope_of,
    sweep,
)
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer

from ammup import InputError, fit_power_law
from ammup.report import styles
from ammup.report.curves import plot_accuracies, plot_heatmap
from ammup.report.overlay import plot_overlay
from ammup.report.panel import anchor_depth, plot_panel
from ammup.stats.optimum import SweepLaw, fit_sweep
from ammup.stats.segment import Segment


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


def test_each_segment_has_its_anchors_their_line_and_its_predictions(law: SweepLaw) -> None:
    axes = plot_panel(law, references={}).axes[0]
    for name, segment, anchors in (("A", A, "2, 4"), ("B", B, "4, 8, 16")):
        filled = line(axes, f"{name}: anchors {anchors}")
        values = [law.lr_star(depth)[0] for depth in segment.anchors]
        np.testing.assert_allclose(filled.get_data(), [segment.anchors, values])
        assert to_rgba(filled.get_markerfacecolor()) == to_rgba(filled.get_color())
        drawn = line(axes, f"{name}: fitted line, predictions")
        assert drawn.get_markerfacecolor() == "white"
        x, y = (np.asarray(column, dtype=float) for column in drawn.get_data())
        np.testing.assert_allclose(y, fit_power_law(segment.anchors, values).predict(x))
        hollow = drawn.get_markevery()
        table = law.predictions[segment].sort_values("depth")
        np.testing.assert_allclose(x[hollow], table["depth"])
        np.testing.assert_allclose(y[hollow], table["predicted"])
    assert "C: anchors 4, 99: flagged or missing" in labels(axes)
    styles = {(one.get_marker(), one.get_linestyle()) for one in axes.get_lines() if "fitted line" in one.get_label()}
    assert len(styles) == 2


def test_bars_are_the_relative_errors_of_each_segment_in_percent(law: SweepLaw) -> None:
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


def test_predictions_at_depths_without_an_optimum_are_labelled(runs: pd.DataFrame) -> None:
    law = fit_sweep(runs, segments=[Segment(anchors=(2, 4), predict=(8, 32))])
    axes = rendered(plot_panel(law, references={})).axes[2]
    (bars,) = axes.containers
    assert np.isfinite(bars[0].get_height())
    assert np.isnan(bars[1].get_height())
    (text,) = [one for one in axes.texts if one.get_text().strip() == "no optimum"]
    assert text.get_position() == (1, 0)


def test_a_panel_without_segments_is_labelled(runs: pd.DataFrame) -> None:
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
        vertices = band(axes, "95% band of the fit")
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


def test_a_reference_is_interpolated_at_the_anchor_depth_and_rejected_outside_its_range(law: SweepLaw) -> None:
    axes = plot_panel(law, references={"measured": {1: 8.0, 4: 2.0, 16: 1.0}}).axes[1]
    (drawn,) = [one for one in axes.get_lines() if one.get_label().startswith("measured")]
    np.testing.assert_allclose(drawn.get_ydata(), law.lr_star(2)[0] * np.array([2, 0.5, 0.25]))
    with pytest.raises(InputError, match=r"'measured' cannot be scaled to the optimum at depth 2: .*\[4, 16\]"):
        plot_panel(law, references={"measured": {4: 2.0, 16: 1.0}})


def test_one_point_is_a_reference_without_a_slope(law: SweepLaw) -> None:
    axes = rendered(plot_panel(law, references={"measured": {2: 7.0}})).axes[1]
    np.testing.assert_allclose(line(axes, "measured").get_data(), [[2], [law.lr_star(2)[0]]])


@pytest.mark.parametrize("kind", ["smoothed", "argmax"])
def test_one_depth_gives_a_panel_without_a_fit(kind: str) -> None:
    law = fit_sweep(sweep((4,)), kind=kind)
    assert law.power_law is None
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert labels(axes) == {f"{kind} optimum {BARS}", "am-mup, L^(−3/2)"}


def test_if_no_depth_is_fitted_rules_are_anchored_at_the_smallest() -> None:
    law = fit_sweep(sweep((2, 4), top=0.01))
    assert law.used == ()
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert line(axes, "am-mup, L^(−3/2)").get_ydata()[0] == law.lr_star(2)[0]


def test_two_depths_have_no_interval_and_no_band() -> None:
    law = fit_sweep(sweep((2, 4)))
    axes = rendered(plot_panel(law, references={})).axes[1]
    assert slope_of(f"weighted fit: slope {law.power_law.slope:.2f}") in labels(axes)
    assert not any("band" in label for label in labels(axes))


def test_figures_can_be_drawn_for_one_seed() -> None:
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


def test_one_wide_interval_does_not_widen_the_linear_axis(law: SweepLaw) -> None:
    wide = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=2.0)})
    linear = plot_panel(wide, references={"constant": dict.fromkeys(DEPTHS, 1.0)}).axes[3]
    assert linear.get_ylim() == pytest.approx((0, 2 * law.lr_star(2)[0]))


def test_rules_differ_in_colour_marker_and_dashes(law: SweepLaw) -> None:
    known = {"am-mup", "finite-depth", "pathsum", "measured", "measured-late", "constant", "L^-1/2", "L^-1"}
    assert set(styles.RULES) == known
    for feature in ("colour", "marker", "dashes"):
        assert len({getattr(style, feature) for style in styles.RULES.values()}) == len(known)
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
            assert (one.get_color(), one.get_marker()) == (styles.RULES[name].colour, styles.RULES[name].marker)


def test_a_wide_band_does_not_widen_the_axis(law: SweepLaw) -> None:
    assert law.power_law is not None
    wide = replace(law, power_law=replace(law.power_law, covariance=((9.0, 0.0), (0.0, 9.0))))
    axes = plot_panel(wide, references={}).axes[1]
    low, high = axes.get_ylim()
    anchor = anchor_depth(wide)
    paper = [wide.lr_star(anchor)[0] * (depth / anchor) ** -1.5 for depth in wide.optima]
    drawn = paper + [wide.lr_star(depth)[0] for depth in wide.optima]
    assert min(drawn) / 10 <= low < min(drawn)
    assert max(drawn) < high <= 10 * max(drawn)
