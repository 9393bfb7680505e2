"""Markers, dashes and hatches of the series in figures; lines differ in more than their colour, for print."""

from dataclasses import dataclass
from typing import Any

from ammup.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SILVER, SKY, VERMILION

Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Style:
    """The style of a series. Styles differ in more than colour, so that they can be distinguished in grey print."""

    colour: str
    marker: str
    dashes: Dashes = "-"
    hatch: str = ""

    @property
    def hollow(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for a line with hollow markers."""
        style = {"color": self.colour, "marker": self.marker, "linestyle": self.dashes}
        return style | {"markerfacecolor": "white", "markersize": 5}


SWEPT = Style(colour=BLUE, marker="o")
SHARPNESS = Style(colour=ORANGE, marker="s", dashes=(0, (6, 2)))
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
DASHES: tuple[Dashes, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)), (0, (10, 3)), (0, (3, 1, 1, 1, 1, 1)))
HATCHES = ("///", "...", "xxx", "\\\\\\", "++", "oo")
# The transfer rules have the same style in every figure.
RULES = {
    "am-mup": Style(colour=VERMILION, marker="s", dashes=DASHES[1]),
    "finite-depth": Style(colour=GREEN, marker="^", dashes=DASHES[2]),
    "pathsum": Style(colour=PURPLE, marker="D", dashes=DASHES[3]),
    "measured": Style(colour=ORANGE, marker="v", dashes=DASHES[4]),
    "measured-late": Style(colour=SKY, marker="P", dashes=DASHES[5]),
    "constant": Style(colour=GREY, marker="X", dashes=(0, (1, 4))),
    "L^-1/2": Style(colour=BLACK, marker="<", dashes=(0, (4, 4))),
    "L^-1": Style(colour=SILVER, marker=">", dashes=(0, (8, 2, 2, 2, 2, 2))),
}


def series_style(place: int, markers: str = "s^DvPX") -> Style:
    """One of 36 styles for the series at index ``place``; any six consecutive ones differ in every attribute."""
    turn, i = divmod(place, 6)
    at = (i + turn) % 6
    return Style(colour=COLOURS[i], marker=markers[at % len(markers)], dashes=DASHES[at], hatch=HATCHES[at])
