"""The ledger as text and as Markdown, from handwritten records."""

import io
import re

import pytest
from rich.console import Console, RenderableType

from ammup.report.ledger import claim_text, ledger_markdown, ledger_text

VERDICTS = ("holds", "holds with change", "does not hold", "inconclusive")


def _record(**changed) -> dict:
    return {
        "id": "law.one",
        "where": "Theorem 1",
        "statement": "η* falls with depth",
        "regime": "dense nets",
        "estimator": "slope of log η*",
        "stated": [-1.6, -1.4],
        "law": None,
        "change": "",
        "remark": "",
        "verdict": "holds",
        "estimate": -1.5,
        "se": 0.02,
        "interval": [-1.58, -1.42],
        "interval_level": 0.99988,
        "n": 64,
        "looks": 1,
        "power": 0.9991,
        "false_alarm": 0.0009,
        "alpha": 6e-5,
        "root": 0,
        "reason": "first measurement",
        "provenance": {"commit": "0123456789abcdef", "torch": "2.9", "device": "cpu", "dtype": "float32", "threads": 4,
                       "seconds": 1.5, "date": "2026-01-02"},
        **changed,
    }  # fmt: skip


def _shown(renderable: RenderableType, width: int = 240) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def _rows(text: str) -> dict[str, str]:
    """The lines of one claim by their labels."""
    lines = [line.rstrip() for line in text.splitlines()[1:]]
    return dict(line.split("  ", 1) for line in lines if "  " in line)


def _row(text: str, name: str) -> str:
    return next(value.strip() for key, value in _rows(text).items() if key == name)


