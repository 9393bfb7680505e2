"""README.md is short, pages show the values of the baselines, and stored sweeps are shipped experiments."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ammup.claims import baselines
from ammup.claims.statements import CLAIMS
from ammup.experiments.analysis import rule_curves
from ammup.experiments.files import read_experiments
from ammup.experiments.record import SweepRecord
from ammup.experiments.shipped import shipped

ROOT = Path(__file__).parents[1]


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 1500
    assert len(README.splitlines()) < 200
    assert len(README.encode()) < 10_000


def test_the_first_block_is_the_two_commands_that_ci_runs() -> None:
    first = re.search(r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert first is not None
    assert first[1] == "sh"
    assert len(first[2].splitlines()) == 2


def test_the_verdicts_in_the_readme_are_those_of_the_baselines() -> None:
    verdicts = [record.verdict for record in baselines.read().values()]
    counts = [verdicts.count(verdict) for verdict in ("holds", "holds with change", "does not hold")]
    assert "{} claims: {} hold, {} hold with a change, {} do not hold".format(len(verdicts), *counts) in README


@pytest.mark.parametrize("script", ["ledger", "comparison"])
def test_the_tables_of_the_pages_are_those_of_the_baselines(script: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_baselines_say_what_the_claims_say() -> None:
    """A claim whose words changed has to be measured again, or the ledger would show the old words."""
    records = baselines.read()
    words = ("where", "statement", "regime", "estimator", "change", "remark")
    stale = [c.id for c in CLAIMS if any(getattr(records[c.id], word) != getattr(c, word) for word in words)]
    assert not stale
    assert set(records) == {claim.id for claim in CLAIMS}


SWEEPS = sorted((ROOT / "baselines" / "sweeps").glob("*-small.json"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_stored_sweep_is_a_whole_one_of_a_shipped_experiment(path: Path) -> None:
    record = SweepRecord.read(path)
    found = {e.name: e for name in shipped() for e in read_experiments(Path(name), profile="small")}
    assert record.experiment.key == found[path.stem].key
    assert record.experiment.grid.depths == found[path.stem].grid.depths
    assert record.experiment.grid.learning_rates == found[path.stem].grid.learning_rates
    assert record.missing == 0
    assert {"measured", "measured-late"} <= set(rule_curves(record))
    assert record.data_digest
    assert len(record.provenance["commit of ammup"].split()[0]) == 40
