"""The result of a check of the depth exponent: the measured law, the allowed slopes and the outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ammup.format import brief_repr, json_number
from ammup.gate.check_text import check_text
from ammup.gate.curve import Curve
from ammup.gate.decision import MOVED, Decision
from ammup.gate.fault_features import Expectation, Features
from ammup.gate.likely_cause import cause_probabilities, cause_text
from ammup.gate.net_facts import NetFacts
from ammup.gate.slope_drift import slope_drift
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region
from ammup.stats.verdicts import DOES_NOT_HOLD

if TYPE_CHECKING:  # imported when a table is made
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DepthCheck:
    """A measured depth law, the allowed slopes, and the outcome.

    Attributes:
        law: the measured law.
        region: the allowed slopes.
        allowed_drift: the largest allowed difference between the slope of the deeper half of the depths and that of
            the shallower half, or None for no limit.
        needed: the weight draws at each depth with which the slope of a correct model passes, see
            :func:`ammup.gate.power.seeds_needed`.
        baseline_needed: the weight draws with which the baseline must be recorded again, because no number of new draws
            makes up for its standard error; 0 otherwise.
        expected: the expected slope that was given or recorded; None if the slope of this check is to be recorded.
        moved: the differences from the baseline that chance does not explain: the numbers of depth units in one
            sentence, if they differ, and one sentence for each depth at which η* differs beyond both standard errors.
        slope_change: the slope minus that of the baseline, and the confidence interval of this difference from the
            errors of both measurements; None if the centre of the region is not the slope of a baseline.
        note: a difference from the baseline within both standard errors, in words, or "".
        compared: whether the check was compared with a baseline.
        facts: facts about the nets that narrow down the cause of a failure.
        cause: the likely cause of a failure, in words and with its probability, or "" if none is named.
        causes: the probability of each pattern of a fault; empty if the check did not fail.
        recorded: whether the check was recorded as a new baseline.
    """

    law: DepthLaw
    region: Region
    allowed_drift: float | None
    needed: int
    baseline_needed: int = 0
    expected: float | None = None
    moved: tuple[str, ...] = ()
    slope_change: tuple[float, tuple[float, float]] | None = None
    note: str = ""
    compared: bool = False
    facts: NetFacts = field(default_factory=NetFacts)
    cause: str = ""
    causes: Mapping[str, float] = field(default_factory=dict)
    recorded: bool = False

    def __repr__(self) -> str:
        return brief_repr(
            self, repr(self.outcome), allowed=(self.region.low, self.region.high), cause=self.cause, law=self.law
        )

    @cached_property
    def curve(self) -> Curve:
        """The measured curve, as the decision reads it."""
        return Curve.from_law(self.law)

    @property
    def decision(self) -> Decision:
        """The rule that was applied, with its numbers."""
        return Decision(
            region=self.region,
            interval=self.law.power_law.slope_ci,
            slope_change=self.slope_change,
            allowed_drift=self.allowed_drift,
            drift_interval=self.drift[1],
            moved=self.moved,
        )

    @property
    def outcome(self) -> str:
        """One of "holds", "does not hold", "moved" and "inconclusive", see :class:`ammup.gate.decision.Decision`."""
        return self.decision.outcome

    @property
    def slope_outcome(self) -> str:
        """Whether the slope is allowed: "holds", "does not hold" or "inconclusive"."""
        return self.decision.slope_outcome

    @property
    def drift_outcome(self) -> str:
        """Whether the change of the slope with depth is allowed; "holds" if it has no limit."""
        return self.decision.drift_outcome

    @cached_property
    def drift(self) -> tuple[float, tuple[float, float]]:
        """The slope of the deeper half of the depths minus that of the shallower half, and its confidence interval."""
        return slope_drift(self.curve)

    @property
    def draws(self) -> int:
        """Number of weight draws at each depth."""
        return self.law.draws

    def report(self) -> str:
        """Several lines: outcome, measured curve, likely cause of a failure, and advice on an inconclusive outcome."""
        return check_text(self)

    def to_frame(self) -> "pd.DataFrame":
        """One row, so that the rows of several checks can be concatenated; ``law.to_frame()`` has the depths.

        Columns: outcome; slope, slope_low, slope_high (its confidence interval); allowed_low, allowed_high; drift,
        drift_low, drift_high; seeds, seeds_needed; note, cause.
        """
        import pandas as pd

        line, (drift, (drift_low, drift_high)) = self.law.power_law, self.drift
        row = {
            "outcome": self.outcome,
            **{"slope": line.slope, "slope_low": line.slope_ci[0], "slope_high": line.slope_ci[1]},
            **{"allowed_low": self.region.low, "allowed_high": self.region.high},
            **{"drift": drift, "drift_low": drift_low, "drift_high": drift_high},
            **{"seeds": self.draws, "seeds_needed": self.needed},
            **{"note": self.note, "cause": self.cause},
        }
        return pd.DataFrame([row])

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON types: dicts, lists, text, numbers and None."""
        drift, interval = self.drift
        return {
            "outcome": self.outcome,
            "region": [self.region.low, self.region.high],
            "drift": json_number(drift),
            "drift_interval": [json_number(v) for v in interval],
            "allowed_drift": self.allowed_drift,
            "seeds": self.draws,
            "seeds_needed": self.needed,
            "moved": list(self.moved),
            "slope_change": self.slope_change and json_number(self.slope_change[0]),
            "slope_change_interval": self.slope_change and [json_number(v) for v in self.slope_change[1]],
            "note": self.note,
            "cause": self.cause,
            "causes": dict(self.causes),
            **self.law.to_dict(),
        }


def with_likely_cause(check: DepthCheck, expectation: Expectation | None = None) -> DepthCheck:
    """The check with the likely cause of its failure; unchanged unless the outcome is "does not hold" or "moved".

    Args:
        check: the check.
        expectation: what a correct model shows; None expects the middle of the region as the slope.
    """
    if check.outcome not in (DOES_NOT_HOLD, MOVED):
        return check
    expectation = expectation or Expectation.from_slope(check.region, check.law)
    features = Features.from_law(check.law, expectation, check.facts)
    probabilities = cause_probabilities(features)
    return replace(check, cause=cause_text(features, probabilities), causes=probabilities)
