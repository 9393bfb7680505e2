"""Runs of a tuning on a local Dask cluster."""

from pathlib import Path

import pytest
from tuning_trainings import train_mlp

import ammup
from ammup.experiments.cluster import dask_executor
from ammup.tuning.options import TuneBudget, TuneOptions

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.mark.slow
def test_a_cluster_gives_the_same_answer_as_this_computer(tmp_path: Path) -> None:
    def tuned(name: str, **options: object) -> ammup.Tuned:
        return ammup.tune(
            train_mlp, depths=2, target=8, steps=40, lr=0.2, store=tmp_path / name, budget=TuneBudget(probes=1),
            options=TuneOptions(progress=False, check=False, **options),  # type: ignore[arg-type]
        )  # fmt: skip

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as cluster, dask_executor(cluster.scheduler_address) as executor:  # fmt: skip
        there = tuned("there.db", executor=executor)
    here = tuned("here.db")
    values = ["depth", "lr", "seed", "outcome", "steps", "loss", "score"]
    assert there.table[values].equals(here.table[values])
    assert there.lr == here.lr
