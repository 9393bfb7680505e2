"""The page: its parsed structure, and its rendering in a browser."""

import base64
import importlib.util
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ammup import InputError
from ammup.claims import baselines
from ammup.report.page import Picture, SweepSection, report_page
from ammup.stats.optimum import SweepLaw, fit_sweep
from ammup.stats.regret import COLUMNS, Regret
from ammup.stats.segment import Segment

_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browser)

SCRIPT, IMAGE = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>"
HOSTILE = f"\"'>{SCRIPT}{IMAGE}</td></table><!-- &amp; {{{{ 7*7 }}}}"
VOID = {"meta", "br", "img", "hr", "link", "input"}
MAGENTA = (255, 0, 255)


class Parsed(HTMLParser):
    """The elements with their attributes and text; asserts that every element is closed in the right order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        inside = [element["tag"] for element in self._open]
        element = {"tag": tag, "text": "", "in": inside, "parents": list(self._open), **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [element for element in self.elements if element["tag"] == tag]

    def table(self, caption: str) -> list[list[str]]:
        """The body cells of the first table whose caption begins with the given text."""
        table = next(t for t in self.all("table") if t["text"].strip().startswith(caption))
        rows = [e for e in self.all("tr") if table in e["parents"] and "tbody" in e["in"]]
        cells = [e for e in self.elements if e["tag"] in ("td", "th")]
        return [[" ".join(c["text"].split()) for c in cells if row in c["parents"]] for row in rows]

    def facts(self, section: str) -> dict[str, str]:
        """The terms and descriptions of the section with the given id."""
        inside = [e for e in self.elements if any(p.get("id") == section for p in e["parents"])]
        terms, descriptions = ([e["text"] for e in inside if e["tag"] == tag] for tag in ("dt", "dd"))
        return dict(zip(terms, descriptions, strict=True))

    def shown(self) -> str:
        style = "".join(element["text"] for element in self.all("style"))
        return self.all("html")[0]["text"].replace(style, "")


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for depth in (2, 4, 8, 16):
        for seed in (0, 1, 2):
            for lr in np.geomspace(1e-3, 10, 25):
                accuracy = 0.5 - 0.1 * np.log10(lr * depth**1.4) ** 2 + 0.01 * rng.standard_normal()
                lost = lr > (0.03 if depth == 16 else 5)
                rows.append({"depth": depth, "seed": seed, "lr": lr, "val_accuracy": accuracy, "diverged": lost})
    return pd.DataFrame(rows).assign(val_accuracy=lambda t: t["val_accuracy"].where(~t["diverged"]))


@pytest.fixture(scope="module")
def law(runs: pd.DataFrame) -> SweepLaw:
    segments = [Segment(anchors=(2, 4), predict=(8, 32)), Segment(anchors=(2, 16), predict=(8,))]
    law = fit_sweep(runs, segments=segments)
    assert law.used == (2, 4, 8)  # at depth 16, runs diverge before the maximum
    return law


def _regret(rules: tuple[str, ...] = ("constant", "am-mup"), **changed: float) -> Regret:
    rows = [
        {"rule": rule, "depth": depth, "predicted": 0.2 * factor, "swept": 0.2, "log10_error": np.log10(factor),
         "accuracy_lost": lost, "accuracy_low": lost - 0.004, "accuracy_high": lost + 0.006, "loss_added": 10 * lost,
         "loss_low": 9 * lost, "loss_high": 11 * lost, "held_out": lost / 2, **changed}
        for rule in rules for depth, factor, lost in ((8, 4.0, 0.012), (16, 0.25, 0.034))
    ]  # fmt: skip
    by_depth = pd.DataFrame(rows)
    mean = by_depth.assign(abs_log10_error=by_depth["log10_error"].abs()).groupby("rule", sort=False).mean()
    return Regret(by_depth=by_depth, mean=mean.reset_index())


def _figure() -> Figure:
    figure = Figure(figsize=(4, 3), facecolor="#ff00ff")
    figure.subplots().plot([1, 2], [3, 4], label="η*")
    return figure


def _section(law: SweepLaw, **changed: Any) -> SweepSection:
    fields = {
        "name": "cnn",
        "specification": 'name = "cnn"\n',
        "law": law,
        "missing": 0,
        "seeds": 3,
        "paper_slope": -1.337,
        "stored": {"slope": -1.4, "slope_ci": [-1.6, -1.2], "source": "baselines/sweeps.json", "differences": []},
        "regret": _regret(),
        "pictures": [Picture(caption="a caption", alt="two panels", figure=_figure())],
        "provenance": {"host": "here"},
    }
    return SweepSection(**(fields | changed))


def _claim(**changed: Any) -> dict[str, Any]:
    return {
        "id": "law.one", "where": "Theorem 1, appendix B", "statement": "η* falls with depth", "regime": "dense nets",
        "estimator": "slope of log η*", "stated": [-1.6, -1.4], "law": None, "change": "", "remark": "",
        "verdict": "holds", "estimate": -1.5, "se": 0.02, "interval": [-1.58, -1.42], "interval_level": 0.99988,
        "n": 64, "looks": 1, "power": 0.9991, "false_alarm": 0.0009, "alpha": 6e-5, "root": 0, "seeds": [0, 63],
        "reason": "first measurement",
        "provenance": {"commit": "0123456789abcdef", "date": "2026-01-02", "torch": "2.9", "device": "cpu"},
        **changed,
    }  # fmt: skip


def _page(*sweeps: SweepSection, claims: list[dict[str, Any]] | None = None, **changed: Any) -> str:
    fields = {"provenance": {"commit": "abc"}, "title": "a title", "made": "made today", **changed}
    return report_page(sweeps=sweeps, claims=[_claim()] if claims is None else claims, **fields)


@pytest.fixture(scope="module")
def ledger() -> list[dict[str, Any]]:
    return [record.to_dict() for record in baselines.read().values()]


# Structure


def test_the_page_has_no_script_and_no_external_resource(law: SweepLaw, ledger: list) -> None:
    text = _page(_section(law), _section(law), claims=ledger)
    parsed = Parsed(text)
    assert text.startswith("<!DOCTYPE html>\n")
    assert not parsed.all("script") + parsed.all("link") + parsed.all("iframe") + parsed.all("base")
    for element in parsed.elements:
        for name, value in element.items():
            assert not name.startswith("on"), element
            assert name not in ("srcset", "action", "data", "poster", "background", "style"), element
            if name == "href":
                assert value.startswith("#"), element
            if name == "src":
                assert value.startswith("data:image/svg+xml;base64,"), element
    (style,) = parsed.all("style")
    assert not re.search(r"url\(|@import|//", style["text"])
    (policy,) = [e for e in parsed.all("meta") if e.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_ids_are_unique_and_anchors_and_labels_resolve(law: SweepLaw, ledger: list) -> None:
    parsed = Parsed(_page(_section(law), _section(law), claims=ledger))
    ids = [element["id"] for element in parsed.elements if "id" in element]
    assert len(ids) == len(set(ids))
    links = [element["href"].removeprefix("#") for element in parsed.all("a")]
    labels = [element["aria-labelledby"] for element in parsed.elements if "aria-labelledby" in element]
    assert set(links) | set(labels) <= set(ids)
    in_nav = [e["href"] for e in parsed.all("a") if "nav" in e["in"]]
    groups = len({record["id"].partition(".")[0] for record in ledger})
    assert len(in_nav) == len(set(in_nav)) == 4 + 2 + groups


def test_headings_tables_and_pictures_are_accessible_to_screen_readers(law: SweepLaw, ledger: list) -> None:
    parsed = Parsed(_page(_section(law), claims=ledger))
    assert [e["text"] for e in parsed.all("h1")] == ["a title"]
    assert [e["text"] for e in parsed.all("h2")] == ["Summary", "Sweeps", "Claims", "Provenance"]
    assert parsed.all("html")[0]["lang"] == "en"
    for table in parsed.all("table"):
        inside = [e for e in parsed.elements if table in e["parents"]]
        assert [e["tag"] for e in inside if e["tag"] in ("caption", "thead", "tbody")] == ["caption", "thead", "tbody"]
        columns = {e["scope"] for e in inside if e["tag"] == "th" and "thead" in e["in"]}
        rows = [e.get("scope") for e in inside if e["tag"] == "th" and "tbody" in e["in"] and e["parents"][-3] is table]
        assert columns == {"col"}
        assert set(rows) == {"row"}
        assert "scroll" in [p.get("class") for p in table["parents"]]
        widths = {sum(e["tag"] in ("td", "th") and row in e["parents"] for e in inside) for row in inside
                  if row["tag"] == "tr"}  # fmt: skip
        assert len(widths) == 1
    (image,) = parsed.all("img")
    assert image["alt"] == "two panels"
    assert [e["text"] for e in parsed.all("figcaption")] == ["a caption"]


def test_pictures_are_self_contained_and_reproducible(law: SweepLaw) -> None:
    text = _page(_section(law))
    assert text == _page(_section(law))
    source = Parsed(text).all("img")[0]["src"]
    svg = base64.b64decode(source.partition(",")[2]).decode()
    assert svg.startswith("<svg")
    assert "<metadata" not in svg
    assert "<text" not in svg
    addresses = set(re.findall(r"https?://[^\"'\s<]+", svg))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


# Numbers


def test_exponents_agree_with_the_law_and_are_compared_with_the_stored_ones(law: SweepLaw) -> None:
    low, high = law.power_law.slope_ci
    moved = {"slope": -9.0, "slope_ci": [-9.5, -8.5], "source": "x", "differences": []}
    unknown = {"slope": -9.0, "slope_ci": [None, None], "source": "x", "differences": []}
    stored = (_section(law).stored, moved, unknown, None)
    papers = (-1.337, -1.869, -1.5, None)
    sections = [_section(law, stored=s, paper_slope=paper) for s, paper in zip(stored, papers, strict=True)]
    parsed = Parsed(_page(*sections))
    rows = parsed.table("Slope of log learning rate")
    fitted = ["cnn", "2, 4, 8", "3", f"{law.power_law.slope:.3f}", f"[{low:.3f}, {high:.3f}]"]
    assert [row[:5] for row in rows] == [fitted] * 4
    assert [row[5:] for row in rows] == [
        ["-1.400", "[-1.600, -1.200]", "same", "-1.337"],
        ["-9.000", "[-9.500, -8.500]", "moved", "-1.869"],
        ["-9.000", "–", "–", "-1.500"],
        ["–", "–", "no baseline", "–"],
    ]
    assert [parsed.facts(f"sweep-{number}")["paper"] for number in (1, 2, 3, 4)] == ["-1.337", "-1.869", "-1.500", "–"]


def test_intervals_that_touch_count_as_the_same(law: SweepLaw) -> None:
    low, high = law.power_law.slope_ci
    for ends, word in (([high, high + 1], "same"), ([low - 1, low], "same"), ([low - 1, low - 1e-9], "moved"),
                       ([high + 1e-9, 9.0], "moved"), ([low - 1, high + 1], "same")):  # fmt: skip
        stored = {"slope": 0.0, "slope_ci": ends, "source": "", "differences": []}
        assert _section(law, stored=stored).comparison == word


def test_only_equal_settings_complete_grids_and_narrow_intervals_are_the_same(law: SweepLaw) -> None:
    low, high = law.power_law.slope_ci
    width, middle = high - low, (low + high) / 2
    stored = {"slope": middle, "slope_ci": [middle - width / 3.9, middle + width / 3.9], "source": "x"}
    equal, different = {**stored, "differences": []}, {**stored, "differences": ["grid.seeds is 0, stored: 0,1"]}
    assert _section(law, stored=equal).comparison == "same"
    narrow = {**equal, "slope_ci": [middle - width / 4.1, middle + width / 4.1]}
    assert _section(law, stored=narrow).comparison == "inconclusive"  # such as [-6.5, 3.3] against [-1.7, -1.2]
    assert _section(law, stored=equal, missing=1).comparison == "incomplete"
    section = _section(law, stored=different)
    assert section.comparison == "other settings"
    shown = " ".join(Parsed(_page(section)).shown().split())
    assert "not comparable, because the settings differ: grid.seeds is 0, stored: 0,1." in shown


def test_optima_and_fit_agree_with_the_law(law: SweepLaw) -> None:
    parsed = Parsed(_page(_section(law)))
    for row, (depth, found) in zip(parsed.table("Best learning rate"), law.optima.items(), strict=True):
        assert row[0] == str(depth)
        for place, (value, se_log10) in (
            (1, found.lr_star("argmax")),
            (3, found.lr_star("smoothed")),
            (5, found.lr_star("edge")),
        ):
            assert float(row[place]) == pytest.approx(value, rel=5e-3)
            assert float(row[place + 1]) == pytest.approx(value * math.log(10) * se_log10, rel=5e-2)
        assert row[7] == f"{found.accuracy:.1%}"
        low, high = (float(end) for end in row[9].strip("[]").split(", "))
        line = law.line.set_index("depth").loc[depth]
        assert [float(row[8]), low, high] == pytest.approx(line.tolist(), rel=5e-3)
        flags = ", ".join([*found.flags, *(f"edge: {flag}" for flag in found.edge_flags)]) or "–"
        assert row[10] == flags + ("; not fitted" if depth == 16 else "")
    facts = parsed.facts("sweep-1")
    assert facts["slope"] == f"{law.power_law.slope:.3f}"
    assert facts["R²"] == f"{law.power_law.r2:.3f}"
    assert float(facts["prefactor κ"]) == pytest.approx(law.power_law.prefactor, rel=5e-3)
    assert facts["fitted to"] == "smoothed optima, L = 2, 4, 8"
    assert facts["host"] == "here"


def test_segments_show_predictions_and_dashes_for_missing_ones(law: SweepLaw) -> None:
    first, second, third = Parsed(_page(_section(law))).table("Predicted from the line")
    (known, _) = law.predictions.values()
    assert first[:2] == ["2, 4", "8"]
    expected = [known["predicted"][0], known["measured"][0], 10 ** known["log10_error"][0]]
    assert [float(cell) for cell in first[2:]] == pytest.approx(expected, rel=5e-3)
    assert second[:2] == ["2, 4", "32"]
    assert second[3:] == ["–", "–"]
    assert third == ["2, 16", "8", "–", "–", "–"]


def test_regret_has_means_over_depths_and_values_at_each_depth(law: SweepLaw) -> None:
    parsed = Parsed(_page(_section(law)))
    mean = ["8, 16", "4.00", "2.3%", "[1.9%, 2.9%]", "1.1%", "0.230"]
    assert parsed.table("Losses of each transfer rule, mean") == [["constant", *mean], ["am-mup", *mean]]
    rows = parsed.table("Losses of each transfer rule at each")
    assert rows[2] == ["am-mup", "8", "0.800", "0.200", "4.00", "1.2%", "[0.8%, 1.8%]", "0.120", "[0.108, 0.132]"]
    assert rows[3][4] == "0.25"
    (within,) = [t for t in parsed.all("table") if "at each held-out" in t["text"]]
    assert "details" in within["in"]


@pytest.mark.parametrize(
    ("missing", "text"), [(0, ""), (1, "1 cell of the grid is missing"), (2, "2 cells of the grid are missing")]
)
def test_missing_cells_are_reported(law: SweepLaw, missing: int, text: str) -> None:
    shown = " ".join(Parsed(_page(_section(law, missing=missing))).shown().split())
    assert ("of the grid" in shown) == bool(missing)
    assert text in shown


def test_the_complete_ledger_is_shown_by_place_and_verdict(ledger: list) -> None:
    parsed = Parsed(_page(claims=ledger))
    counted = dict(parsed.table("Claims by verdict"))
    assert sum(int(n) for n in counted.values()) == len(ledger)
    for verdict, n in counted.items():
        assert int(n) == sum(record["verdict"] == verdict for record in ledger)
    shown = [e["text"] for e in parsed.all("code")]
    assert sorted(shown) == sorted(record["id"] for record in ledger)
    places = [e["text"] for e in parsed.all("h3")]
    assert {"Theorem 1", "Appendix A", "Appendix E", "Finite-depth law (ours)"} <= set(places)
    assert len(places) == len({record["id"].partition(".")[0] for record in ledger})


def test_a_claim_is_shown_in_full() -> None:
    changed = _claim(id="law.two", verdict="holds with change", change="with a 2", remark="a remark", law=[1.5, None])
    parsed = Parsed(_page(claims=[_claim(), _claim(id="means.x", se=0.0), changed]))
    one, two = parsed.table("Theorem 1: holds 1, holds with change 1")
    assert one[0] == "law.one"
    assert one[1].startswith("η* falls with depth How it was measured")
    assert one[2:] == ["-1.500 [-1.580, -1.420]", "[-1.600, -1.400]", "holds"]
    assert two[4] == "holds with change with a 2 a remark"
    assert parsed.table("Theorem 1: holds 1")[0][0] == "law.one"
    facts = parsed.facts("place-1")  # of the last claim there
    assert facts["our law"] == "≥ 1.500"
    assert {name: facts[name] for name in ("estimator", "setting", "n", "seeds", "power", "false alarm", "commit")} == {
        "estimator": "slope of log η*", "setting": "dense nets", "n": "64", "seeds": "0 to 63", "power": "0.999",
        "false alarm": "0.001", "commit": "0123456789abcdef",
    }  # fmt: skip
    assert facts["confidence level"] == "99.988%"
    assert parsed.facts("place-2")["standard error"] == "0"
    assert [e["text"] for e in parsed.all("small")] == ["[-1.580, -1.420]"] * 2


def test_the_change_of_a_claim_that_does_not_hold_is_not_shown() -> None:
    assert "with a 2" not in _page(claims=[_claim(verdict="does not hold", change="with a 2")])


# Missing and hostile content


def test_a_page_without_content_is_valid() -> None:
    parsed = Parsed(_page(claims=[], provenance={}))
    assert [e["id"] for e in parsed.all("section")] == ["summary", "sweeps", "claims", "provenance"]
    assert parsed.table("Claims by verdict")[0] == ["holds", "0"]
    assert "No sweeps." in parsed.shown()
    assert "No claims." in parsed.shown()


def test_a_sweep_of_one_or_two_depths_has_dashes(runs: pd.DataFrame) -> None:
    bare = {"regret": None, "pictures": [], "provenance": {}, "specification": ""}
    one, two = (fit_sweep(runs[runs["depth"].isin(depths)]) for depths in ([2], [2, 4]))
    assert one.power_law is None
    parsed = Parsed(_page(_section(one, **bare), _section(two, **bare)))
    first, second = parsed.table("Slope of log learning rate")
    assert first[1:5] + first[7:8] == ["2", "3", "–", "–", "–"]
    assert second[4] == "–"
    assert parsed.table("Best learning rate")[0][8:10] == ["–", "–"]
    assert "fewer than two depths" in parsed.shown()
    assert not re.search(r"\b(nan|NaN|None|inf)\b", parsed.shown())


def test_missing_numbers_are_shown_as_a_dash(law: SweepLaw) -> None:
    nothing = _regret(("constant",), **dict.fromkeys(COLUMNS[2:], np.nan))
    stored = {"slope": None, "slope_ci": [None, math.nan], "source": "x", "differences": []}
    absent = dict.fromkeys(("estimate", "se", "power", "false_alarm", "alpha", "n", "interval_level"), math.nan)
    incomplete = {**absent, "interval": [math.nan, None], "stated": [math.nan, 1.0], "seeds": None, "regime": None}
    claims = [_claim(**incomplete, provenance={}), _claim(**dict.fromkeys(absent), interval=None, law=[None, None])]
    text = _page(_section(law, regret=nothing, stored=stored, provenance={"x": ""}), claims=claims)
    parsed = Parsed(text)
    assert not re.search(r"\b(nan|NaN|None|inf)\b", parsed.shown())
    assert parsed.table("Losses of each transfer rule, mean") == [["constant", "8, 16", "–", "–", "–", "–", "–"]]
    assert parsed.table("Theorem 1")[0][2:4] == ["– –", "–"]
    assert parsed.facts("sweep-1")["x"] == parsed.facts("place-1")["n"] == "–"


def test_infinity_is_shown_as_a_symbol(law: SweepLaw) -> None:
    regret = _regret(("am-mup",), loss_added=math.inf, loss_high=math.inf)
    row = Parsed(_page(_section(law, regret=regret))).table("Losses of each transfer rule at each")[0]
    assert row[7:] == ["∞", "[0.108, ∞]"]


def test_a_stored_slope_that_lacks_a_field_is_rejected(law: SweepLaw) -> None:
    with pytest.raises(InputError, match=r"'cnn': missing slope_ci, source"):
        _section(law, stored={"slope": 1.0})


def _with_texts(law: SweepLaw, text: str) -> str:
    """A page with the given text in every text field."""
    sweep = _section(
        law,
        name=text,
        specification=text,
        stored={"slope": -1.4, "slope_ci": [-1.6, -1.2], "source": text, "differences": []},
        regret=_regret((text,)),
        pictures=[Picture(caption=text, alt=text, figure=_figure())],
        provenance={text: text},
    )
    names = ("id", "where", "statement", "estimator", "regime", "remark", "change", "reason")
    made = dict.fromkeys(("commit", "date", "torch", "device"), text)
    claim = _claim(**dict.fromkeys(names, text), verdict="holds with change", n=text, seeds=[text], provenance=made)
    return _page(sweep, claims=[claim], title=text, made=text, provenance={text: text})


def test_hostile_text_is_escaped_and_changes_no_element(law: SweepLaw) -> None:
    hostile, harmless = Parsed(_with_texts(law, HOSTILE)), Parsed(_with_texts(law, "harmless"))
    assert [(e["tag"], sorted(e)) for e in hostile.elements] == [(e["tag"], sorted(e)) for e in harmless.elements]
    assert hostile.shown().count(SCRIPT) >= 15
    assert [e["text"] for e in hostile.all("h1") + hostile.all("pre")] == [HOSTILE, HOSTILE]
    assert hostile.all("img")[0]["alt"] == HOSTILE
    assert hostile.table("Slope of log")[0][0] == HOSTILE
    classes = {name for e in hostile.elements for name in e.get("class", "").split()}
    assert all(re.fullmatch("[a-z-]+", name) for name in classes)


# In a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    program = browser.executable()
    if program is None:
        pytest.skip(f"no browser was found: install one of {', '.join(browser.NAMES)}, or set CHROME to it")
    with browser.browser(program, tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="module")
def real(law: SweepLaw, ledger: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    claims = [_claim(id=f"hostile.{IMAGE}", statement=IMAGE, verdict="inconclusive"), *ledger]
    sweeps = (_section(law, name=SCRIPT, missing=3), _section(law, stored=None))
    return _written(_page(*sweeps, claims=claims), tmp_path_factory.mktemp("page"))


def _written(text: str, folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_browser_shows_the_content_and_requests_no_other_resource(tab: Any, real: Path, ledger: list) -> None:
    tab.open(real, width=1280)
    count = "document.querySelectorAll({!r}).length"
    assert tab.evaluate(count.format("#claims tbody tr")) == len(ledger) + 1
    assert tab.evaluate(count.format("section[id^=sweep-]")) == 2
    assert tab.evaluate(count.format("#sweep-1 > .scroll:first-of-type tbody tr")) == 4
    assert tab.evaluate(count.format("script, iframe, link, object")) == 0
    assert tab.evaluate("document.querySelector('#sweep-1 h3').textContent") == SCRIPT
    assert tab.evaluate("document.querySelector('#place-1 td').firstChild.textContent.trim()") == IMAGE
    assert tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth)") == [384, 384]
    assert tab.problems == []
    assert {address.split(":")[0] for address in tab.requests} == {"file", "data"}
    assert sum(address.startswith("file:") for address in tab.requests) == 1


def test_the_pictures_are_rendered(tab: Any, real: Path) -> None:
    tab.open(real, width=1280, dark=True)
    box = tab.evaluate("(({x, y, width, height}) => [x, y, width, height])(document.images[0].getBoundingClientRect())")
    x, y, width, height = (round(v) for v in box)
    shot = tab.screenshot().crop((x, y, x + width, y + height))
    assert shot.getpixel((20, 20)) == MAGENTA  # the margin of the figure, inside the border of the image
    colours = {colour: n for n, colour in shot.getcolors(maxcolors=1 << 16)}
    assert colours[MAGENTA] > 0.2 * width * height
    assert colours[(255, 255, 255)] > 0.2 * width * height  # the axes
    assert any(min(colour) == max(colour) == 0 for colour in colours)  # their frame and text


@pytest.mark.parametrize(
    ("before", "after"),
    [("img-src data:", "img-src 'none'"), ("base64,", "base64,AAAA"), ("<main>", "<main><script>1</script>"),
     ("<main>", "<main><img src='missing.png'>")],
)  # fmt: skip
def test_the_browser_reports_a_broken_page(tab: Any, law: SweepLaw, tmp_path: Path, before: str, after: str) -> None:
    tab.open(_written(_page(_section(law)).replace(before, after), tmp_path), width=1280)
    loaded = tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert tab.problems or not loaded
    assert loaded == ("script" in after)


OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true })"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
@pytest.mark.parametrize("opened", [False, True])
def test_the_page_never_scrolls_horizontally(tab: Any, real: Path, width: int, opened: bool) -> None:
    tab.open(real, width=width)
    if opened:
        tab.evaluate(OPEN_ALL)
    assert tab.evaluate(WIDTHS) == [width, width]
    wide = tab.evaluate("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length")
    assert width > 400 or wide > 3  # a table that is too wide scrolls by itself


@pytest.mark.parametrize("width", [390, 1280])
def test_a_very_long_word_does_not_widen_the_page(tab: Any, law: SweepLaw, tmp_path: Path, width: int) -> None:
    tab.open(_written(_with_texts(law, "x" * 300), tmp_path), width=width)
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate(WIDTHS) == [width, width]


CONTRASTS = """(() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3)
    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { const c = getComputedStyle(e).backgroundColor;
    return c === 'rgba(0, 0, 0, 0)' && e.parentElement ? back(e.parentElement) : c; };
  return [...document.querySelectorAll('.badge, .warning, .note, small, dt, dd, td, th, a, summary, caption, pre')]
    .map(e => [light(getComputedStyle(e).color), light(back(e))].sort((a, b) => b - a))
    .map(([a, b]) => (a + 0.05) / (b + 0.05));
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_sufficient_contrast_in_light_and_dark_mode(tab: Any, real: Path, dark: bool) -> None:
    tab.open(real, width=1280, dark=dark)
    assert min(tab.evaluate(CONTRASTS)) >= 4.5  # WCAG 2, level AA
    brightness = sum(tab.screenshot().getpixel((2, 2))) / 3
    assert brightness < 60 if dark else brightness > 230


def test_print_is_light_and_shows_the_details_of_sweeps(tab: Any, real: Path) -> None:
    seen = "[...document.querySelectorAll('#sweep-1 details table, #sweep-1 pre, nav')].map(e => e.checkVisibility())"
    tab.open(real, width=700, dark=True)
    assert tab.evaluate(seen) == [True, False, False]  # the details are closed
    tab.open(real, width=700, dark=True, media="print")
    assert tab.evaluate(seen) == [False, True, True]
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate(WIDTHS) == [700, 700]
    assert tab.pdf().startswith(b"%PDF-")
