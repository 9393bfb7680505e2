"""Repeated checks of correct and faulty models, at the size of some minutes."""

from pathlib import Path

import pytest
from gate_repeats import FAULTS, ConvNext, Gate, Vit


@pytest.mark.statistical
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", [Vit, ConvNext])
def test_a_correct_model_passes_again_and_a_faulty_one_fails(kind: type, tmp_path: Path) -> None:
    """Six comparisons of the correct model: each holds with probability 0.98 or more, at least four with 0.9998."""
    gate = Gate(kind, tmp_path, margin=0.3)
    assert gate.recorded.outcome == "holds"
    outcomes = [gate.compare(number).outcome for number in range(1, 7)]
    assert outcomes.count("holds") >= 4
    assert "does not hold" not in outcomes
    for fault in FAULTS[kind]:
        assert gate.compare(1, fault).outcome in ("moved", "does not hold"), fault
