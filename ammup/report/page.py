"""A self-contained HTML page: sweeps with their fits, the ledger of claims, and the provenance of both."""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ammup.errors import InputError
from ammup.format import error_from_log10, interval_text, number_text
from ammup.report.ledger import STYLES, Record, change_text, region_text
from ammup.report.sweep import all_flags
from ammup.stats.optimum import SweepLaw
from ammup.stats.regret import Regret

if TYPE_CHECKING:  # its module builds sections, and imports this one
    from ammup.report.tunings import TuningSection

DASH = "–"
# If the interval of the slope is wider than the stored one by more than this factor, the comparison is inconclusive.
MAX_WIDTH_RATIO = 2.0


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the page.

    Attributes:
        caption: text below the figure.
        alt: description for screen readers.
        figure: embedded as SVG with text as outlines, so that it does not depend on the fonts of the reader.
    """

    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class SweepSection:
    """The section of one sweep.

    Attributes:
        name: name of the sweep.
        specification: the experiment as TOML.
        law: the result of :func:`ammup.stats.optimum.fit_sweep`.
        missing: number of cells of the grid without a run.
        seeds: number of seeds.
        paper_slope: the slope that the paper reports for this experiment, or None.
        stored: slope, slope_ci (low, high) and source of the baseline with that name, and "differences": one text for
            each setting in which the two specifications differ. None if there is no baseline.
        regret: the regret of each transfer rule, or None.
        pictures: the figures, in the order of the page.
        provenance: text by label.
        edge: the law that is fitted to the edges, or None.

    Raises:
        InputError: ``stored`` lacks a field.
    """

    name: str
    specification: str
    law: SweepLaw
    missing: int
    seeds: int
    paper_slope: float | None
    stored: Mapping[str, Any] | None
    regret: Regret | None
    pictures: Sequence[Picture]
    provenance: Mapping[str, str]
    edge: SweepLaw | None = None

    def __post_init__(self) -> None:
        fields = ("slope", "slope_ci", "source", "differences")
        if missing := [name for name in fields if self.stored is not None and name not in self.stored]:
            raise InputError(f"stored slope of sweep {self.name!r}: missing {', '.join(missing)}")

    @property
    def comparison(self) -> str:
        """The result of the comparison of the slope with the stored one.

        It is "no baseline" if there is no stored slope, "other settings" if the specifications differ, "incomplete" if
        cells are missing, and a dash if an interval is unknown. Otherwise it is "moved" if the two intervals do not
        overlap, "inconclusive" if they overlap but the new one is more than twice as wide, and else "same".
        """
        if self.stored is None:
            return "no baseline"
        if self.stored["differences"]:
            return "other settings"
        if self.missing:
            return "incomplete"
        fit = self.law.power_law
        ends = [] if fit is None else [*fit.slope_ci, *self.stored["slope_ci"]]
        if not ends or not all(map(_is_number, ends)):
            return DASH
        low, high, stored_low, stored_high = ends
        if low > stored_high or stored_low > high:
            return "moved"
        return "same" if high - low <= MAX_WIDTH_RATIO * (stored_high - stored_low) else "inconclusive"


def report_page(
    *,
    sweeps: Sequence[SweepSection],
    claims: Sequence[Record],
    provenance: Mapping[str, str],
    title: str,
    made: str,
    tunings: "Sequence[TuningSection]" = (),
) -> str:
    """One self-contained HTML page, without scripts and external resources.

    Args:
        sweeps: sections of the sweeps, in the order of the page.
        claims: records of the ledger; they are grouped by the part of their id before the dot.
        provenance: text by label, about the page itself.
        title: heading of the page.
        made: when the page was created.
        tunings: sections of the tunings; without any, the page does not mention them.

    Returns:
        The complete document. Every text is escaped; a missing number is shown as an en dash.
    """
    context = {
        "sweeps": sweeps,
        "claims": claims,
        "places": _places(claims),
        "provenance": provenance,
        "tunings": tunings,
    }
    template = _template_environment().get_template("page.html.jinja")
    return template.render(context, title=title, made=made).lstrip()


def _template_environment() -> Environment:
    loader = PackageLoader("ammup.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = (number, rate, share, level, factor, interval, region, rate_error)
    texts = (text_or_dash, css_class, count_verdicts, verdict_counts, data_uri, change_text)
    functions = (*numbers, *texts, fitted_line, regret_means, all_flags)
    environment.filters |= {function.__name__: function for function in functions}
    return environment


def _places(claims: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """(Place in the paper, its claims) of each group of ids, in the order of their first claims."""
    groups: dict[str, list[Record]] = {}
    for record in claims:
        groups.setdefault(str(record["id"]).partition(".")[0], []).append(record)
    return [(_place(group, members), members) for group, members in groups.items()]


def _place(group: str, members: Sequence[Record]) -> str:
    """The place in the paper that all claims of a group share, or the words of the group's id if they differ."""
    places = {str(record["where"]).partition(",")[0] for record in members}
    words = [word.upper() if len(word) == 1 else word for word in group.split("-")]
    place = places.pop() if len(places) == 1 else " ".join(words)
    return place[:1].upper() + place[1:]


