"""A store with two runs."""

from dataclasses import replace
from pathlib import Path

from ammup.experiments.schema import Invocation, StoredExperiment, Worker
from ammup.experiments.store import Store
from ammup.training.runs import Run

RUN = Run(
    depth=3,
    lr=0.1,
    seed=0,
    val_accuracy=0.25,
    val_loss=2.0,
    train_loss=float("inf"),
    diverged=False,
    steps=10,
    curve=((5, 2.25), (10, 2.0)),
    seconds=1.5,
    images_per_second=100.0,
    strategy="loop",
)
NAN = float("nan")
DIVERGED = replace(RUN, lr=10.0, val_accuracy=NAN, val_loss=NAN, train_loss=NAN, diverged=True, steps=0, curve=())
EXPERIMENT = StoredExperiment(
    key="e", name="demo", specification="name = 'demo'", data_digest="d", strategy=None, choice=None
)
INVOCATION = Invocation(
    command="ammup sweep",
    folder="/somewhere",
    commit="abc",
    dirty=True,
    ammup_commit=None,
    ammup_dirty=None,
    versions={"torch": "2"},
)
WORKER = Worker(host="here", device="cpu", threads=1, versions={"torch": "2"})


def put(store: Store, runs: dict[str, Run], *, experiment: StoredExperiment = EXPERIMENT) -> None:
    store.put_experiment(experiment)
    number = store.put_invocation(INVOCATION)
    store.put_runs(runs, experiment=experiment.key, invocation=number, worker=WORKER, dtype="float32")


def new_store(path: Path) -> Path:
    with Store(path, mode="write") as store:
        put(store, {"a": RUN, "b": DIVERGED})
    return path
