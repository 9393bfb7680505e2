"""The progress bar: on standard error, in a terminal, and nothing of it left in the results."""

from collections.abc import Iterator

import pytest

from ammup.progress import tracked


def _steps() -> Iterator[int]:
    yield from range(5)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("show", [True, False])
def test_steps_are_handed_on_and_shown_in_a_terminal_only(
    terminal: bool, show: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.delenv("NO_COLOR" if terminal else "FORCE_COLOR", raising=False)
    assert list(tracked(_steps(), "decoding", 5, show=show)) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert out == ""
    assert ("decoding" in err) == (terminal and show)
    if terminal and show:
        assert "100%" in err
        assert err.endswith("\x1b[2K") or err.rstrip().endswith("\x1b[2K")  # the line of the bar is erased


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    taken = []
    steps = iter(tracked((taken.append(i) or i for i in range(3)), "measuring", 3, show=True))
    assert taken == []
    assert next(steps) == 0
    assert taken == [0]
