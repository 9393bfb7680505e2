"""Verdicts, looks, error rates and keys of claims whose rows are known."""

import dataclasses
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from ammup import InputError
from ammup.claims.claim import ALPHA, LOOK_ROWS, LOOKS, SEEDS_PER_ROOT, Claim, claim_named, examine
from ammup.stats.equivalence import Region
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, HOLDS_WITH_CHANGE, INCONCLUSIVE, VERDICTS

UNIT = Region(low=-1.0, high=1.0)
N = 10


def _alternating(spread: float) -> Callable[[range], np.ndarray]:
    """Rows that alternate between spread and -spread; the standard error of the mean of n is spread/√(n - 1)."""
    return lambda seeds: np.array([[spread if seed % 2 else -spread] for seed in seeds])


def _claim(value: float = 0.0, spread: float = 0.1, **given) -> Claim:
    texts = {name: f"some {name}" for name in ("where", "statement", "regime", "estimator")}
    # The rows are of both signs, so they are not corrected for the skewness of positive rows.
    estimate = {"rows": _alternating(spread), "statistic": lambda rows: value + float(np.mean(rows))}
    return Claim(**{"id": "test.claim", **texts, **estimate, "stated": UNIT, "n": N, **given})


def _half_width(spread: float, looks: int) -> float:
    n = LOOK_ROWS[looks - 1] * N
    return float(stats.t.ppf(1 - ALPHA, n - 1)) * spread / (n - 1) ** 0.5


ONE_LOOK, TWO_LOOKS = _half_width(0.1, 1), _half_width(0.1, 2)  # 0.22 and 0.07
BETWEEN = (ONE_LOOK + TWO_LOOKS) / 2  # a value at this distance from an end is settled by the second look


def _law(centre: float, margin: float = 0.5) -> dict:
    return {"law": lambda: Region.around(centre, margin)}


CHANGED = {**_law(2.0), "change": "with a 2"}


@pytest.mark.parametrize(
    ("value", "given", "verdict", "looks"),
    [
        (0.0, {}, HOLDS, 1),
        (1.0 - BETWEEN, {}, HOLDS, 2),
        (1.0, {}, INCONCLUSIVE, 2),
        (1.0 + BETWEEN, {}, DOES_NOT_HOLD, 2),
        (2.0, {}, DOES_NOT_HOLD, 1),
        (-2.0, {}, DOES_NOT_HOLD, 1),
        (2.0, CHANGED, HOLDS_WITH_CHANGE, 1),
        (2.0, _law(2.0), DOES_NOT_HOLD, 1),  # the law is not a change of the statement
        (2.5 - BETWEEN, CHANGED, HOLDS_WITH_CHANGE, 2),
        (2.5, CHANGED, INCONCLUSIVE, 2),
        (2.5, _law(2.0), INCONCLUSIVE, 2),
        (2.5 + BETWEEN, CHANGED, DOES_NOT_HOLD, 2),
        (5.0, CHANGED, DOES_NOT_HOLD, 1),
        (0.0, CHANGED, HOLDS, 1),  # the statement holds, and the law does not
        (0.0, _law(0.0), HOLDS, 1),
        (0.5 - BETWEEN, _law(0.0), HOLDS, 2),  # one look settles the statement, two looks settle the law
        (0.5, _law(0.0), HOLDS, 2),
    ],
)
def test_the_verdict_and_the_number_of_looks(value: float, given: dict, verdict: str, looks: int) -> None:
    finding = examine(_claim(value, **given))
    assert (finding.verdict, finding.looks) == (verdict, looks)
    assert finding.estimate.value == pytest.approx(value)
    assert finding.estimate.n == LOOK_ROWS[looks - 1] * N
    assert finding.verdict in VERDICTS


@pytest.mark.parametrize(("value", "given", "agrees"), [(0.0, {}, True), (2.0, {}, False), (2.0, CHANGED, True),
                                                         (0.0, CHANGED, False), (1.0, {}, False)])  # fmt: skip
def test_agrees_with_law_refers_to_the_law_or_to_the_stated_region_without_one(
    value: float, given: dict, agrees: bool
) -> None:
    assert examine(_claim(value, **given)).agrees_with_law is agrees


