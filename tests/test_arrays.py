"""The name of an array type: what a signature that uses it accepts."""

import numpy as np
import pytest
from beartype.door import is_bearable

from ammup.arrays import Array


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (np.zeros(2), True),
        (np.zeros((2, 3)), True),
        (np.zeros(2, np.float32), False),
        (np.zeros(2, np.int64), False),
        ([0.0, 1.0], False),
        (0.0, False),
    ],
)
def test_an_array_has_any_shape_and_double_precision(value: object, accepted: bool) -> None:
    assert is_bearable(value, Array) == accepted
