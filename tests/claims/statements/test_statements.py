"""The ledger: requirements on every claim."""

import dataclasses
import math
import re

import pytest

from ammup.claims.claim import LOOKS, SEEDS_PER_ROOT, Claim, claim_named, examine
from ammup.claims.statements import CLAIMS
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS


def test_every_claim_uses_fewer_seeds_than_there_are_between_two_seed_roots() -> None:
    assert max(claim.n for claim in CLAIMS) * LOOKS < SEEDS_PER_ROOT


def test_the_ids_of_the_ledger_are_unique() -> None:
    ids = [claim.id for claim in CLAIMS]
    assert len(set(ids)) == len(ids) > 50


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_has_texts_a_sample_size_and_a_valid_id(claim: Claim) -> None:
    for name in ("where", "statement", "regime", "estimator"):
        assert getattr(claim, name).strip(), name
    assert claim.n >= 1 if claim.exact else claim.n >= 2
    assert not math.isnan(claim.stated.margin)
    group, dot, rest = claim.id.partition(".")
    assert dot
    assert claim.group == group
    for part in (group, rest):  # valid in a file name and without quotes in a shell
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", part)
    assert "\n" not in "".join(getattr(claim, f.name) for f in dataclasses.fields(claim) if f.type == "str")


def test_claims_of_one_group_are_consecutive_so_that_its_file_is_written_once() -> None:
    groups = [claim.group for claim in CLAIMS]
    changes = [group for group, before in zip(groups, [None, *groups], strict=False) if group != before]
    assert len(changes) == len(set(groups))


@pytest.mark.parametrize("name", ["overlap.sum-identity", "overlap.sum-order", "means.a1-arithmetic", "means.a3-bound"])
def test_measuring_a_claim_twice_gives_the_same_estimate(name: str) -> None:
    claim = claim_named(CLAIMS, name)
    one, other = examine(claim), examine(claim)
    assert one.estimate == other.estimate
    assert one.verdict == (DOES_NOT_HOLD if name == "means.a3-bound" else HOLDS)


def test_another_seed_root_draws_other_examples() -> None:
    claim = claim_named(CLAIMS, "means.a1-geometric")
    assert examine(claim, root=1).estimate.value != examine(claim).estimate.value
