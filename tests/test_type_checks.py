"""The package's signatures are checked while it is tested, with and without shapes, and each only once."""

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import beartype.roar
import jaxtyping
import numpy as np
import pytest
import torch
import type_checks
from jaxtyping import Float
from torch import Tensor

import ammup

Matrix = Float[np.ndarray, "N N"]


def plain(x: int) -> str:
    return "text" if x > 0 else b"bytes"  # type: ignore[return-value]


def square(x: Float[Tensor, "N N"]) -> int:
    return len(x)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    return type_checks._decorator(typechecker=type_checks.check)(function)


@pytest.mark.parametrize(
    "hint", [Matrix, Matrix | None, list[Matrix], Callable[[Matrix], int], dict[str, Matrix | int], "Matrix"]
)
def test_a_type_with_a_shape_is_found_wherever_it_is(hint: object) -> None:
    assert type_checks.has_shapes(hint)


@pytest.mark.parametrize("hint", [int, Tensor, None, Any, Iterator[int], Callable[..., Tensor], list[int | None]])
def test_other_types_have_no_shapes(hint: object) -> None:
    assert not type_checks.has_shapes(hint)


def test_arguments_and_results_are_checked_without_and_with_shapes() -> None:
    checked, shaped = decorated(plain), decorated(square)
    assert (checked(1), shaped(torch.ones(2, 2))) == ("text", 2)
    for wrong in ("1", -1):
        with pytest.raises(beartype.roar.BeartypeCallHintViolation):
            checked(wrong)
    with pytest.raises(jaxtyping.TypeCheckError):
        shaped(torch.ones(2, 3))


def test_the_functions_of_the_package_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported anew, for the conftest.py of a folder that is given on the command line is loaded before the checks."""
    monkeypatch.delitem(sys.modules, "ammup.format")
    monkeypatch.setattr(ammup, "format", None, raising=False)  # a new import sets it
    module = importlib.import_module("ammup.format")
    assert module.brief_repr(1, "words")
    with pytest.raises(beartype.roar.BeartypeCallHintViolation):
        module.brief_repr(1, 2)


def test_nothing_is_checked_where_the_checks_are_off(unchecked: None) -> None:
    assert decorated(plain)("1" and 1) == "text"
    assert decorated(plain)(-1) == b"bytes"


def test_a_trace_leaves_the_checks_off(unchecked: None) -> None:
    torch.fx.symbolic_trace(torch.nn.ReLU())
    assert jaxtyping.config.jaxtyping_disable
