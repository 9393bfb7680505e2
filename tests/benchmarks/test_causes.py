"""The tables of benchmarks/causes.py on laws with a known change."""

import numpy as np
import pytest
from cause_parts.nets import FAMILIES
from cause_parts.plant import FAULTS
from causes import CORRECT, DEPTHS, confusion, evaluate, thresholds, to_law

from ammup.gate.fault_patterns import PATTERNS


def _record(factor: float, seed: int, *, grown: float = 0.0) -> dict:
    """η* ∝ L^-1.5, times a factor, with S_l growing exponentially."""
    rng = np.random.default_rng(seed)
    S_bar = {d: d**3.0 / factor**2 * np.exp(2.3 * grown * (d - 0.5)) * rng.lognormal(0, 0.1, 12) for d in DEPTHS}
    S = {d: np.arange(1, d + 1) ** 2.0 * np.exp(grown * np.arange(d)) for d in DEPTHS}
    facts = {"copied": False, "residual": False}
    return {
        "S_bar": {str(d): list(s) for d, s in S_bar.items()},
        "S": {str(d): list(s) for d, s in S.items()},
        "seed": 100 * seed,
        "facts": facts,
    }


def test_causes_are_counted_as_right_wrong_or_not_named() -> None:
    records = {
        "mlp / baseline": _record(1.0, 1),
        f"mlp / {CORRECT}": _record(1.0, 2),
        "mlp / readout too large": _record(0.1, 3),
        "mlp / one layer too many": _record(0.1, 4),
        "mlp / all weights 1.5 times too large": _record(1.0, 5, grown=1.0),
    }
    law = to_law(records["mlp / baseline"])
    assert law.power_law.slope == pytest.approx(-1.5, abs=0.1)
    assert list(law.table["seed"][:2]) == [100, 101]
    rows = evaluate(records)
    table = confusion(rows[rows["reference"] == "baseline"]).set_index("fault")
    counts = table[["nets", "failed", "named right", "named wrong", "not named"]]
    assert counts.loc[CORRECT].tolist() == [1, 0, 0, 0, 0]
    assert counts.loc["readout too large"].tolist() == [1, 1, 1, 0, 0]
    assert counts.loc["one layer too many"].tolist() == [1, 1, 0, 1, 0]
    assert table.loc["one layer too many", "wrong causes"] == "constant factor (mlp)"
    assert counts.loc["all weights 1.5 times too large"].tolist() == [1, 1, 1, 0, 0]
    assert counts.loc["all faults"].tolist() == [3, 3, 2, 1, 0]
    named = thresholds(rows[rows["reference"] == "baseline"]).set_index("named from")
    assert named.loc[0.8, ["failed", "named", "right", "wrong"]].tolist() == [3, 3, 2, 1]


def test_every_fault_has_right_causes_that_exist() -> None:
    planted = [(name, fault) for name, family in FAMILIES.items() for fault in FAULTS if FAULTS[fault].fits(family)]
    assert len(planted) >= 60
    for name, fault in planted:
        assert set(FAULTS[fault].right_causes(FAMILIES[name])) <= set(PATTERNS)
