"""From a grid to stored runs: skip what is there, run the rest, keep every finished block."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import ParamSpec, TypeVar

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.block import Block, Outcome, run_block, try_strategies
from ammup.experiments.experiment import Cell, Experiment
from ammup.experiments.live import Display
from ammup.experiments.pool import InProcess, LocalPool, usable_cores
from ammup.experiments.store import Invocation, Store, StoredExperiment
from ammup.measurement.factory import default_device
from ammup.provenance import commit_of, versions

P = ParamSpec("P")
T = TypeVar("T")

# A worker that dies takes its block with it; so many deaths with no block done between them are no chance.
DEATHS = 3


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

    Every finished block is written at once: after a crash, a kill or Ctrl-C the same call goes on with what is missing.

    Args:
        experiment: what to train.
        store: the SQLite file; made where there is none.
        executor: any `concurrent.futures.Executor` whose workers can import ammup, `distributed.Client.get_executor()`
            for one. None: a pool of spawned processes with one thread each.
        workers: processes of that pool; None takes every core (one process where there is a GPU). With 1 everything
            runs in this process, with the threads that torch has.
        device: where to train; None takes a GPU if there is one.
        progress: show a live table on standard error where that is a terminal.

    Returns:
        One row for each cell of the grid, by depth, seed and learning rate: its values, and what it can be traced by.

    Raises:
        InputError: a store that cannot be written or that another process writes to, data or a factory that cannot be
            used, data of other content than those of the stored runs, or workers that keep dying.

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
        missing = experiment.missing(opened.keys(experiment.key))
        if missing:
            with Display(experiment, opened.table(experiment.key), show=progress) as display:
                sweep.run(missing, executor, workers or default_workers(device), display)
        return of_grid(opened.table(experiment.key), experiment)


def of_grid(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The rows of a store's table that are cells of the experiment's grid as it is now."""
    keys = {cell.key for cell in experiment.cells()}
    return table[table["key"].isin(keys)].reset_index(drop=True)


@dataclass(kw_only=True)
class _Pool:
    """An executor, how many blocks to have in it at once (None: all), and its workers where it is ours to renew."""

    executor: Executor
    ahead: int | None
    workers: int | None
    deaths: int = 0

    def renew(self, error: Exception) -> None:
        """New workers for those that died.

        Raises:
            InputError: they are not ours, or they died too often since `deaths` was set to 0.
        """
        self.deaths += 1
        if self.workers is None or self.deaths >= DEATHS:
            raise InputError(
                "workers keep dying, most often for want of memory; what is done is stored: run the same command with "
                "fewer --workers"
            ) from error
        if isinstance(self.executor, LocalPool):
            self.executor.kill()
        self.executor = LocalPool(self.workers)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns in a worker."""
        while True:
            try:
                return self.executor.submit(function, *args, **kwargs).result()
            except (BrokenProcessPool, CancelledError) as error:
                self.renew(error)


class _Sweep:
    """One experiment on its way into one store."""

    def __init__(self, experiment: Experiment, store: Store, *, device: str | None) -> None:
        self.experiment, self.store, self.device = experiment, store, device
        self.specification = experiment.to_toml()
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

    def run(self, cells: Sequence[Cell], executor: Executor | None, workers: int, display: Display) -> None:
        invocation = self.store.put_invocation(this_invocation())
        with _pool(executor, workers) as pool:
            strategy = self._strategy(pool)
            blocks = deque(self._blocks(cells, strategy))
            for outcome in _outcomes(pool, blocks):
                self._check_data(outcome.data_digest)
                keys = [self.experiment.cell_key(run.depth, run.lr, run.seed) for run in outcome.runs]
                self.store.put_runs(
                    dict(zip(keys, outcome.runs, strict=True)),
                    experiment=self.experiment.key,
                    invocation=invocation,
                    worker=outcome.worker,
                    dtype=self.experiment.training.dtype,
                )
                display.add(outcome.runs)

    def _strategy(self, pool: _Pool) -> str:
        """The one asked for, the one these cells were trained with before, or the faster one."""
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
        """A cell each for `loop`; what is missing of a depth and seed for `stacked`."""
        if strategy == "loop":
            groups = [[cell] for cell in cells]
        else:
            groups = [list(group) for _, group in groupby(cells, key=lambda cell: (cell.depth, cell.seed))]
        for group in groups:
            yield Block(
                specification=self.specification,
                depth=group[0].depth,
                seed=group[0].seed,
                lrs=tuple(cell.lr for cell in group),
                strategy=strategy,
                device=self.device,
            )

    def _check_data(self, digest: str) -> None:
        if self.known.data_digest is None:
            self._remember(data_digest=digest)
        elif self.known.data_digest != digest:
            raise InputError(
                f"data {self.experiment.data.source!r} have another content than those of the stored runs; nothing was "
                f"added to {self.store.path}: restore the data, or use another --store"
            )

    def _remember(self, **values: object) -> None:
        self.known = StoredExperiment(**(asdict(self.known) | values))
        self.store.put_experiment(self.known)


def _outcomes(pool: _Pool, blocks: deque[Block]) -> Iterator[Outcome]:
    """What comes of every block, as they end. Blocks of a worker that died are run again."""
    running: dict[Future[Outcome], Block] = {}
    try:
        while blocks or running:
            try:
                while blocks and (pool.ahead is None or len(running) < pool.ahead):
                    running[pool.executor.submit(run_block, blocks[0])] = blocks[0]
                    blocks.popleft()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=_failed):
                    outcome = future.result()
                    pool.deaths = 0
                    del running[future]
                    yield outcome
            except (BrokenProcessPool, CancelledError) as error:
                blocks.extendleft(reversed(running.values()))
                running.clear()
                pool.renew(error)
    finally:
        for future in running:  # somebody else's executor would go on with them
            future.cancel()


def _failed(future: Future[Outcome]) -> bool:
    return future.cancelled() or future.exception() is not None


@contextmanager
def _pool(executor: Executor | None, workers: int) -> Iterator[_Pool]:
    """The given executor, or our own of so many workers, which is ended with whatever it still does."""
    if executor is not None:
        yield _Pool(executor=executor, ahead=None, workers=None)
    elif workers == 1:
        yield _Pool(executor=InProcess(), ahead=1, workers=None)
    else:
        pool = _Pool(executor=LocalPool(workers), ahead=2 * workers, workers=workers)
        try:
            yield pool
        finally:
            if isinstance(pool.executor, LocalPool):
                pool.executor.kill()


def default_workers(device: str | None) -> int:
    """One for each core, or one where there is a GPU."""
    return usable_cores() if (device or default_device()) == "cpu" else 1


def this_invocation() -> Invocation:
    """The command that is running, and the commits of the folder it was given in and of ammup."""
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
