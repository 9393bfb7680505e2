"""Plant a fault in the library and require that a named claim or its baseline detects it.

"claim": the verdict changes, or the estimate leaves the guarded region. This does not depend on the seeds.
"baseline": only the comparison with the stored estimate from the same seeds detects the fault.

`benchmarks/claim_power.py` has many more faults, and the probability with which other seeds detect each.
"""

import pytest
from power_parts.edits import planted
from power_parts.registry import FAULTS

from ammup.claims.claim import claim_named
from ammup.claims.ledger import measure
from ammup.claims.statements import CLAIMS

pytestmark = pytest.mark.statistical

DETECTED_BY = {
    "residual scaling missing": "claim",
    "residual scaling applied twice": "claim",
    "1/sqrt(K) in place of 1/K": "claim",
    "fan-out for fan-in": "claim",
    "gain 1 for 2": "claim",
    "kernel cardinality left out of the fan-in": "claim",
    "circular padding silently zero": "claim",
    "depth off by one": "claim",
    "activation swapped": "claim",
    "skip scaled by 1/sqrt(2)": "claim",
    "a batch norm slipped in": "claim",
    "gradient of one layer detached": "claim",
    "loss summed instead of averaged": "claim",
    "S averaged over units of the wrong layer": "claim",
    "nonzero biases": "claim",
    "half precision used silently": "baseline",
    "one label for all positions": "claim",
    "He readout for mean-field": "claim",
    "a layer left out of the step": "claim",
    "S not squared": "claim",
    "gates taken for independent in the law": "claim",
}


@pytest.mark.parametrize("name", DETECTED_BY)
def test_a_planted_fault_is_detected(name: str) -> None:
    fault = FAULTS[name]
    with planted(fault.edits):
        (comparison,) = measure([claim_named(CLAIMS, fault.claim)])
    assert comparison.problems, "the comparison with the baseline passed"
    if DETECTED_BY[name] == "claim":
        assert comparison.verdict_changed or not comparison.new.agrees_with_law, comparison.new.estimate


def test_no_fault_is_detected_without_a_planted_fault() -> None:
    """The same code without a fault, to show that the alarms above come from the faults and not from planting them."""
    for claim in ("law.field-2d-zero", "lemma-1.invariance-dense", "appendix-f.gradient-norm"):
        with planted([]):
            (comparison,) = measure([claim_named(CLAIMS, claim)])
        assert not comparison.problems, comparison.problems
