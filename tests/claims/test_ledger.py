"""Records of findings, and updates of baselines in a temporary git repository."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from claim_records import commit, git

from ammup import InputError
from ammup.claims import baselines
from ammup.claims.claim import ALPHA, SEEDS_PER_ROOT, Claim, claim_named, examine
from ammup.claims.comparison import Comparison
from ammup.claims.ledger import alarms, measure, record_of, update
from ammup.claims.record import ClaimRecord
from ammup.claims.statements import CLAIMS
from ammup.stats.equivalence import Region
from ammup.validation import validated

IDENTITY, ORDER, CONSTANT = (
    claim_named(CLAIMS, name) for name in ("overlap.sum-identity", "overlap.sum-order", "appendix-e.relu-constant")
)
CHEAP = [CONSTANT, IDENTITY]  # from two groups


class _Reports(list[tuple[Comparison, bool]]):
    """The arguments of each call of ``report``."""

    def __call__(self, comparison: Comparison, written: bool) -> None:
        self.append((comparison, written))


def _updated(claims: list[Claim], *, accept_verdicts: bool = False, reason: str = "a test") -> tuple[bool, _Reports]:
    reports = _Reports()
    return update(claims, reason=reason, accept_verdicts=accept_verdicts, report=reports), reports


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def stored(checkout: Path) -> Path:
    """The checkout with the committed baselines of the cheap claims."""
    _updated(CHEAP, reason="first")
    commit(checkout)
    return checkout


def _tamper(folder: Path, claim: Claim, **changed) -> None:
    """Change the stored record of a claim and commit the change."""
    path = folder / f"{claim.group}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for record in content["claims"]:
        if record["id"] == claim.id:
            record |= changed
    path.write_text(json.dumps(content), encoding="utf-8")
    commit(folder)


def _drawn(**given) -> Claim:
    texts = {name: f"some {name}" for name in ("where", "statement", "regime", "estimator")}
    rows: Callable = lambda seeds: np.array([[0.1 * (-1) ** seed, 1.0, 2.0] for seed in seeds])  # noqa: E731
    stated = Region(low=-1.0, high=math.inf)
    return Claim(**{"id": "test.claim", **texts, "rows": rows, "statistic": lambda r: float(r[:, 0].mean()),
                    "stated": stated, "n": 20, **given})  # fmt: skip


# Records


@pytest.mark.parametrize(
    "claim",
    [
        IDENTITY,
        _drawn(),
        _drawn(stated=Region(low=-math.inf, high=1.0), law=lambda: Region(low=0.5, high=math.inf), change="x"),
        _drawn(stated=Region(low=np.float64(-1), high=np.float64(1)), exact=True),
        _drawn(stated=Region(low=0.0, high=1.0)),
    ],
    ids=lambda claim: f"{claim.stated}",
)
def test_a_record_is_json_without_infinities_and_is_read_back_unchanged(claim: Claim, checkout: Path) -> None:
    record = record_of(examine(claim), seconds=1.5, reason="because")
    text = json.dumps(record.to_dict(), allow_nan=False)
    assert validated(ClaimRecord, json.loads(text)) == record


def test_a_record_contains_all_of_a_finding(checkout: Path) -> None:
    claim = _drawn(law=lambda: Region(low=-math.inf, high=0.5), change="with a change", remark="a remark")
    finding = examine(claim, root=2)
    record = record_of(finding, seconds=1.26, reason="because")
    assert record.stated == (-1.0, None)
    assert record.law == (None, 0.5)
    for name in ("id", "where", "statement", "regime", "estimator", "change", "remark", "key"):
        assert getattr(record, name) == getattr(claim, name)
    assert (record.verdict, record.looks, record.root) == (finding.verdict, finding.looks, 2)
    assert (record.estimate, record.se, record.n) == (finding.estimate.value, finding.estimate.se, 20)
    assert record.interval == finding.estimate.interval(ALPHA)
    assert record.interval_level == 1 - 2 * ALPHA
    assert record.alpha == ALPHA
    assert record.agrees_with_law is True
    assert (record.power, record.false_alarm) == (finding.power, finding.false_alarm)
    assert (record.exact, record.margin, record.reference) == (False, None, 0.5)
    assert record.seeds == (2 * SEEDS_PER_ROOT, 2 * SEEDS_PER_ROOT + 19)
    assert record.sample.seeds == (2 * SEEDS_PER_ROOT, 2 * SEEDS_PER_ROOT + 3)
    assert record.sample.estimate == claim.statistic(claim.rows(claim.seeds(2, 1)[:4]))
    assert record.sample.allowed == pytest.approx(0.1 * finding.estimate.se * (20 / 4) ** 0.5)
    assert record.column_means == pytest.approx((0.0, 1.0, 2.0))
    assert record.column_errors == pytest.approx((finding.estimate.se, 0.0, 0.0))
    assert (record.reason, record.provenance.seconds) == ("because", 1.3)
    assert record.provenance.commit == git(checkout, "rev-parse", "HEAD")


def test_a_record_has_no_sample_if_four_draws_are_outside_of_the_domain_of_the_statistic() -> None:
    """The mean of the first four rows is 0.2, that of all rows about 0.95."""
    claim = replace(
        IDENTITY,
        id="law.noise",
        rows=lambda seeds: np.array([[0.2 if seed < 4 else 1 + 0.01 * (seed % 7)] for seed in seeds]),
        statistic=lambda rows: float(np.log(rows.mean() - 0.4)),
        stated=Region.around(0, 10),
        n=60,
        exact=False,
    )
    record = record_of(examine(claim), seconds=0)
    assert np.isfinite(record.estimate)
    assert record.sample is None


def test_an_exact_claim_without_a_law_has_neither_a_law_nor_an_error_rate(checkout: Path) -> None:
    record = record_of(examine(IDENTITY), seconds=0)
    assert record.law is None
    assert record.alpha == record.se == record.false_alarm == 0
    assert record.exact is True
    assert record.margin == IDENTITY.stated.margin
    assert record.interval == (record.estimate,) * 2
    assert record.reason == ""


def test_a_record_has_the_means_of_at_most_sixteen_columns(checkout: Path) -> None:
    wide = _drawn(rows=lambda seeds: np.tile(np.arange(40.0), (len(seeds), 1)))
    record = record_of(examine(wide), seconds=0)
    assert record.column_means == tuple(range(16))
    assert len(record.column_errors) == 16


# Measuring


def test_claims_are_measured_one_by_one_and_compared_with_the_stored_records(stored: Path) -> None:
    drawn = _drawn(id=IDENTITY.id)
    _updated([drawn])
    _tamper(stored, drawn, estimate=0.5)
    comparisons = measure([ORDER, drawn, CONSTANT])
    assert next(comparisons).problems == ("there is no baseline; measure one with `ammup baselines update`",)
    assert "0.5 became" in next(comparisons).problems[0]
    assert next(comparisons).problems == ()


def test_measuring_writes_nothing(stored: Path) -> None:
    before = _files(stored)
    list(measure([ORDER, *CHEAP], root=1))
    assert _files(stored) == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"stated": Region(low=0.0, high=1.0)}, ["inconclusive after 2 looks: "]),
        ({"stated": Region(low=1.0, high=2.0)}, []),  # the verdict is "does not hold", which is not a failure
        ({"stated": Region(low=1.0, high=2.0), "law": lambda: Region(low=-1.0, high=1.0)}, []),
        (
            {"stated": Region(low=1.0, high=2.0), "law": lambda: Region(low=3.0, high=4.0)},
            [" not inside [3.0, 4.0]"],
        ),
        ({"law": lambda: Region(low=3.0, high=4.0)}, [" not inside [3.0, 4.0]"]),
        (
            {"stated": Region(low=1.0, high=2.0), "law": lambda: Region(low=0.0, high=1.0)},
            ["inconclusive", " is not inside [0.0, "],
        ),
    ],
)
def test_alarms_are_problems_inconclusive_verdicts_and_intervals_outside_the_region(
    given: dict, expected: list[str], checkout: Path
) -> None:
    record = record_of(examine(_drawn(**given)), seconds=0)
    for problems in ((), ("it moved", "it was redefined")):
        reasons = alarms(Comparison(id="test.claim", old=None, new=record, problems=problems))
        assert reasons[: len(problems)] == list(problems)
        rest = reasons[len(problems) :]
        assert len(rest) == len(expected)
        assert all(words in alarm for words, alarm in zip(expected, rest, strict=True))


# Updating


def test_the_first_update_writes_each_claim_into_the_file_of_its_group(checkout: Path) -> None:
    complete, reports = _updated(CHEAP, reason="first")
    assert complete
    assert [(c.id, c.old, written) for c, written in reports] == [(c.id, None, True) for c in CHEAP]
    assert sorted(_files(checkout)) == ["appendix-e.json", "overlap.json"]
    records = baselines.read()
    assert set(records) == {claim.id for claim in CHEAP}
    assert {record.reason for record in records.values()} == {"first"}
    assert {record.verdict for record in records.values()} == {"holds"}


def test_an_update_without_a_change_does_not_change_the_files(stored: Path) -> None:
    before = _files(stored)
    complete, reports = _updated(CHEAP, reason="second")
    assert complete
    assert [written for _, written in reports] == [False, False]
    assert _files(stored) == before
    assert git(stored, "status", "--porcelain") == ""


def test_a_changed_estimate_is_written_and_reported_with_the_old_one(stored: Path) -> None:
    drawn = _drawn(id=IDENTITY.id)
    _updated([drawn])
    _tamper(stored, drawn, estimate=0.5)
    before = _files(stored)
    complete, reports = _updated([CONSTANT, drawn], reason="torch")
    assert complete
    assert [written for _, written in reports] == [False, True]
    moved = reports[1][0]
    assert (moved.old.estimate, moved.new.estimate) == (0.5, pytest.approx(0.0))
    assert baselines.read()[IDENTITY.id].estimate == moved.new.estimate
    assert baselines.read()[IDENTITY.id].reason == "torch"
    assert _files(stored)["appendix-e.json"] == before["appendix-e.json"]


def test_a_changed_verdict_is_written_only_with_accept_verdicts(stored: Path) -> None:
    _tamper(stored, IDENTITY, verdict="does not hold", estimate=0.5)
    before = _files(stored)
    complete, reports = _updated(CHEAP)
    assert not complete
    assert [(c.verdict_changed, written) for c, written in reports] == [(False, False), (True, False)]
    assert _files(stored) == before
    complete, reports = _updated(CHEAP, accept_verdicts=True)
    assert complete
    assert [written for _, written in reports] == [False, True]
    assert baselines.read()[IDENTITY.id].verdict == "holds"


def test_a_rejected_verdict_does_not_prevent_the_update_of_other_claims(stored: Path) -> None:
    _tamper(stored, IDENTITY, verdict="does not hold")
    complete, reports = _updated([IDENTITY, ORDER])
    assert not complete
    assert [written for _, written in reports] == [False, True]
    assert {name: baselines.read()[name].verdict for name in (IDENTITY.id, ORDER.id)} == {
        IDENTITY.id: "does not hold",
        ORDER.id: "holds",
    }


def test_a_changed_statement_is_written_without_a_changed_estimate(stored: Path) -> None:
    _tamper(stored, CONSTANT, statement="old words")
    complete, reports = _updated(CHEAP)
    assert complete
    assert [(c.problems, written) for c, written in reports] == [((), True), ((), False)]
    assert baselines.read()[CONSTANT.id].statement == CONSTANT.statement


def test_an_update_of_one_claim_preserves_the_others_and_their_order(stored: Path) -> None:
    neighbour = baselines.read()[IDENTITY.id]
    _updated([ORDER])
    assert baselines.read()[IDENTITY.id] == neighbour
    commit(stored)
    (stored / "overlap.json").unlink()
    commit(stored)
    _updated([ORDER])
    commit(stored)
    _updated([IDENTITY])
    assert [name for name in baselines.read() if name.startswith("overlap")] == [IDENTITY.id, ORDER.id]


def test_the_record_of_a_removed_claim_is_removed(stored: Path) -> None:
    records = baselines.read()
    baselines.write([records[IDENTITY.id], records[IDENTITY.id].model_copy(update={"id": "overlap.gone"})], "overlap")
    commit(stored)
    complete, reports = _updated([IDENTITY])
    assert complete
    assert [written for _, written in reports] == [False]
    assert baselines.read() == records


def test_an_interrupted_update_keeps_the_completed_groups(checkout: Path) -> None:
    def killed(seeds: range) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _updated([CONSTANT, replace(IDENTITY, rows=killed)])
    assert set(baselines.read()) == {CONSTANT.id}


@pytest.mark.parametrize("why", ["CI", "uncommitted changes"])
def test_a_rejected_update_measures_nothing(why: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "CI":
        monkeypatch.setenv("CI", "true")
    else:
        (stored.parent / "code.py").write_text("1")

    def rows(seeds: range) -> np.ndarray:
        raise AssertionError("measured")

    with pytest.raises(InputError, match=why):
        _updated([replace(IDENTITY, rows=rows)])


def test_records_from_a_clean_checkout_are_not_dirty(checkout: Path) -> None:
    _updated(CHEAP)
    assert {name: record.provenance.dirty for name, record in baselines.read().items()} == {
        claim.id: False for claim in CHEAP
    }
