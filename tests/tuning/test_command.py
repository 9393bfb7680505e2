"""Training by a command: every ending is an outcome, and no process remains."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tuning_trainings import PATTERNS, write_script
from waiting import wait_until

from ammup.errors import InputError
from ammup.tuning.attempt import Limits, make_run
from ammup.tuning.command import CommandTrainer
from ammup.tuning.output_lines import LinePatterns
from ammup.tuning.progress import RunRequest, TuningRun

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are of POSIX")
REPORT = """printf '{"step": %s, "loss": %s}\\n'"""


def _made(script: str, *, until: int = 10, time_limit: float = 60.0, state: Path | None = None) -> TuningRun:
    """A run of a shell script; {depth} and {lr} are its arguments."""
    trainer = CommandTrainer(words=("sh", "-c", script, "{depth}", "{lr}"))
    request = RunRequest(depth=2, lr=0.5, seed=1, budget=10, until=until, purpose="probe", state=state)
    return make_run(trainer, request, Limits(time_limit=time_limit, probe_steps=5))


def test_a_script_is_read_until_its_end() -> None:
    run = _made(f'echo hello; {REPORT} 5 2.5; echo \'{{"step": 10, "loss": 1, "score": 0.5}}\'')
    assert (run.outcome, run.steps, run.score, run.curve) == ("finished", 10, 0.5, ((5, 2.5), (10, 1.0)))


@pytest.mark.parametrize(
    ("script", "outcome", "message"),
    [
        (f"{REPORT} 5 NaN", "diverged", "loss nan at step 5"),
        (f"{REPORT} 5 1e999; exit 1", "diverged", "loss inf at step 5"),
        ("echo Traceback >&2; echo KeyError: 3 >&2; exit 4", "failed", "exited with code 4; its last lines: Traceback"),
        ("kill -SEGV $$", "failed", "ended by signal 11; it printed nothing"),
        ("echo epoch 1", "silent", "without a report"),
        (f"{REPORT} '\"x\"' 2", "failed", "expected numbers"),
    ],
)
def test_endings(script: str, outcome: str, message: str) -> None:
    run = _made(script)
    assert run.outcome == outcome
    assert message in run.message


def test_a_hang_is_ended_after_the_time_limit_with_its_children() -> None:
    run = _made(f"{REPORT} 1 1; sleep 987654 & echo started $!; wait", time_limit=1.0)
    assert run.outcome == "timed out"
    assert "no report within 1 s; its last lines" in run.message
    child = int(run.message.rsplit(" ", 1)[1])
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_short_run_is_stopped_by_a_signal_that_the_script_may_handle(tmp_path: Path) -> None:
    loop = f"i=0; while true; do i=$((i + 1)); {REPORT} $i 1; sleep 0.05; done"
    run = _made(f"trap 'echo yes > {tmp_path}/saved; exit' TERM; {loop}", until=3)
    assert (run.outcome, run.steps) == ("finished", 3)
    assert (tmp_path / "saved").read_text() == "yes\n"


def test_only_the_placeholders_are_replaced(tmp_path: Path) -> None:
    words = ("x", "--config={depth}", '{"a": 1}', "{lr}", "{seed}", "{budget}", "{state}", "{other}")
    request = RunRequest(depth=2, lr=1e-5, seed=1, budget=10, until=5, purpose="probe", state=tmp_path / "s")
    filled = ["x", "--config=2", '{"a": 1}', "1e-05", "1", "10", str(tmp_path / "s"), "{other}"]
    assert CommandTrainer(words=words).command(request) == filled


def test_a_missing_program() -> None:
    trainer = CommandTrainer(words=("no-such-program", "{depth}", "{lr}"))
    request = RunRequest(depth=2, lr=0.1, seed=0, budget=10, until=5, purpose="probe")
    run = make_run(trainer, request, Limits(time_limit=1, probe_steps=5))
    assert (run.outcome, run.message) == ("failed", "no-such-program cannot be started: No such file or directory")


@pytest.mark.parametrize(
    ("words", "message"), [((), "no command was given"), (("train", "{depth}"), "has no placeholder {lr}")]
)
def test_wrong_commands(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CommandTrainer(words=words)


def test_an_unchanged_script_with_argparse(tmp_path: Path) -> None:
    words = (sys.executable, str(write_script(tmp_path)), "--depth", "{depth}", "--lr", "{lr}", "--seed", "{seed}")
    trainer = CommandTrainer(words=words, patterns=LinePatterns(loss=PATTERNS[0], score=PATTERNS[1]))
    request = RunRequest(depth=3, lr=0.2, seed=4, budget=10, until=10, purpose="probe")
    run = make_run(trainer, request, Limits(time_limit=100, probe_steps=5))
    assert (run.outcome, run.steps, len(run.curve)) == ("finished", 10, 10), run.message
    assert run.curve[-1][1] < 0.5 * run.curve[0][1]
    assert run.score is not None
    assert run.score > 50  # percent


def test_a_command_ends_when_the_process_that_follows_it_is_killed(tmp_path: Path) -> None:
    code = f"""
from ammup.tuning.attempt import *; from ammup.tuning.command import *; from ammup.tuning.progress import *
trainer = CommandTrainer(words=("sh", "-c", "echo $$ > {tmp_path}/pid; sleep 987654", "{{depth}}", "{{lr}}"))
request = RunRequest(depth=1, lr=1.0, seed=0, budget=2, until=2, purpose="probe")
make_run(trainer, request, Limits(time_limit=1e6, probe_steps=1))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    child = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
