"""Runs and their provenance in one SQLite file.

A run is written once, with the content key of its cell, in one transaction with the other runs of its block.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from ammup.errors import InputError
from ammup.experiments.database import Database
from ammup.experiments.migrations import MIGRATIONS
from ammup.experiments.schema import (
    PROVENANCE_COUNTS,
    PUT_EXPERIMENT,
    PUT_INVOCATION,
    PUT_LAW,
    PUT_LEFT_OUT,
    PUT_MEASUREMENT,
    PUT_RUN,
    PUT_WORKER,
    RUNS,
    RUNS_WITH_PROVENANCE,
    Invocation,
    LeftOut,
    StoredExperiment,
    Worker,
)
from ammup.parsing import parse_json
from ammup.training.runs import Measurement, Run

RUN_DTYPES = {
    "depth": np.int64,
    "seed": np.int64,
    "lr": np.float64,
    "val_accuracy": np.float64,
    "val_loss": np.float64,
    "diverged": np.bool_,
}
ROWS_PER_FETCH = 50_000


class Store(Database):
    """A database of runs by content key, with their experiments and provenance.

    Args:
        path: path of the file.
        mode: "read" or "write", see :class:`Database`, also for the errors.
    """

    def __init__(self, path: Path, *, mode: Literal["read", "write"]) -> None:
        super().__init__(path, migrations=MIGRATIONS, mode=mode)

    def experiments(self) -> tuple[StoredExperiment, ...]:
        """Return all experiments, sorted by name."""
        columns = "key, name, specification, data_digest, strategy, choice"
        with self.translate_errors():
            rows = self.connection.execute(f"SELECT {columns} FROM experiments ORDER BY name, rowid").fetchall()
        return tuple(
            StoredExperiment(
                key=key,
                name=name,
                specification=specification,
                data_digest=digest,
                strategy=strategy,
                choice=self._parse(choice) if choice else None,
            )
            for key, name, specification, digest, strategy, choice in rows
        )

    def experiment(self, key: str) -> StoredExperiment | None:
        """Return the experiment with this key, or None."""
        return next((experiment for experiment in self.experiments() if experiment.key == key), None)

    def keys(self, experiment: str) -> frozenset[str]:
        """Return the keys of the stored cells of an experiment."""
        with self.translate_errors():
            rows = self.connection.execute("SELECT key FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        return frozenset(key for (key,) in rows)

    def table(self, experiment: str) -> pd.DataFrame:
        """Return one row for each run with its provenance, sorted by depth, seed and learning rate."""
        table = self._query(RUNS_WITH_PROVENANCE, experiment)
        for name in ("val_accuracy", "val_loss", "train_loss"):
            table[name] = table[name].astype(float)
        for name in ("dirty", "ammup_dirty"):
            table[name] = table[name].map({0: False, 1: True}).astype("boolean")
        return table.astype({"diverged": bool})

    def runs(self, experiment: str) -> pd.DataFrame:
        """Return the columns of the runs that fits need, sorted by depth, seed and learning rate.

        A million runs are read in two seconds.
        """
        chunks: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in RUN_DTYPES}
        with self.translate_errors():
            cursor = self.connection.execute(RUNS, (experiment,))
            while rows := cursor.fetchmany(ROWS_PER_FETCH):
                for (name, dtype), values in zip(RUN_DTYPES.items(), zip(*rows, strict=True), strict=True):
                    chunks[name].append(np.fromiter(values, dtype, len(rows)))
        columns = {
            name: np.concatenate(chunks[name]) if chunks[name] else np.array([], dtype=dtype)
            for name, dtype in RUN_DTYPES.items()
        }
        runs = pd.DataFrame(columns, copy=False)
        return runs.replace({name: {-np.inf: np.nan} for name in ("val_accuracy", "val_loss")})

    def provenance_counts(self, experiment: str) -> pd.DataFrame:
        """Return one row for each distinct provenance of the runs of an experiment.

        The columns include the number of runs, the sum of their seconds, and the times at which the first and the last
        of them finished.
        """
        return self._query(PROVENANCE_COUNTS, experiment)

    def curves(self, experiment: str) -> dict[str, list[tuple[int, float]]]:
        """Return the training-loss curve of each run, by cell key: (steps, mean loss) at up to 50 points."""
        with self.translate_errors():
            rows = self.connection.execute("SELECT key, curve FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        try:  # the loss may be infinite shortly before a run diverges
            return {
                key: [(int(step), float(loss)) for step, loss in parse_json(curve, infinite=True)]
                for key, curve in rows
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise self.damaged("a training curve", error) from error

    def put_experiment(self, experiment: StoredExperiment) -> None:
        """Add an experiment, or replace its row."""
        values = asdict(experiment) | {"choice": json.dumps(experiment.choice) if experiment.choice else None}
        with self.transaction():
            self.connection.execute(PUT_EXPERIMENT, values)

    def put_invocation(self, invocation: Invocation) -> int:
        """Add a command and return its id, which the rows that it writes refer to."""
        values = {**asdict(invocation), "versions": _sorted_json(invocation.versions), "started_at": _now()}
        with self.transaction():
            cursor = self.connection.execute(PUT_INVOCATION, values)
        return int(cursor.lastrowid or 0)

    def put_runs(
        self,
        runs: Mapping[str, Run],
        *,
        experiment: str,
        invocation: int,
        worker: Worker,
        dtype: str,
        left_out: Mapping[str, LeftOut] = MappingProxyType({}),
    ) -> None:
        """Add the runs of a block in one transaction. A run whose key exists already is not changed.

        Args:
            runs: cell key -> run.
            experiment: key of the experiment.
            invocation: id of the command that ran the block.
            worker: the process that trained the runs.
            dtype: dtype of the training.
            left_out: cell key -> cell that an adaptive search did not train to the end. Existing rows are replaced.
        """
        with self.transaction():
            origin = {"experiment": experiment, "invocation": invocation}
            run_origin = {**origin, "worker": self._worker_id(worker), "dtype": dtype}
            for key, run in runs.items():
                values = {**asdict(run), "key": key, "curve": json.dumps(run.curve), "finished_at": _now()}
                self.connection.execute(PUT_RUN, values | run_origin)
            cells = [{**asdict(cell), "key": key, **origin} for key, cell in left_out.items()]
            self.connection.executemany(PUT_LEFT_OUT, cells)

    def measurements(self, experiment: str) -> pd.DataFrame:
        """Return S̄ along short runs; columns depth, lr, seed, step, S_bar."""
        query = (
            "SELECT depth, lr, seed, step, S_bar FROM measurements WHERE experiment = ? ORDER BY depth, lr, seed, step"
        )
        return self._query_if_exists("measurements", query, experiment, ["depth", "lr", "seed", "step", "S_bar"])

    def laws(self, experiment: str) -> pd.DataFrame:
        """Return η* by formula; columns rule, depth, lr_star."""
        query = "SELECT rule, depth, lr_star FROM laws WHERE experiment = ? ORDER BY rule, depth"
        return self._query_if_exists("laws", query, experiment, ["rule", "depth", "lr_star"])

    def left_out(self, experiment: str) -> pd.DataFrame:
        """Return the cells without a run that adaptive searches did not train to the end.

        The columns are key, depth, lr, seed, steps.
        """
        query = (
            "SELECT key, depth, lr, seed, steps FROM left_out WHERE experiment = ? "
            "AND key NOT IN (SELECT key FROM runs) ORDER BY depth, seed, lr"
        )
        return self._query_if_exists("left_out", query, experiment, ["key", "depth", "lr", "seed", "steps"])

    def put_measurements(self, measurements: Iterable[Measurement], *, experiment: str, invocation: int) -> None:
        """Add measurements. Existing measurements are not changed."""
        with self.transaction():
            self.connection.executemany(
                PUT_MEASUREMENT,
                [{**asdict(row), "experiment": experiment, "invocation": invocation} for row in measurements],
            )

    def put_laws(self, laws: Mapping[str, Mapping[int, float]], *, experiment: str, invocation: int) -> None:
        """Add η* by rule and depth. Existing values are replaced, because they can be recomputed at any time."""
        with self.transaction():
            self.connection.executemany(
                PUT_LAW,
                [(experiment, rule, depth, lr, invocation) for rule, law in laws.items() for depth, lr in law.items()],
            )

    def _parse(self, text: str) -> Any:
        try:
            return parse_json(text, infinite=True)
        except ValueError as error:
            raise self.damaged("a JSON value", error) from error

    def damaged(self, what: str, error: Exception) -> InputError:
        """The error for a value that cannot be parsed."""
        return InputError(f"{self.path} is damaged: {what} is invalid ({error}); restore a backup")

    def _query(self, query: str, experiment: str) -> pd.DataFrame:
        with self.translate_errors():
            cursor = self.connection.execute(query, (experiment,))
            rows = cursor.fetchall()
        return pd.DataFrame.from_records(rows, columns=[column[0] for column in cursor.description])

    def _query_if_exists(self, table: str, query: str, experiment: str, columns: list[str]) -> pd.DataFrame:
        """Return the rows of a table; none if the store is of an earlier version that does not have the table."""
        with self.translate_errors():
            rows = self.connection.execute(query, (experiment,)).fetchall() if self.has_table(table) else []
        return pd.DataFrame(rows, columns=columns)

    def _worker_id(self, worker: Worker) -> int:
        """Return the id of a worker, which is added if necessary."""
        values = {**asdict(worker), "versions": _sorted_json(worker.versions)}
        where = "host = :host AND device = :device AND threads = :threads AND versions = :versions"
        self.connection.execute(PUT_WORKER, values)
        return int(self.connection.execute(f"SELECT id FROM workers WHERE {where}", values).fetchone()[0])


def _sorted_json(content: Mapping[str, str]) -> str:
    return json.dumps(dict(content), sort_keys=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
