"""After kill -9 at random moments, the same command gives the rows of an uninterrupted sweep."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from waiting import wait_until

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

DRIVER_KILLS, WORKER_KILLS = 6, 6
VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps"]
SWEEP = """
name = "killed"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 8}}
data = {source = "synthetic", image_size = 8, train = 3200, validation = 640}
grid = {depths = [3], lrs = {low = 0.01, high = 100.0, points = 20}, seeds = 3}
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    store = tmp_path_factory.mktemp("uninterrupted") / "runs.db"
    return run_sweep(Experiment.from_toml(SWEEP), store=store, workers=2)[VALUES]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return [sys.executable, "-m", "ammup", "sweep", "sweep.toml", "--store", "runs.db", "--workers", "2"]


def _count_stored(folder: Path) -> int:
    with suppress(InputError), Store(folder / "runs.db", mode="read") as store:
        return len(store.keys(Experiment.from_toml(SWEEP).key))
    return 0


def _assert_rows_equal(folder: Path, uninterrupted: pd.DataFrame) -> None:
    experiment = Experiment.from_toml(SWEEP)
    with Store(folder / "runs.db", mode="read") as store:
        runs = store.table(experiment.key)
    assert not runs["key"].duplicated().any()
    pd.testing.assert_frame_equal(runs[VALUES], uninterrupted, check_exact=True)


def test_killing_the_driver(tmp_path: Path, command: list[str], uninterrupted: pd.DataFrame) -> None:
    """Most kills happen while cells are running; all workers end with their driver."""
    rng = random.Random(4)
    before = 0
    for _ in range(DRIVER_KILLS):
        driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # A kill happens between the first import and the middle of the sweep; the first cell takes about four seconds.
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=rng.uniform(0.5, 5.0))
        workers = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.wait(timeout=60)
        stored = _count_stored(tmp_path)
        assert stored >= before  # no stored run is lost
        before = stored
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    _assert_rows_equal(tmp_path, uninterrupted)


def test_killing_workers(tmp_path: Path, command: list[str], uninterrupted: pd.DataFrame) -> None:
    """Workers of one sweep are killed at random moments; each time the sweep continues with new workers."""
    rng = random.Random(5)
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    kills = 0
    while kills < WORKER_KILLS and driver.poll() is None:
        before = _count_stored(tmp_path)
        # Wait for a finished cell: the sweep stops after three crashes without one.
        wait_until(lambda before=before: driver.poll() is not None or _count_stored(tmp_path) > before)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=rng.uniform(0, 0.4))
        with suppress(psutil.NoSuchProcess):  # a zombie, or one that its driver has just replaced
            workers = [p for p in psutil.Process(driver.pid).children() if "spawn_main" in " ".join(p.cmdline())]
            if workers:
                rng.choice(workers).kill()
                kills += 1
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert kills == WORKER_KILLS
    _assert_rows_equal(tmp_path, uninterrupted)


@pytest.fixture
def sigint_not_ignored() -> Iterator[None]:
    """Child processes handle SIGINT even if these tests run as a background job, for which a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_not_ignored")
def test_the_store_is_complete_after_ctrl_c(tmp_path: Path, command: list[str], uninterrupted: pd.DataFrame) -> None:
    driver = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: _count_stored(tmp_path) >= 10)
    for process in [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]:
        process.send_signal(signal.SIGINT)  # a terminal sends it to all of them
    output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "the same command resumes" in errors
    assert "Traceback" not in errors + output
    assert not list(tmp_path.glob("runs.db-*"))  # the WAL has been merged into the file
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    _assert_rows_equal(tmp_path, uninterrupted)


def test_a_second_driver_is_rejected_and_does_not_affect_the_first(
    tmp_path: Path, command: list[str], uninterrupted: pd.DataFrame
) -> None:
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: _count_stored(tmp_path) > 0)
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 2
    assert "another process is writing to runs.db" in second.stderr
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    _assert_rows_equal(tmp_path, uninterrupted)
