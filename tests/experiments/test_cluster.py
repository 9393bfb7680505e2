"""Sweeps on a local Dask cluster, including one whose worker is killed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
from waiting import wait_until

from ammup.errors import InputError
from ammup.experiments.cluster import dask_executor
from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

distributed = pytest.importorskip("distributed", reason="Dask is not installed")

VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps"]


@pytest.fixture(scope="module")
def cluster() -> Iterator["distributed.LocalCluster"]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_cluster_gives_the_same_rows_as_local_processes(
    small: Experiment, tmp_path: Path, cluster: "distributed.LocalCluster"
) -> None:
    with dask_executor(cluster.scheduler_address) as executor:
        there = run_sweep(small, store=tmp_path / "there.db", executor=executor)
    here = run_sweep(small, store=tmp_path / "here.db", workers=2)
    pd.testing.assert_frame_equal(here[VALUES], there[VALUES], check_exact=True)
    assert set(there["threads"]) == {1}


@pytest.mark.slow
def test_a_killed_worker_does_not_change_the_rows(
    small: Experiment, tmp_path: Path, cluster: "distributed.LocalCluster"
) -> None:
    changes = ["grid.seeds=6", "data.train=6400"]
    longer = Experiment.from_toml(small.to_toml(), changes=changes)
    store = tmp_path / "there.db"
    killed: list[int] = []

    def kill() -> None:
        wait_until(lambda: store.exists() and len(_stored_keys(store, longer)) >= 4)
        pid = next(iter(cluster.workers.values())).pid
        psutil.Process(pid).kill()
        killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    with dask_executor(cluster.scheduler_address) as executor:
        there = run_sweep(longer, store=store, executor=executor)
    thread.join(timeout=120)
    assert killed
    here = run_sweep(longer, store=tmp_path / "here.db", workers=2)
    pd.testing.assert_frame_equal(here[VALUES], there[VALUES], check_exact=True)


def _stored_keys(store: Path, experiment: Experiment) -> frozenset[str]:
    try:
        with Store(store, mode="read") as opened:
            return opened.keys(experiment.key)
    except InputError:  # the store is being created
        return frozenset()


def test_an_unreachable_scheduler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ammup.experiments.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        dask_executor("tcp://127.0.0.1:1").__enter__()
