"""Fixtures: a sweep that runs in seconds, a record of it, and a store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stores import new_store

from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.sweep import run_sweep

SMALL = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 512, validation = 128}
grid = {depths = [2, 3], lrs = [0.03, 0.3, 3.0, 1e30], seeds = 2}
training = {batch_size = 64}
"""


@pytest.fixture(scope="session")
def small() -> Experiment:
    return Experiment.from_toml(SMALL)


@pytest.fixture(scope="session")
def swept(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The runs of the sweep in this process, which other ways to run it are compared with."""
    return run_sweep(small, store=tmp_path_factory.mktemp("swept") / "runs.db", workers=1)


@pytest.fixture
def record(small: Experiment) -> SweepRecord:
    """A record with made-up runs: accuracy is a parabola of log lr, and the largest learning rate diverged."""
    cells = sorted(small.cells(), key=lambda cell: (cell.depth, cell.seed, cell.lr))
    runs = pd.DataFrame([{"depth": c.depth, "seed": c.seed, "lr": c.lr} for c in cells])
    runs["diverged"] = runs["lr"] > 100
    runs["val_accuracy"] = np.where(runs["diverged"], np.nan, 0.5 - 0.1 * np.log10(runs["lr"]).pow(2) / 3)
    runs["val_loss"] = np.where(runs["diverged"], np.nan, 1 / 3)
    measurements = pd.DataFrame(
        [
            {"depth": depth, "lr": 0.01, "seed": seed, "step": step, "S_bar": float(depth**2 * (1 + seed + step))}
            for depth in (2, 3)
            for seed in (0, 1)
            for step in (0, 5, 10)
        ]
    )
    return SweepRecord(
        experiment=small,
        runs=runs,
        measurements=measurements,
        laws={"finite-depth": {2: 0.5, 3: 0.25}, "pathsum": {2: 1.0}},
        data_digest="abc",
        provenance={"device": "a <machine>"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with two runs of the experiment "e"."""
    return new_store(tmp_path / "runs.db")
