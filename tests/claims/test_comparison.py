"""The comparison of a record with its baseline."""

import math

import pytest
from claim_records import ENVIRONMENT, claim_keys, record

from ammup.claims import baselines
from ammup.claims.comparison import (
    ROUNDING_SHARE,
    compare,
    differences,
    drift_margin,
    same_definition,
    sample_margin,
)
from ammup.claims.statements import CLAIMS
from ammup.stats.equivalence import Estimate


@pytest.mark.parametrize(("estimate", "moved"), [(0.401, False), (0.403, True), (0.397, True)])
def test_a_record_is_replaced_if_its_sample_changed(estimate: float, moved: bool) -> None:
    """Even if the estimate agrees. Otherwise an update would not settle an alarm of the benchmark gate."""
    new = record(sample={"seeds": [0, 3], "estimate": estimate, "allowed": 0.002})
    assert compare(new, record()).moved is moved
    old = record().model_copy(update={"sample": None})
    assert compare(new, old).moved


def test_a_sample_may_move_by_a_tenth_of_its_standard_error_or_by_rounding() -> None:
    drawn = Estimate(value=1.0, se=0.01, df=63, n=64)
    assert sample_margin(drawn, 1.0, 4) == pytest.approx(0.1 * 0.01 * 4)
    exact = Estimate(value=1e3, se=0.0, df=1, n=200)
    assert sample_margin(exact, 1e3, 200) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("se", "estimate", "share", "agrees"),
    [(0.01, 0.5, 0.9, True), (0.01, 0.5, 1.1, False), (0.01, 0.5, -0.9, True), (0.01, 0.5, -1.1, False)],
)
def test_the_same_seeds_torch_device_and_dtype_allow_a_hundredth_of_a_standard_error(
    se: float, estimate: float, share: float, agrees: bool
) -> None:
    new = record(se=se, estimate=estimate + share * ROUNDING_SHARE * se)
    compared = compare(new, record(se=se, estimate=estimate))
    assert (compared.problems == ()) is agrees
    assert compared.moved is not agrees
    assert not compared.verdict_changed
    if not agrees:
        (problem,) = compared.problems
        assert "0.5 became" in problem
        assert "the same seeds, torch and device allow 0.0001" in problem


@pytest.mark.parametrize("changed", [{}, {"root": 1}])
def test_an_exact_estimate_is_compared_only_with_its_region(changed: dict) -> None:
    old = record(se=0.0, exact=True)
    assert compare(record(se=0.0, exact=True, estimate=-2000.0, **changed), old).problems == ()
    new = record(se=0.0, exact=True, verdict="does not hold", **changed)
    assert compare(new, old).problems == ("verdict 'holds' became 'does not hold'",)


@pytest.mark.parametrize("changed", [{"threads": 7}, {"machine": "other"}])
def test_other_threads_or_another_machine_are_the_same_environment(changed: dict) -> None:
    new = record(estimate=0.51, provenance={**ENVIRONMENT, **changed})
    assert len(compare(new, record()).problems) == 1


OTHER_CONDITIONS = [
    {"root": 1},
    *({"provenance": {**ENVIRONMENT, name: "other"}} for name in ("torch", "numpy", "device", "dtype")),
]


@pytest.mark.parametrize("changed", OTHER_CONDITIONS)
@pytest.mark.parametrize(
    ("region", "margin"),
    [({"margin": 1.0}, 1.0), ({"law": [2.0, 2.5], "margin": 0.25}, 0.25),
     ({"stated": [0.0, None], "margin": None}, 5.3 * 0.05), ({"margin": 0.25, "law": [2.0, 2.5]}, 5.3 * 0.05)],
)  # fmt: skip
def test_in_another_environment_an_estimate_may_change_by_the_drift_margin(
    changed: dict, region: dict, margin: float
) -> None:
    noisy = margin not in (1.0, 0.25)
    old, region = record(se=0.03 if noisy else 0.01, **region), {"se": 0.04 if noisy else 0.01, **region}
    assert drift_margin(record(**region), old) == pytest.approx(margin)
    for share in (-0.99, 0.99):
        assert compare(record(estimate=0.5 + share * margin, **region, **changed), old).problems == ()
    for share in (-1.01, 1.01):
        (problem,) = compare(record(estimate=0.5 + share * margin, **region, **changed), old).problems
        assert "another torch, device or seed root allow" in problem


