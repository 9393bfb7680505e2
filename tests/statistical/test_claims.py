"""Every claim of the ledger against its baseline: verdict, figure, power.

Sample sizes, margins and error rates stand with each claim (`ammup claims --id ID`). The seeds are fixed, so that a run
that passes goes on passing; with another seed root (`--seed-root`, `--vary-seed`) the chance of a false alarm anywhere
is at most 1 %, which is asserted below.
"""

from collections.abc import Callable

import pytest

from ammup.suite import baselines
from ammup.suite.claims import ALPHA, FALSE_ALARM_BUDGET, INCONCLUSIVE, LOOKS, Claim
from ammup.suite.ledger import measure
from ammup.suite.statements import CLAIMS

pytestmark = pytest.mark.statistical


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claim(claim: Claim, seed_root: int, record_claim: Callable) -> None:
    (comparison,) = measure([claim], root=seed_root)
    record_claim(comparison)
    new = comparison.new
    assert not comparison.problems, "; ".join(comparison.problems)
    assert new["verdict"] != INCONCLUSIVE, f"{new['looks']} looks leave the claim open: {new['interval']}"
    if claim.law or new["verdict"] == "holds":
        assert new["agrees_with_law"], f"{new['interval']} leaves {new['law'] or new['stated']}"
        assert new["power"] >= 0.99


def test_error_rates_stay_within_the_budget() -> None:
    """Bonferroni over both looks for wrong passes; the sum of 1 - power for false alarms."""
    drawn = [claim for claim in CLAIMS if not claim.exact]
    assert LOOKS * ALPHA * len(drawn) <= FALSE_ALARM_BUDGET
    records = baselines.read()
    guarded = [records[c.id] for c in drawn if c.law or records[c.id]["verdict"] == "holds"]
    assert sum(record["false_alarm"] for record in guarded) <= FALSE_ALARM_BUDGET


def test_every_baseline_belongs_to_a_claim() -> None:
    assert set(baselines.read()) == {claim.id for claim in CLAIMS}
