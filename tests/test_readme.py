"""README.md shows what the baselines say."""

import subprocess
import sys
from pathlib import Path

from ammup.suite import baselines
from ammup.suite.statements import CLAIMS

ROOT = Path(__file__).parents[1]


def test_the_ledger_in_the_readme_is_that_of_the_baselines() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "ledger.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_baselines_say_what_the_claims_say() -> None:
    """A claim whose words changed has to be measured again, or the ledger would show the old words."""
    records = baselines.read()
    words = ("where", "statement", "regime", "estimator", "change", "remark")
    stale = [c.id for c in CLAIMS if any(records[c.id][word] != getattr(c, word) for word in words)]
    assert not stale
    assert set(records) == {claim.id for claim in CLAIMS}
