"""The expected loss of accuracy, and where it is not known."""

import math

import pytest

from ammup.tuning.expected_loss import ADAMW, SGD, ExpectedLoss, expected_loss
from ammup.tuning.settings import RunSetting


@pytest.mark.parametrize(
    ("rule", "setting", "replayed"),
    [
        ("L^-1", RunSetting(), SGD),
        ("L^-1", RunSetting(optimizer="sgd", momentum=0.9), SGD),
        ("L^-1", RunSetting(optimizer="adamw"), ADAMW),
    ],
)
def test_it_is_that_of_the_rule_and_the_optimizer(rule: str, setting: RunSetting, replayed: ExpectedLoss) -> None:
    assert expected_loss(rule, setting) == replayed


@pytest.mark.parametrize(
    ("rule", "setting", "reason"),
    [
        ("measured", RunSetting(), "the rule measured was not replayed with sgd"),
        ("L^-1", RunSetting(optimizer="adam"), "the rule L^-1 was not replayed with adam"),
    ],
)
def test_it_is_not_known_where_nothing_was_replayed(rule: str, setting: RunSetting, reason: str) -> None:
    loss = expected_loss(rule, setting)
    assert math.isnan(loss.mean)
    assert loss.source == reason
