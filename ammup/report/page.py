"""One self-contained HTML page: sweeps with their fits, the ledger of claims, and where both come from."""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ammup.errors import InputError
from ammup.format import error_from_log10, interval_text, number_text
from ammup.report.ledger import STYLES, Record, change_text, region_text
from ammup.report.plots import PAPER_SLOPE
from ammup.stats.optimum import SweepLaw
from ammup.stats.regret import Regret

DASH = "–"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the page.

    Attributes:
        caption: shown below it.
        alt: what it shows, for who cannot see it.
        figure: drawn into the page as SVG with its text as outlines, so that it looks the same everywhere.
    """

    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class SweepSection:
    """The section of one sweep.

    Attributes:
        name: of the sweep.
        specification: the experiment as TOML.
        law: what :func:`ammup.stats.optimum.fit_sweep` found.
        missing: cells of the grid that are not done.
        seeds: replicas of each learning rate.
        stored: slope, slope_ci (low, high) and source of the baseline of that name, or None.
        regret: what each transfer rule loses, or None.
        pictures: shown in this order.
        provenance: label -> text.

    Raises:
        InputError: a stored slope that lacks a field.
    """

    name: str
    specification: str
    law: SweepLaw
    missing: int
    seeds: int
    stored: Mapping[str, Any] | None
    regret: Regret | None
    pictures: Sequence[Picture]
    provenance: Mapping[str, str]

    def __post_init__(self) -> None:
        stored = {"slope", "slope_ci", "source"} if self.stored is None else self.stored
        if lacking := [name for name in ("slope", "slope_ci", "source") if name not in stored]:
            raise InputError(f"the stored slope of sweep {self.name!r} lacks {', '.join(lacking)}")

    @property
    def comparison(self) -> str:
        """Whether the slope's interval overlaps with the stored one: "same", "moved", "no baseline", or a dash."""
        if self.stored is None:
            return "no baseline"
        fit = self.law.power_law
        ends = [] if fit is None else [*fit.slope_ci, *self.stored["slope_ci"]]
        if not ends or not all(map(_known, ends)):
            return DASH
        low, high, stored_low, stored_high = ends
        return "same" if low <= stored_high and stored_low <= high else "moved"


def report_page(
    *, sweeps: Sequence[SweepSection], claims: Sequence[Record], provenance: Mapping[str, str], title: str, made: str
) -> str:
    """One HTML page that needs nothing else: no script, no font, no image and no style from elsewhere.

    Args:
        sweeps: in the order in which they are shown.
        claims: records of the ledger; they are grouped by the part of their id before the dot.
        provenance: of the page itself, label -> text.
        title: heading of the page.
        made: when and by what it was made.

    Returns:
        The whole document. Every text is escaped; a number that does not exist is an en dash.
    """
    context = {"sweeps": sweeps, "claims": claims, "places": _places(claims), "provenance": provenance}
    template = _template_environment().get_template("page.html.jinja")
    return template.render(context, title=title, made=made, paper_slope=PAPER_SLOPE).lstrip()


