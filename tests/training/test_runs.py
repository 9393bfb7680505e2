"""Settings of training runs: accepted values, and the errors for invalid ones."""

import subprocess
import sys

import pytest

from ammup.errors import InputError
from ammup.training.runs import Training, check_grid, seed_numbers


def test_the_defaults_are_those_of_the_paper() -> None:
    """Sections 4.1 and 4.2: batch size 128, one epoch, SGD without momentum and weight decay."""
    training = Training()
    assert (training.batch_size, training.epochs, training.momentum, training.weight_decay) == (128, 1, 0.0, 0.0)
    assert (training.dtype, training.tf32, Training(dtype="tf32").tf32) == ("float32", False, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"epochs": -1}, "epochs=-1 must be at least 1"),
        ({"momentum": float("inf")}, "momentum=inf must be finite and at least 0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be finite and at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay=nan must be finite"),
        ({"dtype": "float16"}, "dtype='float16'.*float32, float64, bfloat16, tf32"),
    ],
)
def test_invalid_settings_are_reported(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Training(**options)


@pytest.mark.parametrize(
    ("lrs", "seeds", "message"),
    [
        ([], [0], "one or more distinct learning rates"),
        ([0.1, 0.1], [0], "distinct learning rates"),
        ([0.0], [0], "positive and finite"),
        ([float("inf")], [0], "positive and finite"),
        ([0.1], [], "one or more distinct seeds"),
        ([0.1], [1, 1], "distinct seeds"),
    ],
)
def test_invalid_grids_are_reported(lrs: list, seeds: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_grid(lrs, seeds)


def test_seeds_are_a_count_or_a_sequence() -> None:
    assert seed_numbers(3) == (0, 1, 2)
    assert seed_numbers([5, 2]) == (5, 2)


UNTYPED = """
import sys
import numpy as np
from ammup.errors import InputError
from ammup.training.runs import check_grid, seed_numbers

def message(function, *arguments):
    try:
        function(*arguments)
    except InputError as error:
        return str(error)

assert "torch" not in sys.modules
assert message(check_grid, list(np.geomspace(0.1, 1.0, 3)), list(np.arange(2))) is None
assert message(check_grid, ["a"], [0]) == "lrs=['a'] must be numbers"
assert message(check_grid, [0.1], [0.5]) == "seeds=[0.5] must be integers"
assert [type(seed) for seed in seed_numbers(np.arange(2))] == [int, int]
for invalid in (1.5, [0.5], None):
    assert message(seed_numbers, invalid) == f"seeds={invalid!r} must be a count or a sequence of integers"
"""


def test_other_types_are_converted_or_reported_without_torch() -> None:
    """In another process, because the type checks of the tests would reject these arguments."""
    subprocess.run([sys.executable, "-c", UNTYPED], check=True, timeout=60)
