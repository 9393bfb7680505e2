"""Run the cells of a grid that are not stored yet, and store every finished block."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.block import Block, Outcome, run_block, try_strategies
from ammup.experiments.experiment import Cell, Experiment
from ammup.experiments.live import Display
from ammup.experiments.measuring import ShortRunJob, computed_laws, run_short
from ammup.experiments.pool import Workers, usable_cores, worker_pool
from ammup.experiments.schema import Invocation, LeftOut, StoredExperiment
from ammup.experiments.search import run_search
from ammup.experiments.status import of_grid
from ammup.experiments.store import Store
from ammup.models.device import default_device
from ammup.progress import tracked
from ammup.provenance import commit_of, versions
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
    """Run the cells of an experiment that are not stored yet, and return the stored runs of its grid.

    Every finished block is written immediately: after a crash, a kill or Ctrl-C the same call continues with the
    missing cells. If the experiment has a short run, S̄ along it and η* by formula are stored first.

    Args:
        experiment: what to train.
        store: the SQLite file; it is created if it does not exist.
        executor: any `concurrent.futures.Executor` whose workers can import ammup, such as
            `distributed.Client.get_executor()`. None: a pool of spawned processes with one thread each.
        workers: processes of that pool; None takes every core (one process where there is a GPU). With 1 everything
            runs in this process, with one thread. The number of workers changes no bit of a result.
        device: where to train; None takes a GPU if there is one.
        progress: show a live table on standard error where that is a terminal.

    Returns:
        One row for each cell of the grid, by depth, seed and learning rate: its values and provenance.

    Raises:
        InputError: a store that cannot be written or that another process writes to, data or a factory that cannot be
            used, data that do not match the digest of the stored runs, or workers that crash repeatedly.

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
        jobs = sweep.short_runs()
        if missing or jobs:
            with worker_pool(executor, workers or default_workers(device)) as pool:
                sweep.invocation = opened.put_invocation(this_invocation())
                sweep.measure(jobs, pool, progress=progress)
                stored, left_out = opened.runs(experiment.key), opened.left_out(experiment.key)
                with Display(experiment, stored, left_out, show=progress) as display:
                    sweep.run(missing, pool, display)
        return of_grid(opened.table(experiment.key), experiment)


def missing_cells(experiment: Experiment, store: Store) -> list[Cell]:
    """Cells of the grid that are neither stored nor, if the experiment is an adaptive search, left out by one."""
    done = store.keys(experiment.key)
    if experiment.search == "adaptive":
        done |= frozenset(store.left_out(experiment.key)["key"])
    return experiment.missing(done)


class _Sweep:
    """Runs one experiment into one store."""

    def __init__(self, experiment: Experiment, store: Store, *, device: str | None) -> None:
        self.experiment, self.store, self.device = experiment, store, device
        self.specification = experiment.to_toml()
        self.invocation = 0  # rows refer to the command that stored them
        known = store.experiment(experiment.key)
        self.known = StoredExperiment(
            key=experiment.key,
            name=experiment.name,
            specification=self.specification,
            data_digest=known.data_digest if known else None,
            strategy=known.strategy if known else None,
            choice=known.choice if known else None,
        )
        if known != self.known:
            store.put_experiment(self.known)

    def run(self, cells: Sequence[Cell], pool: Workers, display: Display) -> None:
        if not cells:
            return
        strategy = self._strategy(pool)
        train = run_search if self.experiment.search == "adaptive" else run_block
        for outcome in pool.outcomes(train, self._blocks(cells, strategy)):
            self._put(outcome)
            display.add(outcome.runs, outcome.left_out)

    def _put(self, outcome: Outcome) -> None:
        self._check_data(outcome.data_digest)
        self.store.put_runs(
            {self._key(run): run for run in outcome.runs},
            experiment=self.experiment.key,
            invocation=self.invocation,
            worker=outcome.worker,
            dtype=self.experiment.training.dtype,
            left_out={self._key(cell): cell for cell in outcome.left_out},
        )

    def _key(self, cell: Run | LeftOut) -> str:
        return self.experiment.cell_key(cell.depth, cell.lr, cell.seed)

    def short_runs(self) -> list[ShortRunJob]:
        """The short runs of the experiment that are not stored, deeper nets first."""
        short = self.experiment.short_run
        if short is None:
            return []
        stored = self.store.measurements(self.experiment.key)
        done = set(stored[["depth", "seed", "lr", "step"]].itertuples(index=False, name=None))
        wanted: dict[int, tuple[int, ...]] = dict.fromkeys(range(short.draws), (0,))
        wanted |= dict.fromkeys(range(short.seeds), short.steps)
        return [
            ShortRunJob(
                specification=self.specification,
                depth=depth,
                seed=seed,
                lr=short.lr,
                steps=steps,
                device=self.device,
            )
            for depth in sorted(self.experiment.grid.depths, reverse=True)
            for seed, steps in wanted.items()
            if not {(depth, seed, short.lr, step) for step in steps} <= done
        ]

    def measure(self, jobs: Sequence[ShortRunJob], pool: Workers, *, progress: bool) -> None:
        if not jobs:
            return
        key = self.experiment.key
        # First: after a kill here the jobs are still missing, so the laws are computed again.
        laws = pool.call(computed_laws, self.specification, self.device)
        self.store.put_laws(laws, experiment=key, invocation=self.invocation)
        outcomes = pool.outcomes(run_short, jobs)
        for found in tracked(outcomes, f"{self.experiment.name}: short runs", len(jobs), show=progress):
            self._check_data(found.data_digest)
            self.store.put_measurements(found.measurements, experiment=key, invocation=self.invocation)

    def _strategy(self, pool: Workers) -> str:
        """The strategy of the experiment, that of the stored cells, or the faster one."""
        if self.experiment.strategy != "auto":
            return self.experiment.strategy
        if self.known.strategy is None:
            shallowest = min(self.experiment.grid.depths)
            trial = pool.call(try_strategies, self.specification, shallowest, self.device)
            self._check_data(trial.data_digest)
            self._remember(strategy=trial.choice.strategy, choice=asdict(trial.choice))
        assert self.known.strategy is not None
        return self.known.strategy

    def _blocks(self, cells: Sequence[Cell], strategy: str) -> Iterator[Block]:
        """One cell for `loop`; the missing cells of a depth and seed for `stacked`; all of them for a search."""
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
        if self.known.data_digest is None:
            self._remember(data_digest=digest)
        elif self.known.data_digest != digest:
            raise InputError(
                f"data {self.experiment.data.source!r} do not match the digest of the stored runs; nothing was "
                f"added to {self.store.path}: restore the data, or use another --store"
            )

    def _remember(self, **values: object) -> None:
        self.known = StoredExperiment(**(asdict(self.known) | values))
        self.store.put_experiment(self.known)


def default_workers(device: str | None) -> int:
    """One for each core, or one if there is a GPU."""
    return usable_cores() if (device or default_device()) == "cpu" else 1


def this_invocation() -> Invocation:
    """The running command, and the commits of its working directory and of ammup."""
    commit, dirty = commit_of(Path.cwd())
    ammup_commit, ammup_dirty = commit_of(Path(__file__).parents[1])
    return Invocation(
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        folder=str(Path.cwd()),
        commit=commit,
        dirty=dirty,
        ammup_commit=ammup_commit,
        ammup_dirty=ammup_dirty,
        versions=versions(),
    )
