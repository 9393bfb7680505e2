"""The possible verdicts on a claim."""

HOLDS = "holds"
HOLDS_WITH_CHANGE = "holds with change"
DOES_NOT_HOLD = "does not hold"
INCONCLUSIVE = "inconclusive"
VERDICTS = (HOLDS, HOLDS_WITH_CHANGE, DOES_NOT_HOLD, INCONCLUSIVE)
