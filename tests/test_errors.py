"""The checks that raise InputError: what they accept, and that the message names the argument and what is allowed."""

import pickle
import re
from collections.abc import Callable
from difflib import SequenceMatcher
from fractions import Fraction

import numpy as np
import pytest

from ammup.errors import InputError, check_known, check_level, checked_integer, unknown


def test_input_errors_are_value_errors() -> None:
    assert issubclass(InputError, ValueError)


def test_the_command_line_has_advice_of_its_own() -> None:
    error = InputError("no shape was given", python="pass shape=", option="pass --shape")
    assert str(error) == "no shape was given; pass shape="
    assert error.command_line == "no shape was given; pass --shape"
    assert (str(InputError("x")), InputError("x").command_line) == ("x", "x")
    assert InputError("x", python="pass y=").command_line == "x"


def test_an_error_keeps_its_advice_in_another_process_and_with_a_prefix() -> None:
    error = InputError("no shape was given", python="pass shape=", option="pass --shape")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.command_line) == (InputError, str(error), error.command_line)
    prefixed = error.prefixed("a.toml: ")
    assert str(prefixed) == "a.toml: no shape was given; pass shape="
    assert prefixed.command_line == "a.toml: no shape was given; pass --shape"


@pytest.mark.parametrize(
    ("allowed", "known", "others"),
    [
        (("mse", "cross_entropy"), "mse", ["MSE", "", "mse ", 3, None]),
        ({"a": 1}.keys(), "a", ["b"]),
        ("ab", "a", ["ab"]),
    ],
)
def test_a_name_is_one_of_the_allowed_ones(allowed, known: str, others: list[object]) -> None:
    check_known("loss", known, allowed)
    check_known("loss", known, iter(allowed))
    for value in others:
        with pytest.raises(InputError, match=re.escape(f"loss={value!r}")) as caught:
            check_known("loss", value, iter(allowed))
        assert str(caught.value).endswith(", ".join(allowed))


@pytest.mark.parametrize("level", [1e-9, 0.5, 0.95, np.float64(0.99)])
def test_confidence_levels_lie_between_0_and_1(level: float) -> None:
    check_level(level)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, float("nan"), float("inf")])
def test_other_levels_are_refused(level: float) -> None:
    with pytest.raises(InputError, match=rf"level={level}.*0\.95"):
        check_level(level)


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), 2**80])
def test_a_whole_number_becomes_a_python_int(value: int) -> None:
    found = checked_integer("depth", value, at_least=2)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [1, 0, -3, 2.0, np.float64(3), "4", None, Fraction(5, 2), [2]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=re.escape(f"depth={value!r}") + ".* 2$"):
        checked_integer("depth", value, at_least=2)


def _by_similarity(name: str) -> Callable[[str], float]:
    return lambda other: -SequenceMatcher(None, other, name).ratio()


def test_an_unknown_name_is_answered_with_the_three_nearest() -> None:
    names = [f"theorem-{i}.exponent-{kind}" for i in (1, 2, 3) for kind in ("mlp", "1d", "2d")]
    error = unknown("claim", "theorem-2.exponent-mpl", names, "`ammup claims` lists them")
    nearest = sorted(names, key=_by_similarity("theorem-2.exponent-mpl"))[:3]
    assert isinstance(error, InputError)
    assert all(near in str(error) for near in nearest)
    assert sum(name in str(error) for name in names) == 3
    for part in ("claim 'theorem-2.exponent-mpl'", "nearest of 9", "`ammup claims`"):
        assert part in str(error)


def test_a_name_like_none_and_a_name_among_none_are_answered() -> None:
    assert "nearest of 1: none" in str(unknown("claim", "zzz", ["mlp"], "look"))
    assert "claim 'zzz'" in str(unknown("claim", "zzz", [], "look"))
    assert "nearest" not in str(unknown("claim", "zzz", [], "look"))
