"""Run the cells of a grid that are not yet stored, and store each block of cells when it finishes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.block import Block, Outcome, run_block, time_strategies
from ammup.experiments.experiment import Cell, Experiment
from ammup.experiments.invocation import this_invocation
from ammup.experiments.live import Display
from ammup.experiments.measuring import ShortRunJob, compute_laws, missing_short_runs, run_short_run
from ammup.experiments.pool import WorkerPool, usable_cores, worker_pool
from ammup.experiments.schema import LeftOut, StoredExperiment
from ammup.experiments.search import run_search
from ammup.experiments.status import rows_in_grid
from ammup.experiments.store import Store
from ammup.models.device import default_device
from ammup.progress import tracked
from ammup.training.runs import Run


def run_sweep(
    experiment: Experiment,
    *,
    store: Path | str,
    executor: Executor | None = None,
    workers: int | None = None,
    device: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the cells of an experiment that are not yet stored, and return the stored runs of its grid.

    Each block of cells is written when it finishes. After a crash, a kill or Ctrl-C, the same call continues with the
    missing cells. If the experiment has a short run, then S̄ along this run and η* by formula are stored first.

    Args:
        experiment: the definition of the sweep.
        store: path of the SQLite file; it is created if it does not exist.
        executor: any `concurrent.futures.Executor` whose workers can import ammup, such as
            `distributed.Client.get_executor()`. None uses a pool of spawned processes with one thread each.
        workers: number of processes of this pool; None uses all cores, or one process if there is a GPU. With 1, all
            jobs run in the current process, with one thread. Results are bit-identical for any number of workers.
        device: torch device to train on; None uses a GPU if there is one.
        progress: show a live table on standard error; if that is not a terminal, a plain line at most every 30 seconds.

    Returns:
        One row for each cell of the grid, sorted by depth, seed and learning rate: its results and provenance.

    Raises:
        InputError: the store cannot be written or another process is writing to it, the data or the factory cannot be
            used, the data do not match the digest of the stored runs, or workers crashed repeatedly.

    Example:
        >>> import ammup, tempfile
        >>> experiment = ammup.Experiment.from_toml('''
        ... name = "demo"
        ... model = {factory = "cnn", arguments = {width = 4}}
        ... data = {source = "synthetic", image_size = 8, train = 256, validation = 64}
        ... grid = {depths = [2], lrs = [0.1, 1.0]}
        ... strategy = "loop"
        ... ''')
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     runs = ammup.run_sweep(experiment, store=f"{folder}/runs.db", workers=1)
        >>> runs[["depth", "lr", "seed", "steps", "diverged"]].to_dict("records")
        [{'depth': 2, 'lr': 0.1, 'seed': 0, 'steps': 2, 'diverged': False},
         {'depth': 2, 'lr': 1.0, 'seed': 0, 'steps': 2, 'diverged': False}]
    """
    with Store(Path(store), mode="write") as opened:
        sweep = _Sweep(experiment, opened, device=device)
        missing = missing_cells(experiment, opened)
        jobs = missing_short_runs(experiment, opened.measurements(experiment.key), device)
        if missing or jobs:
            with worker_pool(executor, workers or default_workers(device)) as pool:
                sweep.invocation = opened.put_invocation(this_invocation())
                sweep.run_short_runs(jobs, pool, progress=progress)
                stored, left_out = opened.runs(experiment.key), opened.left_out(experiment.key)
                with Display(experiment, stored, left_out, show=progress) as display:
                    sweep.run_cells(missing, pool, display)
        return rows_in_grid(opened.table(experiment.key), experiment)


def missing_cells(experiment: Experiment, store: Store) -> list[Cell]:
    """Return the cells of the grid that have no stored run.

    Cells that were left out by an adaptive search are not missing if the experiment is such a search.
    """
    done = store.keys(experiment.key)
    if experiment.search == "adaptive":
        done |= frozenset(store.left_out(experiment.key)["key"])
    return experiment.missing(done)


