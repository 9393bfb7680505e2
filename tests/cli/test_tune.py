"""`ammup tune` with a script that has no idea of it, killed in the middle and resumed."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import assert_refused, run
from tuning_trainings import PATTERNS, write_script
from waiting import wait_until

from ammup.errors import InputError
from ammup.experiments.store import Store

ARGUMENTS = ["--depths", "2", "--target", "6", "--steps", "10", "--lr", "0.2", "--no-check", "--probes", "2"]
READING = ["--loss-pattern", PATTERNS[0], "--score-pattern", PATTERNS[1]]
PLACEHOLDERS = ["--depth", "{depth}", "--lr", "{lr}", "--seed", "{seed}"]


def _command(folder: Path) -> list[str]:
    script = [sys.executable, str(write_script(folder)), *PLACEHOLDERS]
    return ["tune", *ARGUMENTS, *READING, "--store", str(folder / "runs.db"), "--", *script]


def _stored(folder: Path) -> int:
    with suppress(InputError), Store(folder / "runs.db", mode="read") as store:
        return int(store.connection.execute("SELECT count(*) FROM tuning_runs").fetchone()[0])
    return 0


@pytest.mark.slow
def test_a_killed_command_continues_with_the_stored_runs(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "ammup", *_command(tmp_path)], stderr=subprocess.DEVNULL)
    wait_until(lambda: _stored(tmp_path) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = _stored(tmp_path)
    result = run("tune", "--json", *_command(tmp_path)[1:])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert len(content["runs"]) == _stored(tmp_path) > before
    assert content["interval"][0] < content["lr"] < content["interval"][1]
    # the table says the same, and makes no further run
    shown = run(*_command(tmp_path), columns=200)
    assert f"→ train depth 6 with lr {content['lr']:.3g}" in shown.stdout
    assert _stored(tmp_path) == len(content["runs"])


def test_a_script_without_readable_lines_is_reported_with_what_it_printed(tmp_path: Path) -> None:
    command = _command(tmp_path)
    del command[command.index("--loss-pattern") : command.index("--store")]
    assert_refused(run(*command), "silent: the training ended without a report")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss-pattern", "loss"], "has no group named loss"),
        (["--target-setting", "momentum=0.9"], "--target-setting needs --base-setting"),
        (["--base-setting", "speed=3"], "'speed=3' is not of the form NAME=VALUE"),
        (["--base-setting", "momentum=high"], "'high' is not a number"),
        (["--base-setting", "optimizer=sgd", "--target-setting", "optimizer=adamw"], "no rule relates"),
    ],
)
def test_wrong_options(options: list[str], message: str, tmp_path: Path) -> None:
    command = ["tune", *ARGUMENTS, *options, "--store", str(tmp_path / "x.db"), "--", "sh", "{depth}", "{lr}"]
    result = run(*command)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "x.db").exists()


def test_a_command_is_needed(tmp_path: Path) -> None:
    assert_refused(run("tune", *ARGUMENTS, "--store", tmp_path / "x.db"), "no command was given; write it after --")
