"""Invalid input to the public functions raises a one-line InputError that names the given value."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("calls.py")
CASES = runpy.run_path(str(PROGRAM))["CASES"]


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[str, str]]:
    """The outcomes of all cases, in one process without the run-time type checks of the tests."""
    run = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return [(kind, message) for kind, message in json.loads(run.stdout)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_invalid_input_raises_a_one_line_error(case: int, outcomes: list[tuple[str, str]]) -> None:
    kind, message = outcomes[case]
    assert kind == "InputError", f"{kind}: {message}"
    assert message.startswith(CASES[case][1])
    assert "\n" not in message


def test_there_are_at_least_150_cases() -> None:
    assert len(CASES) >= 150


NUMPY = """
import numpy as np, torch, ammup
from functools import partial
batch = {"inputs": torch.randn(4, 3, 8, 8), "targets": torch.tensor([0, 1, 2, 3]), "loss": "cross_entropy"}
law = ammup.depth_exponent(partial(ammup.cnn, width=4), np.array([2, 3]), seeds=list(np.arange(2)), **batch)
assert law.draws == 2
one, other = (ammup.mlp(2, width=4, in_features=4, seed=seed).state_dict() for seed in (3, np.int64(3)))
assert all(torch.equal(one[name], other[name]) for name in one)
"""


def test_numpy_scalars_and_arrays_are_valid_input() -> None:
    run = subprocess.run([sys.executable, "-c", NUMPY], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