class _Sweep:
    """Runs one experiment and writes its results to one store."""

    def __init__(self, experiment: Experiment, store: Store, *, device: str | None) -> None:
        self.experiment, self.store, self.device = experiment, store, device
        self.specification = experiment.to_toml()
        self.invocation = 0  # the id of the running command in the store; set before rows are written
        earlier = store.experiment(experiment.key)
        self.stored = StoredExperiment(
            key=experiment.key,
            name=experiment.name,
            specification=self.specification,
            data_digest=earlier.data_digest if earlier else None,
            strategy=earlier.strategy if earlier else None,
            choice=earlier.choice if earlier else None,
        )
        if earlier != self.stored:
            store.put_experiment(self.stored)

    def run_cells(self, cells: Sequence[Cell], pool: WorkerPool, display: Display) -> None:
        """Train the cells in blocks, and store and display each finished block."""
        if not cells:
            return
        strategy = self._choose_strategy(pool)
        train = run_search if self.experiment.search == "adaptive" else run_block
        for outcome in pool.map_unordered(train, self._blocks(cells, strategy)):
            self._store_outcome(outcome)
            display.add(outcome.runs, outcome.left_out)

    def _store_outcome(self, outcome: Outcome) -> None:
        self._check_data(outcome.data_digest)
        self.store.put_runs(
            {self._cell_key(run): run for run in outcome.runs},
            experiment=self.experiment.key,
            invocation=self.invocation,
            worker=outcome.worker,
            dtype=self.experiment.training.dtype,
            left_out={self._cell_key(cell): cell for cell in outcome.left_out},
        )

    def _cell_key(self, cell: Run | LeftOut) -> str:
        return self.experiment.cell_key(cell.depth, cell.lr, cell.seed)

    def run_short_runs(self, jobs: Sequence[ShortRunJob], pool: WorkerPool, *, progress: bool) -> None:
        """Store η* by formula, then run the short runs and store their measurements."""
        if not jobs:
            return
        steps = self._short_run_steps(jobs, pool)
        for _ in tracked(steps, f"{self.experiment.name}: formulas and short runs", 1 + len(jobs), show=progress):
            pass

    def _short_run_steps(self, jobs: Sequence[ShortRunJob], pool: WorkerPool) -> Iterator[None]:
        """Store η* by formula and then each short run, and yield after each of these steps."""
        key = self.experiment.key
        # The laws are stored first. If the sweep is killed before the jobs are done, both are computed again.
        laws = pool.call(compute_laws, self.specification, self.device)
        self.store.put_laws(laws, experiment=key, invocation=self.invocation)
        yield
        for outcome in pool.map_unordered(run_short_run, jobs):
            self._check_data(outcome.data_digest)
            self.store.put_measurements(outcome.measurements, experiment=key, invocation=self.invocation)
            yield

    def _choose_strategy(self, pool: WorkerPool) -> str:
        """Return the strategy of the experiment; if it is "auto", that of the stored cells or else the faster one."""
        if self.experiment.strategy != "auto":
            return self.experiment.strategy
        if self.stored.strategy is None:
            shallowest = min(self.experiment.grid.depths)
            timing = pool.call(time_strategies, self.specification, shallowest, self.device)
            self._check_data(timing.data_digest)
            self._update_stored(strategy=timing.choice.strategy, choice=asdict(timing.choice))
        assert self.stored.strategy is not None
        return self.stored.strategy

    def _blocks(self, cells: Sequence[Cell], strategy: str) -> Iterator[Block]:
        """Yield the blocks to run.

        A block is one cell for "loop", the missing cells of one depth and seed for "stacked", and all cells of one
        depth and seed for an adaptive search.
        """
        if strategy == "loop" and self.experiment.search == "full":
            groups = [[cell] for cell in cells]
        else:
            groups = [list(group) for _, group in groupby(cells, key=lambda cell: (cell.depth, cell.seed))]
        grid = tuple(sorted(self.experiment.grid.learning_rates))
        for group in groups:
            yield Block(
                specification=self.specification,
                depth=group[0].depth,
                seed=group[0].seed,
                lrs=grid if self.experiment.search == "adaptive" else tuple(cell.lr for cell in group),
                strategy=strategy,
                device=self.device,
            )

    def _check_data(self, digest: str) -> None:
        """Raise InputError unless the digest of the data is that of the stored runs; store the first one."""
        if self.stored.data_digest is None:
            self._update_stored(data_digest=digest)
        check_digest(self.experiment, self.stored.data_digest, digest, self.store.path)

    def _update_stored(self, **values: object) -> None:
        """Change some values of the stored experiment."""
        self.stored = StoredExperiment(**(asdict(self.stored) | values))
        self.store.put_experiment(self.stored)


def check_digest(experiment: Experiment, stored: str | None, digest: str, path: Path) -> None:
    """Raise InputError if ``digest`` differs from that of the stored runs, ``stored``; None if there are no runs."""
    if stored not in (None, digest):
        raise InputError(
            f"the data {experiment.data.source!r} do not match the digest of the stored runs; nothing was added to "
            f"{path}: restore the data, or use another --store"
        )


def default_workers(device: str | None) -> int:
    """Return the default number of workers: the number of cores, or 1 if there is a GPU."""
    return usable_cores() if (device or default_device()) == "cpu" else 1
