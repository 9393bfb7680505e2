"""The digest of the definition of a claim."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial, wraps

import numpy as np
import pytest
from _pytest.assertion.rewrite import rewrite_asserts
from claim_records import claim_keys

from ammup.claims import definition
from ammup.claims.definition import describe, digest
from ammup.claims.statements import CLAIMS

DEPTHS = (2, 4)


@dataclass(frozen=True)
class Setting:
    depth: int = 2
    lr: float = 0.1

    def first(self) -> int:
        return self.depth

    def second(self) -> int:
        return -self.depth


def _scaled(weights: object) -> Callable[[float], object]:
    return lambda x: x * weights


def _helper() -> tuple[int, ...]:
    return DEPTHS


def _recursive(n: int) -> int:
    return _recursive(n - 1) if n else 0


def _decorated(function: Callable) -> Callable:
    @wraps(function)
    def wrapper(*arguments: object) -> object:
        return function(*arguments)

    return wrapper


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Setting(), Setting(depth=3)),
        (Setting().first, Setting(depth=3).first),
        (Setting().first, Setting().second),
        (_scaled(Setting()), _scaled(Setting(lr=0.2))),
        (_scaled(np.array([1.0, 2.0])), _scaled(np.array([1.0, 2.5]))),
        (_scaled(_scaled(1)), _scaled(_scaled(2))),
        (partial(max, 1), partial(max, 2)),
        (partial(max, key=1), partial(max, key=2)),
        (np.mean, np.median),
        (lambda x: x.min(), lambda x: x.max()),
        (lambda x=1: x, lambda x=2: x),
        (1, 2),
        (1.0, 1.00001),
        ((1, 2), (1, (2,))),
        (None, "None"),
        (True, 1),
    ],
)
def test_the_digest_changes_with(one: object, other: object) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Setting(), Setting()),
        (Setting().first, Setting().first),
        (_scaled(0.1 + 0.2), _scaled(0.3)),  # the last digit differs
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (range(3), (0, 1, 2)),
        (_helper, _decorated(_helper)),
        (_helper, lru_cache(_helper)),
    ],
)
def test_the_digest_does_not_change_with(one: object, other: object) -> None:
    assert digest(one) == digest(other)


def test_a_global_of_the_same_module_is_part_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> tuple[int, ...]:
        return _helper()

    before = digest(measured)
    monkeypatch.setitem(globals(), "DEPTHS", (2, 5))
    assert digest(measured) != before


def test_a_recursive_function_is_described_once() -> None:
    assert describe(_recursive)["data"] == {"_recursive": "_recursive"}


def _former() -> int:
    return 1


def test_a_renamed_function_keeps_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def _renamed() -> int:
        return 1

    assert digest(_renamed) != digest(_former)
    monkeypatch.setitem(definition.FORMER_NAMES, "_renamed", "_former")
    assert digest(_renamed) == digest(_former)


def test_a_function_of_the_same_package_is_part_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> tuple[int, ...]:
        return _helper()

    for function, module in ((measured, "package.one"), (_helper, "package.two")):
        monkeypatch.setattr(function, "__module__", module)
    same_package = digest(measured)
    assert describe(measured)["data"].keys() == {"_helper"}
    monkeypatch.setattr(_helper, "__module__", "other.two")
    assert describe(measured)["data"] == {}
    assert digest(measured) != same_package


def test_no_two_claims_have_the_same_definition() -> None:
    digests = {digest(claim.n, claim.exact, claim.stated, claim.rows, claim.statistic) for claim in CLAIMS}
    assert len(digests) == len(CLAIMS)


def test_the_keys_are_the_same_in_another_process() -> None:
    assert claim_keys("1") == claim_keys("2")
    assert len(claim_keys("1")) == len(CLAIMS)


def test_assertions_that_pytest_rewrites_change_no_description() -> None:
    source = (
        "def gap(values):\n    assert values is not None\n    assert len(values) == 2, values\n    return sum(values)\n"
    )
    plain, rewritten = {}, {}
    exec(compile(source, "claims.py", "exec"), plain)
    tree = ast.parse(source)
    rewrite_asserts(tree, source.encode())
    exec(compile(tree, "claims.py", "exec"), rewritten)
    assert set(rewritten["gap"].__code__.co_names) - set(plain["gap"].__code__.co_names)  # they are rewritten
    assert describe(rewritten["gap"]) == describe(plain["gap"])
