"""The expected loss of accuracy, and where it is not known."""

import math

import pytest

from ammup.tuning.expected_loss import REPLAYED, expected_loss
from ammup.tuning.settings import RunSetting


@pytest.mark.parametrize(("probes", "replayed"), [(0, 0), (1, 1), (2, 1), (3, 3), (9, 3), (10, 10), (50, 10)])
def test_it_is_that_of_the_next_smaller_number_of_probes(probes: int, replayed: int) -> None:
    loss = expected_loss(probes, "L^-1", RunSetting())
    assert (loss.mean, loss.worst) == REPLAYED[replayed]
    assert loss.cases == 20


@pytest.mark.parametrize(
    ("probes", "rule", "setting", "reason"),
    [
        (0, "measured", RunSetting(), "the rule measured without a probe that trained was not replayed"),
        (3, "L^-1/2", RunSetting(optimizer="adamw"), "no stored sweep was trained with adamw"),
    ],
)
def test_it_is_not_known_where_nothing_was_replayed(probes: int, rule: str, setting: RunSetting, reason: str) -> None:
    loss = expected_loss(probes, rule, setting)
    assert math.isnan(loss.mean)
    assert loss.source == reason


def test_with_probes_the_rule_does_not_matter() -> None:
    assert not math.isnan(expected_loss(3, "measured", RunSetting()).mean)
