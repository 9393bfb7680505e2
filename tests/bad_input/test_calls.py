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

# Images and labels as tensors, and labels of another integer dtype.
DATA = """
images, labels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), np.arange(24) % 4
splits = {"train": (images[:12], labels[:12]), "val": (images[12:], labels[12:]), "test": (images[:0], labels[:0])}
data, changed = (
    ammup.Data(
        **{f"{split}_images": convert(x) for split, (x, _) in splits.items()},
        **{f"{split}_labels": convert(y.astype(dtype)) for split, (_, y) in splits.items()},
        classes=("a", "b", "c", "d"),
    )
    for convert, dtype in ((np.asarray, np.int64), (torch.tensor, np.uint8))
)
assert changed.digest == data.digest and changed.train_labels.dtype == np.int64, (data, changed)
factory = partial(ammup.cnn, width=4, out_channels=4)
runs = [
    ammup.train_replicas(factory, 2, lrs=[0.1], seeds=1, data=each, batch_size=4, strategy="loop", device="cpu")
    for each in (data, changed)
]
assert runs[0][0].val_loss == runs[1][0].val_loss
"""


def test_numpy_scalars_and_arrays_are_valid_input() -> None:
    run = subprocess.run([sys.executable, "-c", NUMPY + DATA], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
