"""The verdicts are written into baselines, which other versions read, and styled by the reports."""

import json

import pytest

from ammup.report.ledger import STYLES
from ammup.stats.verdicts import VERDICTS


def test_the_words_do_not_change() -> None:
    assert VERDICTS == ("holds", "holds with change", "does not hold", "inconclusive")


def test_stored_claims_have_a_known_verdict(pytestconfig: pytest.Config) -> None:
    text = [path.read_text() for path in (pytestconfig.rootpath / "baselines").glob("*.json")]
    found = {record["verdict"] for content in text for record in json.loads(content)["claims"]}
    assert found
    assert found <= set(VERDICTS)


def test_reports_have_a_style_for_each() -> None:
    assert tuple(STYLES) == VERDICTS
