"""Transfer rules against closed forms, the laws they are made of, walks over every path, and repeated measurements."""

import inspect
import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from scipy import stats

from ammup import InputError, depth_exponent, finite_depth_law, mlp, transfer_lr, transfer_table
from ammup.transfer.rules import ASSUMPTIONS, EXPONENTS, RULES, DepthChange

# CURVE falls by more than a factor of 3; tests/transfer/test_recommendation.py tests the warning.
pytestmark = pytest.mark.filterwarnings("ignore::ammup.UnreliableTransfer")
PROPERTY = settings(derandomize=True, deadline=None, max_examples=50)
CURVE = {4: 0.9, 8: 0.35, 30: 0.02}
LAW = dict(zip(range(4, 31), finite_depth_law(range(4, 31), family="mlp").tolist(), strict=True))
NET = {
    "family": "resnet",
    "branch": 2,
    "measured": CURVE,
    "late": CURVE,
    "sharpness": CURVE,
    "edges": CURVE,
    "law": lambda depths: [LAW[depth] for depth in depths],
}
UNKNOWN = [math.nan, math.nan]


class _Measured:
    """What a DepthLaw is to the rules: one row a depth, in any order."""

    def __init__(self, **columns: object) -> None:
        self.curve = pd.DataFrame(columns)


