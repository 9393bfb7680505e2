"""The offsets in the support of a kernel."""

import pytest

from ammup import InputError
from ammup.architecture.kernels import kernel_offsets


def test_support_of_kernels() -> None:
    assert kernel_offsets(3, 1) == ((-1,), (0,), (1,))
    assert kernel_offsets(2, 1) == ((0,), (1,))
    assert kernel_offsets((1, 3), 2, dilation=2) == ((0, -2), (0, 0), (0, 2))
    assert kernel_offsets([0, 5], 1) == ((0,), (5,))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (0, "must be a positive int"),
        ((3,), "a tuple of 2 positive ints"),
        ((3, 1.5), "must be a positive int"),
        ([], "must list distinct offsets of 2 integers"),
        ([(0, 0), (0, 0)], "distinct"),
        ([(0, 1), 2], "of 2 integers each"),
        ([(0, 0.5)], "integers"),
    ],
)
def test_invalid_kernels_are_rejected(kernel: object, message: str) -> None:
    # Without the run-time type checks of the tests, which would reject some of these kernels first.
    unchecked = getattr(kernel_offsets, "__wrapped__", kernel_offsets)
    with pytest.raises(InputError, match=message):
        unchecked(kernel, 2)
