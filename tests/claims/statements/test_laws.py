"""Claims on the constants of the law: a net that obeys the law has the estimate 0, and the regime describes the net."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from ammup.claims.claim import Claim, claim_named
from ammup.claims.draws import Setting
from ammup.claims.statements.laws import CLAIMS


def _setting(claim: Claim) -> Setting:
    return claim.rows.__self__


@pytest.mark.parametrize("name", ["plain-dense", "plain-batch", "field-1d", "residual-m1"])
def test_the_estimate_is_the_log_ratio_to_the_law(name: str, rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, f"law.{name}")
    law = _setting(claim).law()
    for distance in (0.0, 0.05, -0.2):
        assert claim.statistic(rows_of(*(law * np.exp(distance)))) == pytest.approx(distance, abs=1e-9)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_regime_describes_the_nets(claim: Claim) -> None:
    setting, regime = _setting(claim), claim.regime
    arguments = dict(setting.arguments)
    assert claim.stated.centre == 0
    assert regime.endswith("L = " + ", ".join(map(str, setting.depths)))
    (width,) = re.findall(r"[nC] = (\d+)", regime)
    assert int(width) == arguments["width"]
    assert ("residual" in regime) == (setting.family == "resnet")
    assert ("zero padding" in regime) == (arguments.get("padding") == "zero")
    assert ("GELU" in regime) == (arguments.get("activation") == "gelu")
    assert ("cross-entropy" in regime) == (setting.loss == "cross_entropy")
    assert ("label part" in regime) == (setting.part == "label")
    assert ("last scaled" in regime) == (arguments.get("scaled") == "last")
