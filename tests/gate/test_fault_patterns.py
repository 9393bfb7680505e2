"""The likely cause of a failed check, on curves with the pattern of a known fault."""

import re

import pytest
from depth_curves import PAPER, law_of

from ammup.gate.fault_patterns import likely_cause
from ammup.stats.equivalence import Region


@pytest.mark.parametrize(
    ("lr_star", "units", "cause"),
    [
        (
            {d: d**-1.5 * 1.3 ** (-d / 2) for d in (4, 8, 16, 32)},
            None,
            "grows exponentially, by a factor of 1.3 per unit",
        ),
        (
            {d: d**-1.5 * 0.5 ** (-d / 2) for d in (4, 8, 16)},
            None,
            "shrinks exponentially, by a factor of 0.5 per unit",
        ),
        (dict.fromkeys((4, 8, 16, 32), 1.0), None, "hardly depends on depth"),
        ({d: (d + 1.0) ** -1.5 for d in (2, 4, 8)}, None, r"against L \+ 1 the slope is -1.500"),
        (
            {d: (d - 1.0) ** -1.5 for d in (2, 4, 8)},
            {2: 1, 4: 3, 8: 7},
            "against the counted depth units the slope is -1.5",
        ),
        ({d: d**-3.0 for d in (4, 8, 16, 32)}, None, "^$"),
        (PAPER, None, "^$"),
    ],
)
def test_likely_causes(lr_star: dict, units: dict | None, cause: str) -> None:
    assert re.search(cause, likely_cause(law_of(lr_star, units=units), Region.around(-1.5, 0.1)))
