"""Progress on standard error: a bar in a terminal, otherwise plain lines that never come faster than every 30 s."""

import io
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from ammup import progress
from ammup.progress import announce, heartbeat, time_left, tracked


@pytest.fixture(autouse=True)
def _no_earlier_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress._LOG, "last", -float("inf"))


def _steps() -> Iterator[int]:
    yield from range(5)


@pytest.mark.parametrize("show", [True, False])
def test_a_terminal_shows_a_bar_that_is_erased(
    show: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert list(tracked(_steps(), "decoding", 5, show=show)) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert out == ""
    assert ("decoding" in err) == show
    if show:
        assert "100%" in err
        assert err.endswith("\x1b[2K") or err.rstrip().endswith("\x1b[2K")  # the line of the bar is erased


@pytest.mark.parametrize("show", [True, False])
def test_a_file_gets_one_plain_line_at_the_start(
    show: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert list(tracked(_steps(), "decoding", 5, show=show)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "decoding: 0 of 5\n" if show else "")


def test_lines_are_at_least_an_interval_apart_over_several_operations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.2)
    times: list[float] = []
    write = progress._Log.write

    def recorded(log: progress._Log, line: object) -> None:
        before = log.last
        write(log, line)
        times.extend([log.last] if log.last != before else [])

    monkeypatch.setattr(progress._Log, "write", recorded)
    for name in ("one", "two"):
        for _ in tracked(_steps(), name, 5, show=True):
            time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "one: 0 of 5"
    assert 4 <= len(lines) == len(times) <= 6
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))
    assert {line.partition(":")[0] for line in lines} == {"one", "two"}


def test_a_long_step_repeats_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    with heartbeat(lambda: "still here"):
        time.sleep(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 9
    assert set(lines) == {"still here"}
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # nothing after the end


def test_a_new_command_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    announce("first")
    announce("second")
    list(tracked(_steps(), "too soon", 5, show=True))
    assert capsys.readouterr().err == "first\nsecond\n"


def test_a_reader_that_has_gone_does_not_end_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    announce("nobody reads this")


def test_the_remaining_time_is_proportional_to_the_remaining_work() -> None:
    assert time_left(60, 2, 4) == "0:01:00 elapsed, about 0:02:00 remaining"
    assert time_left(3, 0, 4) == "0:00:03 elapsed, about ? remaining"


COSTS = [2, 2, 4, 12]  # of nets of these depths


def test_the_remaining_time_counts_each_step_by_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, clock = [], itertools.count()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(progress, "heartbeat", lambda line: lines.append(line) or nullcontext())
    monkeypatch.setattr(progress.time, "monotonic", lambda: 10.0 * next(clock))
    steps = iter(tracked(COSTS, "measuring", 4, show=True, costs=COSTS))
    assert [next(steps) for _ in range(3)] == [2, 2, 4]  # two are finished: a fifth of the work
    assert lines[0]() == "measuring: 2 of 4, 0:00:10 elapsed, about 0:00:40 remaining"
    assert list(steps) == [12]
    assert lines[0]() == "measuring: 4 of 4, 0:00:20 elapsed, about 0:00:00 remaining"


def test_the_bar_advances_by_the_cost_of_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    steps = iter(tracked(COSTS, "measuring", 4, show=True, costs=COSTS))
    assert [next(steps) for _ in range(3)] == [2, 2, 4]
    time.sleep(0.3)  # the bar is drawn ten times a second
    shown = capsys.readouterr().err
    assert "20%" in shown
    assert "50%" not in shown
    assert list(steps) == [12]
    assert "100%" in capsys.readouterr().err


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    taken = []
    steps = iter(tracked((taken.append(i) or i for i in range(3)), "measuring", 3, show=True))
    assert taken == []
    assert next(steps) == 0
    assert taken == [0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["exponent", "cnn", "--width", "4", "--depths", "2,3", "--seeds", "2"],
        ["transfer", "cnn", "--width", "4", "--lr", "0.1", "--from", "2", "--to", "3", "--seeds", "2"],
        ["check", "cnn", "--width", "4", "--depths", "2,3", "--expected", "-1.2", "--margin", "9", "--seeds", "2"],
        ["claims", "--measure", "--id", "theorem-1.exponent-mlp"],
        ["sweep", "cnn-relu-cifar10", "--profile", "small", "--store", "x.db", "--set", "data.source=/nowhere"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_first_line_is_written_before_pytorch_is_loaded(arguments: list[str], tmp_path: object) -> None:
    """Loading it takes longer than two seconds on a busy machine, and the first line does not wait for it."""
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise SystemExit('torch is imported')\n"
        "sys.meta_path.insert(0, Stop())\n"
        f"sys.argv = ['ammup', *{arguments!r}]\n"
        "from ammup.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=str(tmp_path), env=environment, check=False
    )
    first, last = done.stderr.splitlines()
    assert first.startswith(f"ammup {arguments[0]}: loading PyTorch")
    assert last == "torch is imported"
