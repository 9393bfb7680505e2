"""Properties of everything that takes input, and damaged files, in processes of their own: see the two programs."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("program", [("properties.py", "--examples", "60"), ("fuzz.py", "--examples", "120")], ids=str)
def test_bad_input_never_surprises(program: tuple[str, ...]) -> None:
    name, *options = program
    command = [sys.executable, str(HERE / name), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
