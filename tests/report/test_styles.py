"""Styles of series, which must be distinguishable in print."""

from ammup.report.styles import series_style


def test_series_differ_in_colour_marker_dashes_and_hatch() -> None:
    styles = [series_style(place) for place in range(36)]
    assert len(set(styles)) == 36
    for feature in ("colour", "marker", "dashes", "hatch"):
        assert len({getattr(style, feature) for style in styles[:6]}) == 6
