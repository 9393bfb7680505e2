"""The command `ammup` itself: its verbs, their help, its exit codes and error messages."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import torch
from command_line import run

from ammup import InputError
from ammup.cli import cli
from ammup.provenance import commit_text


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("depth=0: expected 1"), 2, "Error: depth=0: expected 1\n"),
        (FileNotFoundError(2, "No such file", "x.db"), 2, "Error: [Errno 2] No such file: 'x.db'\n"),
        (torch.OutOfMemoryError("tried to allocate 80 GiB\nof 79"), 2, "tried to allocate 80 GiB"),
        (MemoryError(), 2, "--workers"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "DefaultCPUAllocator"),
        (KeyError("slope"), 3, "KeyError: 'slope'; `ammup --debug"),
    ],
)
def test_an_error_is_one_line_and_its_traceback_is_shown_on_request(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("ammup.experiments.analysis.read_sweep", fail)
    store = tmp_path / "runs.db"
    store.touch()  # a missing file is reported earlier
    quiet = run("fit", str(store))
    assert (quiet.exit_code, quiet.stdout) == (code, "")
    assert message in quiet.stderr
    assert len(quiet.stderr.splitlines()) == 1
    shown = run("--debug", "fit", str(store))
    assert shown.exit_code == code
    assert "Traceback" in shown.stderr
    assert "in fail\n" in shown.stderr


VERBS = sorted(name for name, command in cli.commands.items() if not isinstance(command, click.Group))


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example_on_a_line_of_its_own(verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert f"\n    ammup {verb}" in result.stdout.partition("Example")[2]
    assert "--json" in result.stdout


def test_the_help_lists_every_verb_with_one_line() -> None:
    lines = [line.split(maxsplit=1) for line in run("-h").stdout.partition("Commands:")[2].splitlines() if line]
    assert [name for name, _ in lines] == sorted(cli.commands)
    assert all(text for _, text in lines)


def test_the_version_is_the_installed_one() -> None:
    assert run("--version").stdout == f"ammup, version {version('ammup')}, commit {commit_text()}\n"


@pytest.mark.parametrize("arguments", [["exponents"], ["--colour"], ["fit", "--colour", "runs.db"]])
def test_a_command_line_that_click_rejects_has_exit_code_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_a_closed_pipe_is_not_reported_as_an_error() -> None:
    """As in `ammup --help | head -1`, where the reader closes the pipe early."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", "ammup", "claims", "--json"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error: " not in done.stderr
