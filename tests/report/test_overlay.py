"""Several experiments on the same axes: the data of their artists, compared with the fits."""

from dataclasses import replace

import numpy as np
import pytest
from figures import (
    flagged_sweep,
    intervals,
    labels,
    line,
    points,
    rendered,
    slope_of,
    sweep,
)

from ammup import InputError
from ammup.report.overlay import plot_overlay
from ammup.stats.optimum import SweepLaw, fit_sweep


@pytest.fixture(scope="module")
def laws(law: SweepLaw) -> dict[str, SweepLaw]:
    return {"circular": law, "zero": fit_sweep(sweep((4, 8, 16, 32), kappa=3.0, slope=-1.3))}


def test_overlay_shows_optima_and_lines_of_each(laws: dict[str, SweepLaw]) -> None:
    axes, _ = rendered(plot_overlay(laws, title="a title")).axes
    styles = set()
    for name, law in laws.items():
        drawn, ends = points(axes, name)
        styles.add((drawn.get_color(), drawn.get_marker()))
        np.testing.assert_allclose(drawn.get_data(), [list(law.optima), [law.lr_star(d)[0] for d in law.optima]])
        np.testing.assert_allclose(ends[:, :, 1], intervals(law, law.optima))
        low, high = law.power_law.slope_ci
        label = f"{name}: " + slope_of(f"slope {law.power_law.slope:.2f} [{low:.2f}, {high:.2f}]")
        x, y = line(axes, label).get_data()
        np.testing.assert_allclose(y, law.power_law.predict(x))
        assert label in labels(axes)
    assert len(styles) == 2
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


def test_one_wide_interval_does_not_widen_the_axis_of_ratios(law: SweepLaw) -> None:
    wide = replace(law, optima={**law.optima, 8: replace(law.optima[8], smoothed_se=2.0)})
    _, axes = plot_overlay({"first": law, "wide": wide}).axes
    assert axes.get_ylim() == pytest.approx((0, 2))


def test_overlay_of_flagged_optima_and_of_a_law_without_a_line(law: SweepLaw) -> None:
    flagged, single = fit_sweep(flagged_sweep()), fit_sweep(sweep((4,)))
    left, right = rendered(plot_overlay({"first": law, "flagged": flagged, "single": single})).axes
    drawn, _ = points(left, "flagged: flagged, not fitted")
    np.testing.assert_array_equal(drawn.get_xdata(), [2])
    assert not any(label.startswith("single: slope") for label in labels(left))
    drawn, _ = points(right, "flagged: one of the two optima is flagged")
    np.testing.assert_allclose(drawn.get_data(), [[2], [flagged.lr_star(2)[0] / law.lr_star(2)[0]]])
    assert drawn.get_markerfacecolor() == "white"
    np.testing.assert_array_equal(points(right, "flagged")[0].get_xdata(), [4, 8, 16])
    np.testing.assert_array_equal(points(right, "single")[0].get_xdata(), [4])
    reverse = plot_overlay({"flagged": flagged, "second": law}).axes[1]
    np.testing.assert_array_equal(points(reverse, "second: one of the two optima is flagged")[0].get_xdata(), [2])


def test_overlay_states_that_there_is_nothing_to_compare(law: SweepLaw) -> None:
    for laws, text in (
        ({"only": law}, "one experiment: nothing to compare"),
        ({"a": law, "b": fit_sweep(sweep((3, 5)))}, "the experiments have no depth in common"),
    ):
        _, right = rendered(plot_overlay(laws)).axes
        assert [one.get_text() for one in right.texts] == [text]
    with pytest.raises(InputError, match="at least one experiment"):
        plot_overlay({})