def _with_recorded_seeds(value: float, **given) -> tuple[Claim, list[range]]:
    requested: list[range] = []

    def rows(seeds: range) -> np.ndarray:
        requested.append(seeds)
        return _alternating(0.1)(seeds)

    return _claim(value, rows=rows, **given), requested


def test_a_claim_that_is_settled_after_one_look_is_measured_once() -> None:
    for value, given in ((0.0, {}), (2.0, {}), (2.0, CHANGED)):
        claim, requested = _with_recorded_seeds(value, **given)
        examine(claim)
        assert requested == [range(N)]


def test_a_second_look_adds_new_draws_to_those_of_the_first() -> None:
    claim, requested = _with_recorded_seeds(1.0)
    finding = examine(claim)
    assert requested == [range(N), range(4 * N)]
    assert finding.estimate.n == 4 * N
    assert LOOKS == 2


def test_another_seed_root_has_other_seeds() -> None:
    claim, requested = _with_recorded_seeds(1.0)
    finding = examine(claim, root=3)
    first = 3 * SEEDS_PER_ROOT
    assert requested == [range(first, first + N), range(first, first + 4 * N)]
    assert finding.root == 3


def test_a_change_without_a_law_is_rejected() -> None:
    with pytest.raises(InputError, match=r"claim test\.claim: change='with a 2'.*pass law="):
        _claim(change="with a 2")


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.0, HOLDS), (math.nextafter(1.0, 2.0), DOES_NOT_HOLD), (2.0, DOES_NOT_HOLD)]
)
def test_an_exact_claim_has_no_sampling_error_and_one_look(value: float, verdict: str) -> None:
    claim, requested = _with_recorded_seeds(0.0, exact=True, statistic=lambda rows: value)
    finding = examine(claim)
    assert (finding.verdict, finding.looks, requested) == (verdict, 1, [range(N)])
    assert finding.interval == (value, value)
    assert (finding.estimate.se, finding.estimate.n) == (0.0, N)


def test_the_estimate_is_the_statistic_of_all_rows_and_not_a_mean_of_statistics() -> None:
    rows = np.random.default_rng(0).lognormal(size=(N, 2))
    claim = _claim(rows=lambda seeds: rows, statistic=lambda r: float(np.log(r.mean(axis=0)) @ [-1, 1]))
    estimate, measured = claim.estimate(0, 1)
    assert estimate.value == pytest.approx(np.log(rows[:, 1].mean() / rows[:, 0].mean()))
    assert measured.tolist() == rows.tolist()


def test_the_means_of_a_finding_are_those_of_the_flattened_columns() -> None:
    rows = np.arange(N * 6.0).reshape(N, 2, 3)
    finding = examine(_claim(rows=lambda seeds: rows, statistic=lambda r: float(r[:, 0, 0].mean()) - 27.0))
    assert finding.means == tuple(rows.mean(axis=0).ravel())
    assert finding.mean_errors == pytest.approx((rows.std(axis=0, ddof=1) / N**0.5).ravel())


@pytest.mark.parametrize("value", [0.0, 0.15])
def test_the_power_after_one_look_is_that_of_all_looks_at_the_centre(value: float) -> None:
    finding = examine(_claim(value, 0.45, stated=Region(low=-1.0, high=1.2)))
    assert finding.looks == 1
    se = 0.45 / (N - 1) ** 0.5 / LOOK_ROWS[-1] ** 0.5
    quantile = stats.t.ppf(1 - ALPHA, LOOK_ROWS[-1] * N - 1)
    assert 1 - finding.power == pytest.approx(2 * stats.norm.sf(1.1 / se - quantile), rel=1e-6)


def test_the_power_of_a_one_sided_region_is_that_at_the_measured_value() -> None:
    finding = examine(_claim(0.0, 0.45, stated=Region(low=-1.0, high=math.inf)))
    se = 0.45 / (N - 1) ** 0.5 / LOOK_ROWS[-1] ** 0.5
    quantile = stats.t.ppf(1 - ALPHA, LOOK_ROWS[-1] * N - 1)
    assert 1 - finding.power == pytest.approx(stats.norm.sf(1 / se - quantile), rel=1e-6)


