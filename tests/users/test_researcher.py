"""A researcher redoes a figure of the paper: dry run, sweep, kill, resume, status, fit, figure, report."""

import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import run
from waiting import wait_until

from ammup.errors import InputError
from ammup.experiments.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")]

# The experiment of figure 2(a), with less of everything.
EXPERIMENT = [
    *("cnn-relu-cifar10", "--profile", "small", "--store", "runs.db", "--workers", "1"),
    *(
        part
        for change in (
            *("data.source=synthetic", "data.image_size=8", "data.train=1280", "data.validation=256"),
            *("model.arguments.width=8", "grid.depths=3,4,6", "grid.seeds=2", "training.batch_size=64"),
            *("grid.lrs={low=0.01, high=10.0, points=6}", "short_run.steps=0,5,10"),
            *("segments=[{anchors=[3, 4], predict=[6]}]", "strategy=loop"),
        )
        for part in ("--set", change)
    ),
]


def _stored(folder: Path) -> int:
    with suppress(InputError), Store(folder / "runs.db", mode="read") as store:
        return sum(len(store.keys(one.key)) for one in store.experiments())
    return 0


def _killed_sweep(folder: Path) -> int:
    """Start the sweep, kill it when some cells are stored, and return their number."""
    command = [sys.executable, "-m", "ammup", "sweep", *EXPERIMENT]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: _stored(folder) >= 2 or process.poll() is not None, limit=240)
        finally:
            process.kill()
        _, progress = process.communicate()
    assert process.returncode == -signal.SIGKILL, progress
    assert progress.startswith("ammup sweep: loading PyTorch")  # something is printed from the first second on
    return _stored(folder)


def test_a_figure_is_redone_through_a_kill(folder: Path) -> None:
    dry = run("sweep", *EXPERIMENT, "--dry-run", columns=200)
    assert dry.exit_code == 0, dry.output
    assert re.search(r"36 cells, .* about .*(second|minute)s? for the cells and the short runs", dry.stdout), dry.stdout
    assert not (folder / "runs.db").exists()
    refused = run("sweep", *EXPERIMENT, "--set", "short_run.steps=0,350", "--dry-run")
    assert (refused.exit_code, "350" in refused.stderr) == (2, True)

    stored = _killed_sweep(folder)
    assert 2 <= stored < 36
    status = run("sweep", *EXPERIMENT, "--status", columns=200)
    assert f"{stored} of 36 cells are done" in status.stdout
    resumed = run("sweep", *EXPERIMENT, columns=200)
    assert resumed.exit_code == 0, resumed.output
    assert "36 of 36 cells are done" in resumed.stdout
    assert "next: ammup fit runs.db" in resumed.stdout
    assert _stored(folder) == 36

    fit = run("fit", "runs.db", "--keep-flagged", "--figure", "panel", "--plot", "figure.png", columns=200)
    assert fit.exit_code == 0, fit.output
    assert "cnn-relu-cifar10" in fit.stdout
    assert re.search(r"paper, this experiment +-1\.34", fit.stdout)
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")

    assert run("report", "runs.db", "-o", "report.html").exit_code == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"[-−]1\.34", page)
    assert not re.search(r"same as stored", page)  # these settings are not those of the stored sweep
