"""Time and memory of `ammup fit`, `--status` and `report` with a large store, and of starting a large grid.

The store contains a million runs of one experiment (25 depths × 40 learning rates × 1,000 seeds) with training curves
like those of sweeps, 1.3 GB. Each command runs in a separate process, after one that loads the file into the cache of
the system. Finally, a sweep of 100,000 cells is started and stopped at its first cell.

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
from ammup.experiments.invocation import this_invocation
from ammup.experiments.schema import StoredExperiment, Worker
from ammup.experiments.store import Store
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


def fill(path: Path, large: Experiment) -> int:
    """Write runs whose best learning rate falls with depth; returns their number."""
    stored = StoredExperiment(
        key=large.key,
        name=large.name,
        specification=large.to_toml(),
        data_digest=None,
        strategy="loop",
        choice=None,
    )
    with Store(path, mode="write") as store:
        store.put_experiment(stored)
        invocation = store.put_invocation(this_invocation())
        worker = Worker(host="local", device="cpu", threads=1, versions=versions())
        store.put_runs({}, experiment=large.key, invocation=invocation, worker=worker, dtype="float32")
        with store.transaction():
            store.connection.executemany(
                f"INSERT INTO runs VALUES ({', '.join('?' * 18)})", _rows(large, invocation=invocation)
            )
        (count,) = store.connection.execute("SELECT count(*) FROM runs").fetchone()
    return int(count)


def _rows(large: Experiment, *, invocation: int) -> Iterator[tuple[object, ...]]:
    """The rows of the table of runs."""
    rng = np.random.default_rng(0)
    curve = json.dumps([(8 * i, float(loss)) for i, loss in enumerate(2.3 * rng.random(44), start=1)])
    for cell in large.cells():
        accuracy = 0.5 - 0.1 * (np.log10(cell.lr) + 1.5 * np.log10(cell.depth)) ** 2 + 0.01 * rng.standard_normal()
        yield (
            *(cell.key, large.key, cell.depth, cell.lr, cell.seed, max(0.0, float(accuracy)), 1.5, 1.5, 0, 352, curve),
            *(4.2, 1e4, "float32", "loop", "2026-01-01T00:00:00+00:00", invocation, 1),
        )


# A separate process, because the peak memory of a child process includes that of its parent at the fork.
METER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def measured(*arguments: object) -> tuple[float, float, float]:
    """(Seconds, CPU seconds, GB of peak memory) of a command."""
    command = [sys.executable, "-m", "ammup", *(str(argument) for argument in arguments)]
    meter = subprocess.run([sys.executable, "-c", METER, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds, cpu_seconds, memory = (float(word) for word in meter.stdout.split())
    return seconds, cpu_seconds, memory * (1 if sys.platform == "darwin" else 1024) / 1e9


class _StopAtFirstCell(Executor):
    """An executor that interrupts the sweep when the first cell is submitted."""

    def submit(self, *_arguments: object, **_options: object) -> object:  # type: ignore[override]
        raise KeyboardInterrupt


def seconds_to_first_cell(large: Experiment, path: Path) -> float:
    """Seconds until the first cell is submitted."""
    start = time.perf_counter()
    try:
        ammup.run_sweep(large, store=path, executor=_StopAtFirstCell(), progress=False)
    except KeyboardInterrupt:
        return time.perf_counter() - start
    raise SystemExit("no cell was submitted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="folder of the temporary files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store, toml = Path(folder) / "runs.db", Path(folder) / "experiment.toml"
        large = experiment("large", max(1, arguments.runs // (DEPTHS * POINTS)))
        toml.write_text(large.to_toml())
        count = fill(store, large)
        print(f"{count} runs, {store.stat().st_size / 1e9:.2f} GB")
        measured("fit", store)
        for name, command in {
            "ammup fit": ("fit", store),
            "ammup fit --export x.json": ("fit", store, "--export", Path(folder) / "x.json"),
            "ammup sweep --status": ("sweep", toml, "--store", store, "--status"),
            "ammup report": ("report", store, "-o", Path(folder) / "page.html"),
        }.items():
            seconds, cpu_seconds, memory = measured(*command)
            print(f"{name:<28} {seconds:6.2f} s {cpu_seconds:6.2f} CPU s {memory:6.2f} GB", flush=True)
        grid = experiment("grid of 100,000 cells", 100_000 // (DEPTHS * POINTS))
        print(f"{'100,000 cells, until the first':<28} {seconds_to_first_cell(grid, Path(folder) / 'new.db'):6.2f} s")


if __name__ == "__main__":
    main()