def _cells(text: str) -> list[list[str]]:
    """The cells of each claim's row, with or without table borders."""
    lines = [re.split(r" {2,}|[│┃|]", line) for line in text.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return [line for line in cells if len(line) == 5 and line[0] != "claim"]


def test_the_ledger_has_a_row_for_each_claim_in_the_given_order() -> None:
    text = _shown(ledger_text([_record(id="b.two", estimate=0.25), _record()]))
    assert _cells(text) == [
        ["b.two", "0.250", "[-1.580, -1.420]", "[-1.600, -1.400]", "holds"],
        ["law.one", "-1.500", "[-1.580, -1.420]", "[-1.600, -1.400]", "holds"],
    ]


def test_the_ledger_counts_the_verdicts_that_occur() -> None:
    records = [_record(verdict=verdict) for verdict in VERDICTS[:3] for _ in range(2)]
    last = _shown(ledger_text(iter(records[1:]))).splitlines()[-1]
    assert last == (
        "5 claims: 1 holds, 2 holds with change, 2 does not hold. `ammup claims --id ID` shows one in full."
    )  # fmt: skip
    assert "1 inconclusive" in _shown(ledger_text([_record(verdict="inconclusive")]))


def test_an_empty_ledger_has_no_claims() -> None:
    assert "0 claims: ." in _shown(ledger_text([]))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1.000"), (-0.0005, "-0.001"), (4.4e-16, "4.4e-16"), (1259.6, "1.3e+03"),
     (99.99949, "99.999"), (-250.0, "-2.5e+02"), (float("inf"), "inf"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_have_three_decimals_and_extreme_ones_two_digits(value: float, shown: str) -> None:
    (cells,) = _cells(_shown(ledger_text([_record(estimate=value)])))
    assert cells[1] == shown


@pytest.mark.parametrize(
    ("stated", "shown"),
    [([0.0, None], "≥ 0"), ([1.5, None], "≥ 1.500"), ([None, -1.5], "≤ -1.500"), ([None, 0.0], "≤ 0"),
     ([0.0, 1e-9], "[0, 1e-09]"), ([None, None], "any")],
)  # fmt: skip
def test_a_one_sided_region_is_shown_as_an_inequality(stated: list, shown: str) -> None:
    (cells,) = _cells(_shown(ledger_text([_record(stated=stated)])))
    assert cells[3] == shown
    assert _row(_shown(claim_text(_record(law=stated))), "our law") == shown


def test_a_claim_is_shown_in_full() -> None:
    text = _shown(claim_text(_record()))
    assert text.startswith("law.one\n")
    assert {name: value.strip() for name, value in _rows(text).items()} == {
        "statement": "η* falls with depth  (Theorem 1)",
        "verdict": "holds",
        "measured": "-1.500 ± 0.020 s.e., 99.988% interval [-1.580, -1.420]",
        "estimator": "slope of log η*",
        "setting": "dense nets",
        "stated region": "[-1.600, -1.400]",
        "our law": "same as stated",
        "sample": "64 rows, 1 look, seed root 0",
        "error rates": "false pass 6e-05 per look, false alarm 0.0009, power 0.9991",
        "provenance": "commit 01234567, torch 2.9, cpu, float32, 4 threads, 1.5 s, 2026-01-02",
        "reason": "first measurement",
        "measure again": "ammup claims --measure --id law.one",
    }


def test_a_remark_and_a_second_look_are_shown_and_a_missing_commit_is_a_question_mark() -> None:
    made = {**_record()["provenance"], "commit": ""}
    text = _shown(claim_text(_record(remark="a remark", looks=2, law=[1.0, 2.0], reason="", provenance=made)))
    assert _row(text, "remark") == "a remark"
    assert _row(text, "sample") == "64 rows, 2 looks, seed root 0"
    assert _row(text, "our law") == "[1.000, 2.000]"
    assert _row(text, "provenance").startswith("commit ?, torch")
    assert "reason" not in _rows(text)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_change_is_shown_only_if_the_claim_holds_with_it(verdict: str) -> None:
    record = _record(verdict=verdict, change="with a 2")
    shown = verdict == "holds with change"
    assert _row(_shown(claim_text(record)), "verdict") == (f"{verdict}: with a 2" if shown else verdict)
    assert ("with a 2" in ledger_markdown([record])) is shown


# Markdown


def test_markdown_has_a_table_for_each_group_of_ids() -> None:
    records = [_record(), _record(id="law.two.b", verdict="does not hold"), _record(id="means.a1")]
    assert ledger_markdown(records) == (
        "**law**\n\n"
        "| claim | statement | measured | stated | verdict |\n|---|---|---|---|---|\n"
        "| `one` | η* falls with depth | -1.500 [-1.580, -1.420] | [-1.600, -1.400] | **holds** |\n"
        "| `two.b` | η* falls with depth | -1.500 [-1.580, -1.420] | [-1.600, -1.400] | **does not hold** |\n\n"
        "**means**\n\n"
        "| claim | statement | measured | stated | verdict |\n|---|---|---|---|---|\n"
        "| `a1` | η* falls with depth | -1.500 [-1.580, -1.420] | [-1.600, -1.400] | **holds** |\n"
    )


def test_markdown_escapes_characters_that_would_end_a_cell() -> None:
    text = ledger_markdown([_record(statement="E[T | z] = T", remark="a|b", estimator="not shown | here")])
    row = text.splitlines()[-1]
    assert "| E[T \\| z] = T |" in row
    assert row.endswith("| **holds**; a\\|b |")
    assert row.replace("\\|", "").count("|") == 6


def test_markdown_escapes_a_star_that_would_begin_italics() -> None:
    assert "η\\*(L) = η\\*(L0)" in ledger_markdown([_record(statement="η*(L) = η*(L0)")])


def test_markdown_shows_change_and_remark_after_the_verdict() -> None:
    record = _record(verdict="holds with change", change="with a 2", remark="a remark")
    assert ledger_markdown([record]).splitlines()[-1].endswith("| **holds with change**; with a 2; a remark |")


def test_markdown_accepts_an_iterator_of_records() -> None:
    assert ledger_markdown(iter([_record()])) == ledger_markdown([_record()])


@pytest.mark.parametrize("name", ["reason", "statement", "remark", "regime", "estimator"])
@pytest.mark.parametrize("text", ["see [issue 12]", "see [/issue]"])
def test_brackets_in_a_text_are_not_parsed_as_markup(name: str, text: str) -> None:
    assert text in _shown(claim_text(_record(**{name: text})))