def _template_environment() -> Environment:
    loader = PackageLoader("ammup.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = (figure, rate, share, level, factor, span, region, rate_error)
    functions = (*numbers, told, style, band, regret_means, count_verdicts, tally, data_uri, change_text)
    environment.filters |= {function.__name__: function for function in functions}
    return environment


def _places(claims: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """(Place in the paper, its claims) for each group of ids, in the order of their first claims."""
    groups: dict[str, list[Record]] = {}
    for record in claims:
        groups.setdefault(str(record["id"]).partition(".")[0], []).append(record)
    return [(_place(group, members), members) for group, members in groups.items()]


def _place(group: str, members: Sequence[Record]) -> str:
    """The place that all claims of a group name, or the words of their ids where they differ."""
    places = {str(record["where"]).partition(",")[0] for record in members}
    words = [word.upper() if len(word) == 1 else word for word in group.split("-")]
    place = places.pop() if len(places) == 1 else " ".join(words)
    return place[:1].upper() + place[1:]


# Filters of the template, each under its own name. Missing values are a dash.


def _known(value: object) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def _written(value: Any, form: str) -> str:
    if not _known(value):
        return DASH
    text = number_text(float(value)) if form == "" else format(float(value), form)
    return text.rstrip(".").replace("inf", "∞")


def figure(value: object) -> str:
    """A number as the ledger writes it."""
    return _written(value, "")


def rate(value: object) -> str:
    """A learning rate, or another positive number of any size."""
    return _written(value, "#.3g")


def share(value: object) -> str:
    """A share as a percentage."""
    return _written(value, "z.1%")


def level(value: Any) -> str:
    """A confidence level as a percentage, with as many digits as it has."""
    return f"{100 * value:.7g}%" if _known(value) else DASH


def factor(log10: Any) -> str:
    """By how much a number is off, from the decimal logarithm of the quotient."""
    return _written(10.0**log10 if _known(log10) else None, ".2f")


NUMBERS = {"figure": figure, "rate": rate, "share": share, "factor": factor}


def told(value: object) -> str:
    """A text or an integer."""
    return DASH if value is None or value == "" or (isinstance(value, Real) and not _known(value)) else str(value)


def span(ends: Sequence[Any] | None, kind: str = "figure") -> str:
    """An interval with both ends, its numbers written as ``kind``."""
    if ends is None or not all(map(_known, ends)):
        return DASH
    return interval_text((float(end) for end in ends), NUMBERS[kind])


def region(ends: Sequence[float | None] | None) -> str:
    """A region of the ledger, which None leaves open at an end."""
    if ends is None or not all(end is None or _known(end) for end in ends):
        return DASH
    return region_text(ends).replace("inf", "∞")


def rate_error(found: tuple[float, float]) -> str:
    """The standard error of a learning rate in its own units, from (η*, standard error of log10 η*)."""
    value, se_log10 = found
    return _written(error_from_log10(value, se_log10), "#.2g")


def band(law: SweepLaw) -> dict[int, tuple[str, str]]:
    """(The line, its band) by depth."""
    return {int(depth): (rate(at), span((low, high), "rate")) for depth, at, low, high in law.line.to_numpy()}


def regret_means(regret: Regret) -> list[tuple[str, ...]]:
    """For each rule: its name, its held-out depths, and what it is off by, loses and adds in the mean over them."""
    depths = regret.by_depth.groupby("rule")["depth"].agg(lambda found: ", ".join(f"{depth:.0f}" for depth in found))
    return [
        (
            row["rule"],
            depths[row["rule"]],
            factor(row["abs_log10_error"]),
            share(row["accuracy_lost"]),
            span((row["accuracy_low"], row["accuracy_high"]), "share"),
            figure(row["loss_added"]),
        )
        for row in regret.mean.to_dict("records")
    ]


def count_verdicts(claims: Sequence[Record]) -> list[tuple[str, int]]:
    """(Verdict, how many claims have it), the best first."""
    return [(verdict, sum(record["verdict"] == verdict for record in claims)) for verdict in STYLES]


def tally(claims: Sequence[Record]) -> str:
    """How many claims have each verdict that there is, in words."""
    return ", ".join(f"{verdict} {count}" for verdict, count in count_verdicts(claims) if count)


def data_uri(drawn: Figure) -> str:
    """A figure as the source of an image element: a document of its own, whose ids cannot clash with others."""
    file = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ammup"}):  # the same figure is the same text
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    content = file.getvalue()
    return f"data:image/svg+xml;base64,{base64.b64encode(content[content.index(b'<svg') :]).decode()}"


def style(word: str) -> str:
    """The class of a verdict or of a comparison: its letters, joined by hyphens."""
    return re.sub(r"[^a-z]+", "-", word)
