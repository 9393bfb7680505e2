"""Each rule against its closed form, the law it is made of, or a walk over every path."""

from functools import partial

import numpy as np
import pytest

from ammup import finite_depth_law, pathsum_lr, transfer_lr
from ammup.theory.pathsum import enumerate_path_sum, path_sum, residual_graph
from ammup.transfer.rules import ASSUMPTIONS, EXPONENTS, NEEDS, RULES, DepthChange

# Power laws


@pytest.mark.parametrize(("rule", "expected"), [("constant", 0.8), ("L^-1/2", 0.4), ("L^-1", 0.2), ("am-mup", 0.1)])
def test_power_rules_at_four_times_the_depth_by_hand(rule: str, expected: float) -> None:
    assert transfer_lr(0.8, 3, 12, rule=rule) == expected
    assert transfer_lr(expected, 12, 3, rule=rule) == pytest.approx(0.8, rel=1e-15)


def test_the_rule_of_the_paper_is_its_equation() -> None:
    """η*(L) = η*(L0) (L/L0)^(-3/2), paper, section 5."""
    for depth in (1, 7, 22, 500):
        assert transfer_lr(0.3, 5, depth, rule="am-mup") == pytest.approx(0.3 * (depth / 5) ** -1.5, rel=1e-15)


# The finite-depth law


@pytest.mark.parametrize(
    ("net", "law"),
    [
        ({"family": "mlp"}, {}),
        ({"family": "cnn"}, {}),
        ({"family": "resnet", "branch": 1}, {"branch": 1}),
        ({"family": "resnet", "branch": ["dense", "dense"]}, {"branch": 2}),
    ],
)
def test_finite_depth_is_the_ratio_of_the_law(net: dict, law: dict) -> None:
    before, after = finite_depth_law([3, 7], family=net["family"], **law)
    assert transfer_lr(0.2, 3, 7, rule="finite-depth", **net) == pytest.approx(0.2 * after / before, rel=1e-12)
    assert transfer_lr(0.2, 7, 3, rule="finite-depth", **net) == pytest.approx(0.2 * before / after, rel=1e-12)


def test_finite_depth_of_a_plain_net_is_its_closed_form() -> None:
    """S̄ = (1/L) Σ_l Σ_(h1,h2≤l) a_h1 a_h2 (1 + 2(l - max)), a_1 = 1, else 1/2 (theory, section 2), term by term."""

    def mean_square(depth: int) -> float:
        a = [0.0, 1.0] + [0.5] * depth
        pairs = ((unit, i, j) for unit in range(1, depth + 1) for i in range(1, unit + 1) for j in range(1, unit + 1))
        return sum(a[i] * a[j] * (1 + 2 * (unit - max(i, j))) for unit, i, j in pairs) / depth

    expected = (mean_square(9) / mean_square(4)) ** -0.5
    assert transfer_lr(1.0, 4, 9, rule="finite-depth", family="mlp") == pytest.approx(expected, rel=1e-12)


def test_finite_depth_approaches_the_rules_that_are_its_limits() -> None:
    for before in (16, 64):  # what is left is of order 1/L
        plain = transfer_lr(1.0, before, 2 * before, rule="finite-depth", family="mlp")
        assert plain == pytest.approx(transfer_lr(1.0, before, 2 * before, rule="am-mup"), rel=2 / before)
        residual = transfer_lr(1.0, before, 2 * before, rule="finite-depth", family="resnet", branch=1)
        assert residual == pytest.approx(transfer_lr(1.0, before, 2 * before, rule="L^-1"), rel=2 / before)


def test_a_law_of_ones_own_comes_before_the_family() -> None:
    law = partial(finite_depth_law, family="resnet", branch=2, scaled="last")
    before, after = law([3, 6])
    carried = transfer_lr(0.1, 3, 6, rule="finite-depth", law=law, family="mlp")
    assert carried == pytest.approx(0.1 * after / before)
    assert carried != pytest.approx(transfer_lr(0.1, 3, 6, rule="finite-depth", family="mlp"), rel=0.1)


# PathSum


@pytest.mark.parametrize(
    ("net", "branch"),
    [
        ({"family": "mlp"}, 1),
        ({"family": "cnn"}, 1),
        ({"family": "resnet", "branch": 3}, 3),
        ({"family": "resnet", "branch": ["conv", "dense"]}, 2),
    ],
)
@pytest.mark.parametrize(("before", "after"), [(3, 8), (8, 3), (60, 200)])
def test_pathsum_is_the_rule_anchored_at_the_first_depth(net: dict, branch: int, before: int, after: int) -> None:
    (expected,) = pathsum_lr([after], family=net["family"], branch=branch, base_depth=before, base_lr=0.4)
    assert transfer_lr(0.4, before, after, rule="pathsum", **net) == pytest.approx(expected, rel=1e-12)


def test_given_path_sums_come_from_walking_every_path() -> None:
    sums = {k: enumerate_path_sum(*residual_graph(k, branch=2, outside=1)) for k in (2, 5)}
    walked = transfer_lr(0.4, 2, 5, rule="pathsum", path_sums=sums)
    assert walked == pytest.approx(0.4 * (sums[5] / sums[2]) ** -0.5, rel=1e-14)
    assert walked == pytest.approx(transfer_lr(0.4, 2, 5, rule="pathsum", family="resnet", branch=2), rel=1e-12)
    assert transfer_lr(0.4, 2, 5, rule="pathsum", path_sums=sums, family="mlp") == walked


def test_path_sums_may_be_integers_beyond_the_range_of_floats() -> None:
    sums = {k: path_sum(k, branch=2) for k in (2000, 2010)}
    expected = transfer_lr(0.1, 2000, 2010, rule="pathsum", family="resnet", branch=2)
    assert transfer_lr(0.1, 2000, 2010, rule="pathsum", path_sums=sums) == pytest.approx(expected, rel=1e-11)


# What a change of depth knows


def test_every_rule_is_a_power_or_says_what_it_needs_and_what_it_assumes() -> None:
    assert (*EXPONENTS, *NEEDS) == RULES
    assert set(ASSUMPTIONS) == set(RULES)


@pytest.mark.parametrize(
    ("known", "more"),
    [
        ({}, ()),
        ({"family": "cnn"}, ("finite-depth", "pathsum")),
        ({"law": lambda depths: depths, "measured": {2: 0.1, 3: 0.1}}, ("finite-depth", "measured")),
        ({"path_sums": {2: 8.0, 3: 27.0}}, ("pathsum",)),
    ],
)
def test_the_rules_are_those_that_have_what_they_need(known: dict, more: tuple[str, ...]) -> None:
    assert DepthChange(from_depth=2, to_depth=3, **known).rules == (*EXPONENTS, *more)


def test_only_the_measured_rule_has_an_interval() -> None:
    change = DepthChange(from_depth=2, to_depth=3, family="mlp", measured={2: 0.1, 3: 0.1})
    for rule in change.rules:
        carried = change.carry(0.1, rule)
        assert (carried.rule, carried.assumption) == (rule, ASSUMPTIONS[rule])
        assert np.isnan(carried.interval).all()
    same = DepthChange(from_depth=2, to_depth=2, measured={2: 0.1})
    assert same.carry(0.1, "measured").interval == (0.1, 0.1)
    assert np.isnan(same.carry(0.1, "L^-1").interval).all()