@pytest.fixture
def _as_installed() -> Iterator[None]:
    """Without the type checker of the tests, as users call: what is not declared gets as far as our own checks."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def _row(table: pd.DataFrame, rule: str) -> dict:
    (row,) = table[table["rule"] == rule].to_dict("records")
    return row


# Measured curves


@pytest.mark.parametrize("order", [[4, 8, 30], [30, 4, 8]])
def test_measured_is_the_ratio_of_the_measured(order: list[int]) -> None:
    curve = {depth: CURVE[depth] for depth in order}
    frame = _Measured(depth=order, lr_star=list(curve.values()), se_log10=[0.1, 0.2, 0.3])
    for before in CURVE:
        for after in CURVE:
            expected = pytest.approx(0.1 * CURVE[after] / CURVE[before], rel=1e-14)
            assert transfer_lr(0.1, before, after, measured=curve) == expected
            assert transfer_lr(0.1, before, after, rule="measured", measured=frame) == expected


def test_a_depth_between_is_on_the_line_of_the_logarithms_of_its_neighbours() -> None:
    slope = math.log(0.02 / 0.35) / math.log(30 / 8)
    assert transfer_lr(0.35, 8, 12, measured=CURVE) == pytest.approx(0.35 * (12 / 8) ** slope, rel=1e-14)
    assert transfer_lr(0.9, 4, 12, measured=CURVE) == pytest.approx(0.35 * (12 / 8) ** slope, rel=1e-14)


@pytest.mark.parametrize(("rule", "argument"), [("sharpness", "sharpness"), ("edge", "edges")])
def test_sharpness_and_edges_are_carried_as_ratios(rule: str, argument: str) -> None:
    frame = _Measured(depth=[4, 8, 30], lr_star=list(CURVE.values()), se_log10=[0.1, 0.2, 0.3])
    assert transfer_lr(0.1, 4, 30, rule=rule, **{argument: frame}) == pytest.approx(0.1 * 0.02 / 0.9, rel=1e-14)
    row = _row(transfer_table(0.1, 4, 30, **{argument: frame}), rule)
    half = stats.norm.ppf(0.975) * math.hypot(0.1, 0.3)
    assert [row["low"], row["high"]] == pytest.approx([0.1 * 0.02 / 0.9 * 10**-half, 0.1 * 0.02 / 0.9 * 10**half])
    assert math.isnan(row["price"])


def test_the_fitted_sharpness_is_the_power_law_of_polyfit() -> None:
    slope = np.polyfit(np.log(list(CURVE)), np.log(list(CURVE.values())), 1)[0]
    got = transfer_lr(0.1, 4, 64, rule="sharpness-fit", sharpness=CURVE)  # beyond the measured depths
    assert got == pytest.approx(0.1 * 16**slope, rel=1e-12)
    table = transfer_table(0.1, 4, 8, sharpness={4: 1.0, 8: 0.5})
    assert "sharpness-fit" not in set(table["rule"])  # two depths are no fit


def test_the_interval_of_the_fitted_sharpness_is_that_of_the_slope_of_its_draws() -> None:
    law = depth_exponent(
        partial(mlp, width=8, in_features=4), [2, 3, 5], inputs=torch.ones(2, 4), seeds=3, measure="sharpness"
    )
    row = _row(transfer_table(0.1, 2, 5, sharpness=law), "sharpness-fit")
    expected = [0.1 * (5 / 2) ** slope for slope in (law.power_law.slope, *law.power_law.slope_ci)]
    assert [row["lr"], row["low"], row["high"]] == pytest.approx(expected)
    passes = law.table["passes"].sum()
    assert row["price"] == pytest.approx(passes / 3)
    assert passes > 9 * 4
    without = _Measured(depth=[2, 3, 5], lr_star=[1.0, 0.5, 0.3], se_log10=[math.nan] * 3)
    row = _row(transfer_table(0.1, 2, 5, sharpness=without), "sharpness-fit")
    x, y = np.log10([2, 3, 5]), np.log10([1.0, 0.5, 0.3])
    fit = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 1) * fit.stderr
    assert row["high"] == pytest.approx(0.1 * 2.5 ** (fit.slope + half))


def test_the_price_of_formulas_is_zero_and_of_measured_updates_three_steps_a_draw() -> None:
    law = depth_exponent(partial(mlp, width=8, in_features=4), [2, 3], inputs=torch.ones(2, 4), seeds=4)
    table = transfer_table(0.1, 2, 3, measured=law).set_index("rule")
    assert table.loc["L^-1", "price"] == 0
    assert table.loc["measured", "price"] == 3 * 2 * 4


def test_a_depth_law_is_measured_enough() -> None:
    law = depth_exponent(partial(mlp, width=8, in_features=4), [2, 3, 5], inputs=torch.ones(2, 4), seeds=3)
    curve = law.curve.set_index("depth")
    row = _row(transfer_table(0.1, 2, 5, measured=law), "measured")
    assert row["lr"] == pytest.approx(0.1 * curve["lr_star"][5] / curve["lr_star"][2], rel=1e-12)
    variances = curve["se_log10"] ** 2
    df = (variances[2] + variances[5]) ** 2 / (variances[2] ** 2 / 2 + variances[5] ** 2 / 2)
    half = stats.t.ppf(0.975, df) * math.hypot(*curve["se_log10"][[2, 5]])
    assert row["high"] == pytest.approx(row["lr"] * 10**half, rel=1e-10)


@given(exponent=st.floats(-3, 1), before=st.integers(4, 30), after=st.integers(4, 30))
@PROPERTY
def test_a_measured_power_law_is_followed_between_its_depths(exponent: float, before: int, after: int) -> None:
    curve = {depth: 2.5 * depth**exponent for depth in CURVE}
    carried = transfer_lr(0.1, before, after, measured=curve)
    assert carried == pytest.approx(0.1 * (after / before) ** exponent, rel=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_interval_at_measured_depths_is_the_hypot_of_their_errors(level: float) -> None:
    measured = _Measured(depth=[4, 8, 30], lr_star=[0.9, 0.35, 0.02], se_log10=[0.03, 0.04, math.nan])
    row = _row(transfer_table(0.1, 4, 8, measured=measured, level=level), "measured")
    half = stats.norm.ppf((1 + level) / 2) * 0.05
    centre = math.log10(0.1 * 0.35 / 0.9)
    assert np.log10([row["low"], row["high"]]) == pytest.approx([centre - half, centre + half], rel=1e-12)


# All rules


@pytest.mark.parametrize("rule", RULES)
@given(lr=st.floats(1e-6, 1e3), before=st.integers(4, 30), after=st.integers(4, 30))
@PROPERTY
def test_there_and_back_is_the_identity(rule: str, lr: float, before: int, after: int) -> None:
    there = transfer_lr(lr, before, after, rule=rule, **NET)
    assert transfer_lr(there, after, before, rule=rule, **NET) == pytest.approx(lr, rel=1e-11)


@pytest.mark.parametrize("rule", RULES)
@given(depths=st.lists(st.integers(4, 30), min_size=3, max_size=3))
@PROPERTY
def test_transfers_compose(rule: str, depths: list[int]) -> None:
    first, middle, last = depths
    halfway = transfer_lr(0.1, first, middle, rule=rule, **NET)
    direct = transfer_lr(0.1, first, last, rule=rule, **NET)
    assert transfer_lr(halfway, middle, last, rule=rule, **NET) == pytest.approx(direct, rel=1e-11)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("depth", [4, 9, 100])
def test_at_the_same_depth_every_rule_returns_the_learning_rate(rule: str, depth: int) -> None:
    assert transfer_lr(0.1, depth, depth, rule=rule, **NET) == 0.1
    given = dict.fromkeys(["measured", "late", "sharpness", "edges"], CURVE)
    assert transfer_lr(0.1, depth, depth, rule=rule, law=lambda _: [], path_sums={7: 1.0}, **given) == 0.1


@pytest.mark.parametrize("rule", RULES)
def test_the_learning_rate_is_a_plain_float(rule: str) -> None:
    assert type(transfer_lr(1, 4, 8, rule=rule, **NET)) is float


# The table


def test_a_table_has_every_rule_that_can_be_applied() -> None:
    table = transfer_table(0.1, 4, 8, **NET)
    assert list(table) == ["depth", "rule", "lr", "low", "high", "price", "assumption", "recommended", "reason"]
    assert tuple(table["rule"]) == RULES
    assert list(table["lr"]) == [transfer_lr(0.1, 4, 8, rule=rule, **NET) for rule in RULES]
    assert dict(zip(table["rule"], table["assumption"], strict=True)) == ASSUMPTIONS
    # Without standard errors, only the fit through three depths has an interval, from the scatter about its line.
    formulas = ~table["rule"].isin(["measured", "measured-late", "sharpness", "sharpness-fit", "edge"])
    assert table.loc[formulas, ["low", "high"]].isna().all(axis=None)
    fit = table[table["rule"] == "sharpness-fit"].iloc[0]
    assert fit["low"] < fit["lr"] < fit["high"]


@pytest.mark.parametrize(
    ("known", "more"),
    [
        ({}, []),
        ({"family": "mlp"}, ["finite-depth", "pathsum"]),
        ({"law": lambda depths: [1.0 / d for d in depths]}, ["finite-depth"]),
        ({"path_sums": {4: 64.0, 8: 512.0}}, ["pathsum"]),
        ({"measured": CURVE}, ["measured"]),
        ({"late": CURVE}, ["measured-late"]),
        ({"sharpness": CURVE}, ["sharpness", "sharpness-fit"]),
        ({"sharpness": {4: 1.0, 8: 0.5}}, ["sharpness"]),
        ({"edges": CURVE}, ["edge"]),
    ],
)
def test_rules_that_miss_something_are_left_out(known: dict, more: list[str]) -> None:
    assert list(transfer_table(0.1, 4, 8, **known)["rule"]) == [*EXPONENTS, *more]
    for rule in RULES:
        if rule not in EXPONENTS and rule not in more:
            with pytest.raises(InputError, match=f"rule='{rule}' needs .*; without it, the rules are constant, "):
                transfer_lr(0.1, 4, 8, rule=rule, **known)


def test_a_table_at_one_depth_is_exact() -> None:
    row = _row(transfer_table(0.1, 4, 4, measured=CURVE), "measured")
    assert (row["lr"], row["low"], row["high"]) == (0.1, 0.1, 0.1)


def test_a_learning_rate_and_a_table_take_the_same_knowledge() -> None:
    knowledge = {name for name in inspect.signature(DepthChange).parameters if name not in ("from_depth", "to_depth")}
    table, lr = (set(inspect.signature(f).parameters) for f in (transfer_table, transfer_lr))
    assert table - lr == {"level", "setting"}
    assert lr - table == {"rule"}
    assert lr == {"lr", "from_depth", "to_depth", "rule", *knowledge}


# What is refused


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize("apply", [partial(transfer_lr, rule="constant"), transfer_table])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "lr=0.0 must be positive and finite; give the learning rate tuned at from_depth"),
        ({"lr": -0.1}, "lr=-0.1 must"),
        ({"lr": math.inf}, "lr=inf must"),
        ({"lr": math.nan}, "lr=nan must"),
        ({"from_depth": 0}, "from_depth=0: expected an integer of at least 1"),
        ({"from_depth": 2.5}, "from_depth=2.5: expected an integer"),
        ({"to_depth": -3}, "to_depth=-3: expected an integer"),
        ({"to_depth": "8"}, "to_depth='8': expected an integer"),
        ({"family": "vgg"}, "unknown family='vgg'; expected one of: mlp, cnn, resnet"),
        ({"family": "resnet"}, "family='resnet' needs branch=, the number of layers in each branch"),
        ({"family": "mlp", "branch": 2}, "branch=2 and family='mlp': only 'resnet' has branches; leave it out"),
        ({"branch": 2}, "branch=2 and family=None: only 'resnet'"),
        ({"family": "resnet", "branch": 0}, "branch=0: expected an integer of at least 1"),
        ({"family": "resnet", "branch": ()}, "branch=0: expected"),
        ({"family": "resnet", "branch": ("conv", "pool")}, "unknown branch='pool'; expected one of: conv, dense"),
        ({"family": "resnet", "branch": "conv"}, "unknown branch='c'"),
    ],
)
def test_unusable_numbers_and_nets_are_refused(apply, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply(**{"lr": 0.1, "from_depth": 4, "to_depth": 8, **arguments})


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"unknown rule='L'; expected one of: constant, L.*, pathsum, measured, measured-late"
    ):
        transfer_lr(0.1, 4, 8, rule="L")


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(InputError, match=f"level={level}: expected a confidence level"):
        transfer_table(0.1, 4, 8, level=level)


def test_without_a_measurement_the_default_rule_says_what_it_needs() -> None:
    with pytest.raises(InputError, match=r"rule='measured' needs measured=, a DepthLaw .*ammup.depth_exponent .*or a"):
        transfer_lr(0.1, 4, 8)


@pytest.mark.parametrize(("before", "after", "outside"), [(4, 31, 31), (3, 8, 3), (100, 8, 100), (9, 1, 1)])
def test_depths_outside_the_measured_ones_are_refused(before: int, after: int, outside: int) -> None:
    message = rf"depth {outside} lies outside the measured depths \[4, 8, 30\]; measure it too, or give .* 4 to 30"
    with pytest.raises(InputError, match=message):
        transfer_lr(0.1, before, after, measured=CURVE)
    with pytest.raises(InputError, match=message):
        transfer_table(0.1, before, after, measured=CURVE)


@pytest.mark.usefixtures("_as_installed")
@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({}, "give at least 1"),
        ({"4": 0.1, "8": 0.1}, "expected integers"),
        ({4: 0.1, 8: 0.0}, r"measured contains η\*=\[0.1, 0.0\]; every value must be positive and finite"),
        ({4: 0.1, 8: math.nan}, "every value must be positive and finite"),
        ([0.1, 0.2], "measured is a list; give a DepthLaw, an object .* depth, lr_star, se_log10, or a mapping"),
        (_Measured(depth=[4, 8], lr_star=[0.1, 0.2]), "measured is a _Measured; give a DepthLaw"),
        (_Measured(depth=[4, 4], lr_star=[1.0, 1.0], se_log10=[0.1, 0.1]), "contains a repeated depth"),
    ],
)
def test_unusable_measurements_are_refused(measured, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transfer_lr(0.1, 4, 8, measured=measured)


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, math.nan], [[1.0, 1.0]]])
def test_a_law_without_a_value_for_each_depth_is_refused(values: list) -> None:
    with pytest.raises(InputError, match=r"law gives \[.*\] at depths \[4, 8\]; it must give a positive η\* for each"):
        transfer_lr(0.1, 4, 8, rule="finite-depth", law=lambda _: values)


@pytest.mark.parametrize("value", [None, 0.0, -1.0, math.inf, math.nan])
def test_path_sums_without_a_depth_are_refused(value: float | None) -> None:
    sums = {4: 64.0} if value is None else {4: 64.0, 8: value}
    with pytest.raises(InputError, match=r"must contain a positive Σ_p L_p³ at depth 8; .*enumerate_path_sum"):
        transfer_lr(0.1, 4, 8, rule="pathsum", path_sums=sums)


@pytest.mark.parametrize(
    ("depths", "known"),
    [
        ((4, 3000), {"rule": "pathsum", "family": "resnet", "branch": 2}),
        ((3000, 4), {"rule": "pathsum", "family": "resnet", "branch": 2}),
        ((4, 8), {"measured": {4: 1e-300, 8: 1e300}}),
        ((4, 8), {"measured": {4: 1e300, 8: 1e-300}}),
        ((4, 8), {"rule": "finite-depth", "law": lambda _: [1e-300, 1e300]}),
    ],
)
def test_a_learning_rate_beyond_the_range_of_floats_is_refused(depths: tuple[int, int], known: dict) -> None:
    message = f"carries lr=0.1 from depth {depths[0]} to {depths[1]} out of the range of floats; choose depths"
    with pytest.raises(InputError, match=message):
        transfer_lr(0.1, *depths, **known)
