"""The package's signatures are checked while it is tested, with and without shapes, and each only once."""

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

from ammup.format import brief_repr
from ammup.measurement.norms import squared_norm
from ammup.models.streams import random_stream

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


def test_the_functions_of_the_package_are_checked() -> None:
    assert random_stream("key")
    with pytest.raises(beartype.roar.BeartypeCallHintViolation):
        brief_repr(1, 2)
    with pytest.raises((jaxtyping.TypeCheckError, beartype.roar.BeartypeCallHintViolation)):
        squared_norm("no tensor")


def test_nothing_is_checked_where_the_checks_are_off(unchecked: None) -> None:
    assert decorated(plain)("1" and 1) == "text"
    assert decorated(plain)(-1) == b"bytes"


def test_a_trace_leaves_the_checks_off(unchecked: None) -> None:
    torch.fx.symbolic_trace(torch.nn.ReLU())
    assert jaxtyping.config.jaxtyping_disable