def test_another_verdict_is_a_problem_even_with_the_same_estimate() -> None:
    compared = compare(record(verdict="does not hold"), record())
    assert compared.problems == ("verdict 'holds' became 'does not hold'",)
    assert compared.verdict_changed
    assert compared.moved


def test_estimates_of_different_definitions_are_not_compared() -> None:
    compared = compare(record(key="4567", estimate=99.0), record())
    assert compared.problems == ("the claim was defined differently when its baseline was measured",)
    assert compared.moved


FIRST, SECOND = {"key": "4567"}, {"key": "2-0123"}


@pytest.mark.parametrize("changed", [{}, {"n": 8, "looks": 2}, {"statement": "other words"}, {"estimate": 0.500001}])
def test_a_key_of_the_first_version_is_compared_by_the_fields_that_it_covers(changed: dict) -> None:
    new, old = record(**SECOND, **changed), record(**FIRST)
    assert compare(new, old).problems == ()
    assert same_definition(new, old)
    assert same_definition(old, new)


@pytest.mark.parametrize(
    "changed", [{"regime": "x"}, {"estimator": "x"}, {"n": 5}, {"looks": 2}, {"exact": True}, {"stated": [0.0, None]}]
)
def test_a_key_of_the_first_version_changed_with_regime_estimator_sample_size_and_region(changed: dict) -> None:
    new, old = record(**SECOND, **changed), record(**FIRST)
    assert compare(new, old).problems == ("the claim was defined differently when its baseline was measured",)
    assert [name for name, *_ in differences({"a": old}, {"a": new})] == ["a"]


def test_a_key_of_another_version_is_not_a_difference() -> None:
    assert differences({"a": record(**FIRST)}, {"a": record(**SECOND)}) == []


def test_keys_of_the_second_version_are_compared_directly() -> None:
    assert same_definition(record(**SECOND), record(**SECOND, regime="other words", estimator="x"))
    assert not same_definition(record(**SECOND), record(key="2-4567"))


def test_the_stored_records_have_the_definition_of_their_claims() -> None:
    stored, keys = baselines.read(), claim_keys("1")
    for claim in CLAIMS:
        old = stored[claim.id]
        changed = {"regime": claim.regime, "estimator": claim.estimator, "exact": claim.exact, "key": keys[claim.id]}
        ends = tuple(end if math.isfinite(end) else None for end in (claim.stated.low, claim.stated.high))
        rows = old.n if claim.exact else claim.n
        assert same_definition(old.model_copy(update={**changed, "stated": ends, "n": rows, "looks": 1}), old), claim.id


def test_a_claim_without_a_baseline_has_a_problem_but_no_changed_verdict() -> None:
    compared = compare(record(), None)
    assert compared.problems == ("there is no baseline; measure one with `ammup baselines update`",)
    assert compared.moved
    assert not compared.verdict_changed
    assert (compared.id, compared.old, compared.new) == ("law.one", None, record())


@pytest.mark.parametrize("name", ["where", "statement", "regime", "estimator", "change", "remark"])
def test_a_changed_text_replaces_the_record_and_is_not_a_problem(name: str) -> None:
    compared = compare(record(**{name: "other words"}), record())
    assert compared.problems == ()
    assert compared.moved


def test_an_equal_record_is_not_replaced() -> None:
    later = record(provenance={**ENVIRONMENT, "threads": 7, "seconds": 9.9}, reason="why not")
    assert not compare(later, record()).moved


def test_differences_are_added_removed_and_changed_claims_but_not_changed_texts() -> None:
    before = {"law.gone": record(), "law.same": record(), "law.words": record(), "law.moved": record()}
    after = {
        "law.moved": record(se=0.02),
        "law.words": record(remark="x"),
        "law.same": record(),
        "law.new": record(),
    }
    assert differences(before, after) == [
        ("law.gone", record(), None),
        ("law.moved", record(), record(se=0.02)),
        ("law.new", None, record()),
    ]


@pytest.mark.parametrize("changed", [{"verdict": "does not hold"}, {"estimate": 7}, {"se": 7}, {"key": "4567"}])
def test_each_part_of_a_result_makes_a_difference(changed: dict) -> None:
    before, after = {"a": record()}, {"a": record(**changed)}
    assert [name for name, *_ in differences(before, after)] == ["a"]
