"""A large store and a large grid: what `ammup fit`, `--status` and `report` take in seconds and memory.

One store holds a million runs of one experiment (25 depths × 40 learning rates × 1,000 seeds) with training curves as
sweeps leave them, 1.3 GB. Each command runs in a process of its own, after one that brings the file into memory; then a
grid of 100,000 cells is begun, up to its first cell.

    python benchmarks/load.py [--runs 1000000] [--folder FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

import ammup
from ammup.experiments.experiment import Experiment
from ammup.experiments.schema import StoredExperiment, Worker
from ammup.experiments.store import Store
from ammup.experiments.sweep import this_invocation
from ammup.provenance import versions

DEPTHS, POINTS = 25, 40
TOML = """
name = "{name}"
model = {{factory = "cnn", arguments = {{width = 4}}}}
data = {{source = "synthetic", image_size = 8, train = 128, validation = 32}}
grid = {{depths = {depths}, lrs = {{low = 1e-4, high = 10.0, points = {points}}}, seeds = {seeds}}}
strategy = "loop"
"""


def experiment(name: str, seeds: int) -> Experiment:
    depths = list(range(3, 3 + DEPTHS))
    return Experiment.from_toml(TOML.format(name=name, depths=depths, points=POINTS, seeds=seeds))


def fill(path: Path, known: Experiment) -> int:
    """Runs whose best learning rate falls with depth; returns how many."""
    stored = StoredExperiment(
        key=known.key,
        name=known.name,
        specification=known.to_toml(),
        data_digest=None,
        strategy="loop",
        choice=None,
    )
    with Store(path, mode="write") as store:
        store.put_experiment(stored)
        invocation = store.put_invocation(this_invocation())
        worker = Worker(host="here", device="cpu", threads=1, versions=versions())
        store.put_runs({}, experiment=known.key, invocation=invocation, worker=worker, dtype="float32")
        with store.transaction():
            store.connection.executemany(
                f"INSERT INTO runs VALUES ({', '.join('?' * 18)})", _rows(known, invocation=invocation)
            )
        (count,) = store.connection.execute("SELECT count(*) FROM runs").fetchone()
    return int(count)


def _rows(known: Experiment, *, invocation: int) -> Iterator[tuple[object, ...]]:
    rng = np.random.default_rng(0)
    curve = json.dumps([(8 * i, float(loss)) for i, loss in enumerate(2.3 * rng.random(44), start=1)])
    for cell in known.cells():
        accuracy = 0.5 - 0.1 * (np.log10(cell.lr) + 1.5 * np.log10(cell.depth)) ** 2 + 0.01 * rng.standard_normal()
        yield (
            *(cell.key, known.key, cell.depth, cell.lr, cell.seed, max(0.0, float(accuracy)), 1.5, 1.5, 0, 352, curve),
            *(4.2, 1e4, "float32", "loop", "2026-01-01T00:00:00+00:00", invocation, 1),
        )


# In a process of its own: a child's peak counts what its parent held when it was made.
METER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measured(*arguments: object) -> tuple[float, float]:
    """(seconds, GB of memory) of a command."""
    command = [sys.executable, "-m", "ammup", *(str(argument) for argument in arguments)]
    meter = subprocess.run([sys.executable, "-c", METER, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = (float(word) for word in meter.stdout.split())
    return seconds, memory * (1 if sys.platform == "darwin" else 1024) / 1e9


class _FirstCell(Executor):
    def submit(self, *_arguments: object, **_options: object) -> object:  # type: ignore[override]
        raise KeyboardInterrupt


def begun(known: Experiment, path: Path) -> float:
    """Seconds until the first cell is handed out."""
    start = time.perf_counter()
    try:
        ammup.run_sweep(known, store=path, executor=_FirstCell(), progress=False)
    except KeyboardInterrupt:
        return time.perf_counter() - start
    raise SystemExit("nothing was handed out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to make the files, if not among the temporary ones")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        store, toml = Path(folder) / "runs.db", Path(folder) / "experiment.toml"
        known = experiment("large", max(1, given.runs // (DEPTHS * POINTS)))
        toml.write_text(known.to_toml())
        count = fill(store, known)
        print(f"{count} runs, {store.stat().st_size / 1e9:.2f} GB")
        measured("fit", store)
        for name, arguments in {
            "ammup fit": ("fit", store),
            "ammup fit --export x.json": ("fit", store, "--export", Path(folder) / "x.json"),
            "ammup sweep --status": ("sweep", toml, "--store", store, "--status"),
            "ammup report": ("report", store, "-o", Path(folder) / "page.html"),
        }.items():
            seconds, memory = measured(*arguments)
            print(f"{name:<28} {seconds:6.2f} s {memory:6.2f} GB", flush=True)
        large = experiment("grid of 100,000 cells", 100_000 // (DEPTHS * POINTS))
        print(f"{'100,000 cells, first begun':<28} {begun(large, Path(folder) / 'new.db'):6.2f} s")


if __name__ == "__main__":
    main()
