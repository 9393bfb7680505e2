"""Runs of one cell are bit-identical on one machine, and differ only by rounding between machines.

The other machine is simulated by a process in which torch, oneDNN and MKL use no wide vector instructions. Its kernels
therefore sum in another order.
"""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ammup.experiments.experiment import Experiment
from ammup.experiments.sweep import run_sweep
from ammup.training import stacked

pytestmark = pytest.mark.slow

VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps"]
# Wide enough that torch distributes each operation over its threads.
CNN = """
name = "cnn"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 16}}
data = {source = "synthetic", image_size = 16, train = 256, validation = 128}
grid = {depths = [2, 4], lrs = [0.01, 0.1, 1.0, 1e30], seeds = [0, 1]}
"""
SWEEPS = {
    "cnn, loop": CNN,
    "resnet, loop": CNN.replace('"cnn"', '"resnet"').replace(
        "width = 16", "width = 8, dropout = 0.2, batchnorm = true"
    ),
    "mlp, stacked": CNN.replace('"cnn"', '"mlp"').replace('"loop"', '"stacked"').replace("width = 16", "width = 64"),
    "cnn, stacked": CNN.replace('"loop"', '"stacked"').replace("width = 16", "width = 4"),
}


@pytest.fixture(params=SWEEPS)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return Experiment.from_toml(SWEEPS[request.param])


def _assert_same(runs: pd.DataFrame, expected: pd.DataFrame, *, rtol: float = 0.0) -> None:
    runs, expected = (one[VALUES].sort_values(["depth", "seed", "lr"], ignore_index=True) for one in (runs, expected))
    pd.testing.assert_frame_equal(runs, expected, check_exact=not rtol, rtol=rtol)


def test_results_are_bit_identical_for_any_workers_order_chunks_restarts_and_threads(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only exception: convolutions of a stack round differently if the stack contains other learning rates."""
    stack_rtol = 1e-4 if experiment.strategy == "stacked" and experiment.model.factory == "cnn" else 0.0
    expected = run_sweep(experiment, store=tmp_path / "one.db", workers=1)
    assert not expected.duplicated("val_loss").all()

    _assert_same(run_sweep(experiment, store=tmp_path / "workers.db", workers=3), expected)

    grid = experiment.grid
    backwards = replace(grid, depths=grid.depths[::-1], lrs=grid.learning_rates[::-1], seeds=grid.seed_numbers[::-1])
    _assert_same(run_sweep(replace(experiment, grid=backwards), store=tmp_path / "order.db", workers=1), expected)

    # As after restarts: one cell, then two learning rates, then the complete grid.
    for part in (replace(grid, lrs=(0.1,), seeds=(1,)), replace(grid, lrs=(0.1, 1.0)), grid):
        grown = run_sweep(replace(experiment, grid=part), store=tmp_path / "restarts.db", workers=1)
    _assert_same(grown, expected, rtol=stack_rtol)

    monkeypatch.setattr(stacked, "CPU_BYTES", 1)  # stacks of one replica
    _assert_same(run_sweep(experiment, store=tmp_path / "chunks.db", workers=1), expected, rtol=stack_rtol)
    monkeypatch.undo()

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        _assert_same(run_sweep(experiment, store=tmp_path / "threads.db", workers=1), expected)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


OTHER_MACHINE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
SCRIPT = f"""
import sys
from ammup.experiments.experiment import Experiment
from ammup.experiments.sweep import run_sweep
runs = run_sweep(Experiment.from_toml(sys.stdin.read()), store=sys.argv[1], workers=1, progress=False)
print(runs[{VALUES!r}].to_json(double_precision=15))
"""


def _run_in_process(experiment: Experiment, store: Path, environ: dict[str, str]) -> pd.DataFrame:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store)],
        input=experiment.to_toml(),
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return pd.read_json(io.StringIO(run.stdout))


def test_another_machine_changes_results_only_by_rounding(experiment: Experiment, tmp_path: Path) -> None:
    """Keys and divergence are equal, losses agree to a relative 1e-3, and accuracies to 0.02.

    In longer runs with large learning rates, rounding errors can grow until the results differ completely.
    """
    here, there = (
        _run_in_process(experiment, tmp_path / f"{place}.db", environ)
        for place, environ in (("here", {}), ("there", OTHER_MACHINE))
    )
    for name in ("key", "depth", "lr", "seed", "diverged", "steps"):
        assert here[name].equals(there[name]), name
    for name in ("val_loss", "train_loss"):
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3)
    assert (here["val_accuracy"] - there["val_accuracy"]).abs().max() <= 0.02