def test_the_power_after_the_last_look_is_that_of_the_estimate_itself() -> None:
    finding = examine(_claim(0.05, 1.3))
    assert finding.looks == LOOKS
    assert finding.power == pytest.approx(finding.estimate.power(UNIT, ALPHA, 0.0))
    assert 0.2 < finding.power < 0.8


def test_power_is_about_the_law_where_there_is_one() -> None:
    assert examine(_claim(2.0, **CHANGED)).power > 0.999
    assert examine(_claim(2.0, **_law(2.0, 0.05))).power == 0


@pytest.mark.parametrize(
    ("value", "given", "verdict"),
    [
        (0.05, {}, HOLDS),
        (0.05, _law(0.1, 0.95), HOLDS),
        (2.0, {}, DOES_NOT_HOLD),
        (-2.0, {}, DOES_NOT_HOLD),
        (2.0, _law(2.05, 0.95), DOES_NOT_HOLD),
        (-2.0, _law(-2.05, 0.95), DOES_NOT_HOLD),
        (2.0, {**_law(2.05, 1.2), "change": "with a 2"}, HOLDS_WITH_CHANGE),
    ],
)
def test_a_false_alarm_is_another_verdict_or_a_figure_outside_what_is_guarded(
    value: float, given: dict, verdict: str
) -> None:
    claim = _claim(value, 1.3, **given)
    finding = examine(claim)
    assert (finding.verdict, finding.looks) == (verdict, LOOKS)
    draws = np.random.default_rng(0).normal(value, finding.estimate.se, size=2000)
    guards = verdict == HOLDS or claim.law is not None
    alarms = 0
    for draw in draws:
        again = dataclasses.replace(finding.estimate, value=float(draw))
        left = guards and again.against(claim.guarded, ALPHA) != "inside"
        alarms += claim.verdict(again) != verdict or left
    assert 0.1 < finding.false_alarm < 0.9
    assert finding.false_alarm == pytest.approx(alarms / len(draws), abs=0.04)  # 3.6 standard errors


def test_an_exact_claim_raises_no_false_alarm() -> None:
    assert examine(_claim(exact=True)).false_alarm == 0


def test_the_law_is_computed_only_when_it_is_needed() -> None:
    def law() -> Region:
        raise ZeroDivisionError

    claim = _claim(2.0, law=law)
    with pytest.raises(ZeroDivisionError):
        examine(claim)


def test_a_claim_is_looked_up_by_its_full_id_and_the_error_lists_the_most_similar_ids() -> None:
    claims = (_claim(id="one.a"), _claim(id="two.b"))
    assert claim_named(claims, "two.b") is claims[1]
    for unknown in ("two", "two.b.c", ""):
        nearest = "none" if unknown == "" else "two.b"
        with pytest.raises(
            InputError, match=rf"claim {re.escape(repr(unknown))}.*nearest of 2: {nearest}; .*ammup claims"
        ):
            claim_named(claims, unknown)


@pytest.mark.parametrize(
    "changed",
    [
        {"n": N + 1},
        {"stated": Region.around(0, 2)},
        {"exact": True},
        {"id": "test.x"},
        {"statistic": np.median},
        {"rows": _alternating(0.2)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_key_changes_with_what_is_measured_and_with_the_stated_region(changed: dict) -> None:
    assert _claim(**changed).key != _claim().key


@pytest.mark.parametrize("name", ["statement", "where", "remark", "regime", "estimator"])
def test_the_key_does_not_change_with_the_texts_or_the_law(name: str) -> None:
    assert _claim(**{name: "other words"}).key == _claim().key
    assert _claim(**CHANGED).key == _claim().key


def test_the_key_states_its_version() -> None:
    assert re.fullmatch("2-[0-9a-f]{16}", _claim().key)


def test_the_key_does_not_depend_on_the_float_type_of_the_region() -> None:
    """The repr of np.float64(2) differs between numpy 1 and 2, so a digest of it would change with numpy's version."""
    numpys = Region(low=np.float64(-1.0), high=np.float64(1.0))
    assert _claim(stated=numpys).key == _claim().key


def test_an_estimate_that_is_not_finite_is_rejected() -> None:
    for exact in (False, True):
        with pytest.raises(InputError, match="not finite"):
            examine(_claim(statistic=lambda rows: math.nan, exact=exact))
