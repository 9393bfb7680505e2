"""Random input and damaged files, in separate processes: see properties.py and fuzz.py."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("program", [("properties.py", "--examples", "60"), ("fuzz.py", "--examples", "120")], ids=str)
def test_random_input_gives_a_result_or_a_one_line_error(program: tuple[str, ...]) -> None:
    name, *options = program
    command = [sys.executable, str(HERE / name), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
