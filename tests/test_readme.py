"""README.md shows what the baselines say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_ledger_in_the_readme_is_that_of_the_baselines() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "ledger.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
