"""Trainings that `ammup tune` starts: a real one in numpy, as a function and as a script, and faulty ones."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ammup.tuning.progress import Progress

WIDTH, CLASSES, FEATURES = 16, 4, 8


def train_mlp(depth: int, lr: float, seed: int, budget: int) -> Iterator[Progress]:
    """A ReLU net with He variances on Gaussian clusters, SGD on cross-entropy; the score is the accuracy."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    sizes = [FEATURES, *[WIDTH] * depth, CLASSES]
    weights = [rng.normal(size=(n, m)) * np.sqrt(2 / n) for n, m in itertools.pairwise(sizes)]
    with np.errstate(all="ignore"):
        for step in range(1, budget + 1):
            labels = rng.integers(CLASSES, size=64)
            layers = [centres[labels] + rng.normal(size=(64, FEATURES))]
            for weight in weights[:-1]:
                layers.append(np.maximum(layers[-1] @ weight, 0))
            outputs = layers[-1] @ weights[-1]
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            shares = exponentials / exponentials.sum(axis=1, keepdims=True)
            loss = -np.log(shares[np.arange(64), labels]).mean()
            gradient = (shares - np.eye(CLASSES)[labels]) / 64
            for number in range(len(weights) - 1, -1, -1):
                step_of_weight = layers[number].T @ gradient
                gradient = (gradient @ weights[number].T) * (layers[number] > 0)
                weights[number] = weights[number] - lr * step_of_weight
            yield Progress(step, float(loss), float((outputs.argmax(axis=1) == labels).mean()))


def with_state(depth: int, lr: float, seed: int, budget: int, state: Path) -> Iterator[Progress]:
    """Resumes from the step that an interrupted run saved."""
    saved = state / "step"
    first = int(saved.read_text()) if saved.exists() else 0
    for step in range(first + 1, budget + 1):
        saved.write_text(str(step))
        yield Progress(step, 1 / step)
        if step == 5 and first == 0:
            os._exit(1)


def faulty(depth: int, lr: float, seed: int, budget: int) -> Iterator[Progress]:
    """A fault by number: 1 NaN, 2 exception, 3 exit of the process, 4 hang, 5 silence, 6 wrong type, 7 rising loss."""
    fault = round(lr)
    if fault == 5:
        return
    for step in range(1, budget + 1):
        if step == 5 and fault == 2:
            raise ValueError("broken\npipe")
        if step == 5 and fault == 3:
            os._exit(7)
        if step == 5 and fault == 4:
            time.sleep(1000)
        loss = float("nan") if step == 5 and fault == 1 else 1.0 + (step if fault == 7 else -0.01 * step)
        yield 3.0 if fault == 6 else Progress(step, loss)  # type: ignore[misc]


def closing(depth: int, lr: float, seed: int, budget: int, state: Path) -> Iterator[Progress]:
    """Leaves a file when it is closed."""
    try:
        for step in range(1, budget + 1):
            yield Progress(step, float(step))
    finally:
        (state / "closed").write_text("yes")


# A script as users have it: argparse, a table of epochs, a progress bar on the error output; no JSON.
SCRIPT = """
import argparse, sys
sys.path[:0] = {folder!r}.split(":")
from tuning_trainings import train_mlp

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=2)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
print("training", vars(arguments))
losses = []
for progress in train_mlp(arguments.depth, arguments.lr, arguments.seed, 100):
    losses.append(progress.loss)
    print("step", progress.step, end="\\r", file=sys.stderr)
    if progress.step % 10 == 0:
        print(f"epoch {{progress.step // 10}} loss={{sum(losses[-10:]) / 10:.4f}}, acc={{progress.score:.1%}}")
print("done")
"""
PATTERNS = (r"epoch (?P<step>\d+) loss=(?P<loss>[^,]+)", r"acc=(?P<score>\S+)")


def write_script(folder: Path) -> Path:
    """Write the script; it imports this module and ammup from where they lie."""
    import ammup

    places = f"{Path(__file__).parent}:{Path(ammup.__file__).parents[1]}"
    path = folder / "train.py"
    path.write_text(SCRIPT.format(folder=places))
    return path
