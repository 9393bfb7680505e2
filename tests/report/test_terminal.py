"""Printing: plain text with unwrapped lines in a pipe, styled text in a terminal."""

import pytest
from rich.table import Table
from rich.text import Text

from ammup.report.terminal import show

LONG = " ".join(f"word{i}" for i in range(100))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_line_of_text_is_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    show(Text(f"{LONG}\nsecond"))
    out, err = capsys.readouterr()
    assert out == f"{LONG}\nsecond\n"
    assert err == ""


def test_a_table_in_a_pipe_is_at_least_160_columns_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Table("claim", "statement")
    row.add_row("theorem-1", "x" * 130)
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        show(row)
        assert "x" * 130 in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    show(row)
    assert "x" * 130 not in capsys.readouterr().out  # in a terminal the table has the width of the terminal


def test_only_a_terminal_gets_styles(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    styled = Text("holds", style="green")
    show(styled)
    assert capsys.readouterr().out == "holds\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show(styled)
    assert "\x1b[32mholds\x1b[0m" in capsys.readouterr().out