# Filters of the template. The name of a filter is that of its function. Missing values are shown as a dash.


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def _format(value: Any, form: str) -> str:
    """The number in a format of Python, or as in the ledger if ``form`` is empty."""
    if not _is_number(value):
        return DASH
    text = number_text(float(value)) if form == "" else format(float(value), form)
    return text.rstrip(".").replace("inf", "∞")


def number(value: object) -> str:
    """A number formatted as in the ledger."""
    return _format(value, "")


def rate(value: object) -> str:
    """A learning rate, or another positive number of any magnitude, with three digits."""
    return _format(value, "#.3g")


def share(value: object) -> str:
    """A fraction as a percentage."""
    return _format(value, "z.1%")


def level(value: Any) -> str:
    """A confidence level as a percentage, with all its digits."""
    return f"{100 * value:.7g}%" if _is_number(value) else DASH


def factor(log10: Any) -> str:
    """The ratio of two numbers, from its decimal logarithm."""
    return _format(10.0**log10 if _is_number(log10) else None, ".2f")


NUMBERS = {"number": number, "rate": rate, "share": share, "factor": factor}


def text_or_dash(value: object) -> str:
    """A text or an integer."""
    return DASH if value is None or value == "" or (isinstance(value, Real) and not _is_number(value)) else str(value)


def interval(ends: Sequence[Any] | None, kind: str = "number") -> str:
    """An interval, with its ends formatted by the filter ``kind``."""
    if ends is None or not all(map(_is_number, ends)):
        return DASH
    return interval_text((float(end) for end in ends), NUMBERS[kind])


def region(ends: Sequence[float | None] | None) -> str:
    """A region of the ledger; None is the missing bound of a one-sided region."""
    if ends is None or not all(end is None or _is_number(end) for end in ends):
        return DASH
    return region_text(ends).replace("inf", "∞")


def rate_error(estimate: tuple[float, float]) -> str:
    """The standard error of a learning rate in its own units, from (η*, standard error of log10 η*)."""
    value, se_log10 = estimate
    return _format(error_from_log10(value, se_log10), "#.2g")


def fitted_line(law: SweepLaw) -> dict[int, tuple[str, str]]:
    """(Fitted η*, its confidence band) by depth."""
    rows = law.line.to_numpy()
    return {int(depth): (rate(fitted), interval((low, high), "rate")) for depth, fitted, low, high in rows}


def regret_means(regret: Regret) -> list[tuple[str, ...]]:
    """For each rule: name, held-out depths, and means of the error, the lost accuracy (twice) and the added loss."""
    depths = regret.by_depth.groupby("rule")["depth"].agg(lambda group: ", ".join(f"{depth:.0f}" for depth in group))
    return [
        (
            row["rule"],
            depths[row["rule"]],
            factor(row["abs_log10_error"]),
            share(row["accuracy_lost"]),
            interval((row["accuracy_low"], row["accuracy_high"]), "share"),
            share(row["held_out"]),
            number(row["loss_added"]),
        )
        for row in regret.mean.to_dict("records")
    ]


def count_verdicts(claims: Sequence[Record]) -> list[tuple[str, int]]:
    """(Verdict, number of claims with it), from the best to the worst."""
    return [(verdict, sum(record["verdict"] == verdict for record in claims)) for verdict in STYLES]


def verdict_counts(claims: Sequence[Record]) -> str:
    """A text that lists the number of claims with each verdict, without verdicts that no claim has."""
    return ", ".join(f"{verdict} {count}" for verdict, count in count_verdicts(claims) if count)


def data_uri(drawn: Figure) -> str:
    """A figure as the src of an img element, which is a separate document, so that its ids cannot clash with others."""
    file = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ammup"}):  # equal figures give equal text
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    content = file.getvalue()
    return f"data:image/svg+xml;base64,{base64.b64encode(content[content.index(b'<svg') :]).decode()}"


def css_class(word: str) -> str:
    """The CSS class of a verdict or of a comparison, such as holds-with-change."""
    return re.sub(r"[^a-z]+", "-", word)
