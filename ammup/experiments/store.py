"""Runs and their provenance, in one SQLite file.

A run is written once, under its cell's content key, in one transaction with the other runs of its block.
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
    ORIGINS,
    SHORT,
    TABLE,
    Invocation,
    LeftOut,
    StoredExperiment,
    Worker,
)
from ammup.parsing import parse_json
from ammup.training.runs import Measurement, Run

SHORT_COLUMNS = {
    "depth": np.int64,
    "seed": np.int64,
    "lr": np.float64,
    "val_accuracy": np.float64,
    "val_loss": np.float64,
    "diverged": np.bool_,
}
CHUNK = 50_000


class Store(Database):
    """Runs by content key, their experiments and provenance; see :class:`Database` for opening it."""

    def __init__(self, path: Path, *, mode: Literal["read", "write"]) -> None:
        super().__init__(path, migrations=MIGRATIONS, mode=mode)

    def experiments(self) -> tuple[StoredExperiment, ...]:
        """All experiments, by name."""
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
                choice=self._parsed(choice) if choice else None,
            )
            for key, name, specification, digest, strategy, choice in rows
        )

    def experiment(self, key: str) -> StoredExperiment | None:
        """The experiment with this key, or None."""
        return next((found for found in self.experiments() if found.key == key), None)

    def keys(self, experiment: str) -> frozenset[str]:
        """Keys of the stored cells of an experiment."""
        with self.translate_errors():
            rows = self.connection.execute("SELECT key FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        return frozenset(key for (key,) in rows)

    def table(self, experiment: str) -> pd.DataFrame:
        """One row for each run, by depth, seed and learning rate, with its provenance."""
        table = self._frame(TABLE, experiment)
        for name in ("val_accuracy", "val_loss", "train_loss"):
            table[name] = table[name].astype(float)
        for name in ("dirty", "ammup_dirty"):
            table[name] = table[name].map({0: False, 1: True}).astype("boolean")
        return table.astype({"diverged": bool})

    def runs(self, experiment: str) -> pd.DataFrame:
        """The columns that fits need, by depth, seed and learning rate: a million runs in two seconds."""
        names, kinds = zip(*SHORT_COLUMNS.items(), strict=True)
        parts = []
        with self.translate_errors():
            cursor = self.connection.execute(SHORT, (experiment,))
            while rows := cursor.fetchmany(CHUNK):
                columns = zip(zip(*rows, strict=True), kinds, strict=True)
                parts.append([np.fromiter(column, kind, len(rows)) for column, kind in columns])
        if not parts:
            return pd.DataFrame({name: np.array([], dtype=kind) for name, kind in SHORT_COLUMNS.items()})
        runs = pd.DataFrame(dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True)), copy=False)
        return runs.replace({name: {-np.inf: np.nan} for name in ("val_accuracy", "val_loss")})

    def origins(self, experiment: str) -> pd.DataFrame:
        """The provenance of the runs, a row for each combination: number of runs, their seconds, first and last end."""
        return self._frame(ORIGINS, experiment)

    def curves(self, experiment: str) -> dict[str, list[tuple[int, float]]]:
        """The thinned training-loss curve of each run, by cell key."""
        with self.translate_errors():
            rows = self.connection.execute("SELECT key, curve FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        try:  # the loss of a run before it diverges may be infinite
            return {
                key: [(int(step), float(loss)) for step, loss in parse_json(curve, infinite=True)]
                for key, curve in rows
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged("a training curve", error) from error

    def put_experiment(self, experiment: StoredExperiment) -> None:
        """Add an experiment, or replace its row."""
        values = asdict(experiment) | {"choice": json.dumps(experiment.choice) if experiment.choice else None}
        with self.transaction():
            self.connection.execute(
                "INSERT INTO experiments (key, name, specification, data_digest, strategy, choice) "
                "VALUES (:key, :name, :specification, :data_digest, :strategy, :choice) "
                "ON CONFLICT (key) DO UPDATE SET name = :name, specification = :specification, "
                "data_digest = :data_digest, strategy = :strategy, choice = :choice",
                values,
            )

    def put_invocation(self, invocation: Invocation) -> int:
        """Add a command, and return the id that its runs refer to."""
        values = {**asdict(invocation), "versions": _sorted_json(invocation.versions), "started_at": _now()}
        with self.transaction():
            cursor = self.connection.execute(
                "INSERT INTO invocations (started_at, command, folder, commit_id, dirty, ammup_commit, ammup_dirty, "
                "versions) VALUES (:started_at, :command, :folder, :commit, :dirty, :ammup_commit, :ammup_dirty, "
                ":versions)",
                values,
            )
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
        """Add a block of runs by cell key, all or none; the run of an existing key is not changed.

        ``left_out``: cells that the search of these runs did not train to the end; those of a later one replace them.
        """
        with self.transaction():
            place = self._worker(worker)
            for key, run in runs.items():
                self.connection.execute(
                    "INSERT INTO runs VALUES (:key, :experiment, :depth, :lr, :seed, :val_accuracy, "
                    ":val_loss, :train_loss, :diverged, :steps, :curve, :seconds, :images_per_second, :dtype, "
                    ":strategy, :finished_at, :invocation, :worker) ON CONFLICT (key) DO NOTHING",
                    {
                        **asdict(run),
                        "key": key,
                        "experiment": experiment,
                        "curve": json.dumps(run.curve),
                        "dtype": dtype,
                        "finished_at": _now(),
                        "invocation": invocation,
                        "worker": place,
                    },
                )
            self.connection.executemany(
                "INSERT OR REPLACE INTO left_out VALUES (:key, :experiment, :depth, :lr, :seed, :steps, :invocation)",
                [
                    {**asdict(cell), "key": key, "experiment": experiment, "invocation": invocation}
                    for key, cell in left_out.items()
                ],
            )

    def measurements(self, experiment: str) -> pd.DataFrame:
        """S̄ along short runs: depth, lr, seed, step, S_bar."""
        query = (
            "SELECT depth, lr, seed, step, S_bar FROM measurements WHERE experiment = ? ORDER BY depth, lr, seed, step"
        )
        return self._later("measurements", query, experiment, ["depth", "lr", "seed", "step", "S_bar"])

    def laws(self, experiment: str) -> pd.DataFrame:
        """η* by formula: rule, depth, lr_star."""
        query = "SELECT rule, depth, lr_star FROM laws WHERE experiment = ? ORDER BY rule, depth"
        return self._later("laws", query, experiment, ["rule", "depth", "lr_star"])

    def left_out(self, experiment: str) -> pd.DataFrame:
        """Cells that adaptive searches did not train to the end: key, depth, lr, seed, steps."""
        query = (
            "SELECT key, depth, lr, seed, steps FROM left_out WHERE experiment = ? "
            "AND key NOT IN (SELECT key FROM runs) ORDER BY depth, seed, lr"
        )
        return self._later("left_out", query, experiment, ["key", "depth", "lr", "seed", "steps"])

    def put_measurements(self, found: Iterable[Measurement], *, experiment: str, invocation: int) -> None:
        """Add measurements; existing ones are not changed."""
        with self.transaction():
            self.connection.executemany(
                "INSERT INTO measurements VALUES (:experiment, :depth, :lr, :seed, :step, :S_bar, :invocation) "
                "ON CONFLICT DO NOTHING",
                [{**asdict(one), "experiment": experiment, "invocation": invocation} for one in found],
            )

    def put_laws(self, laws: Mapping[str, Mapping[int, float]], *, experiment: str, invocation: int) -> None:
        """Add η* by rule and depth; existing values are replaced, since they can be computed again."""
        with self.transaction():
            self.connection.executemany(
                "INSERT OR REPLACE INTO laws VALUES (?, ?, ?, ?, ?)",
                [(experiment, rule, depth, lr, invocation) for rule, law in laws.items() for depth, lr in law.items()],
            )

    def _parsed(self, text: str) -> Any:
        try:
            return parse_json(text, infinite=True)
        except ValueError as error:
            raise self._damaged("a text in it", error) from error

    def _damaged(self, what: str, error: Exception) -> InputError:
        return InputError(f"{self.path} is damaged: {what} is invalid ({error}); restore a copy")

    def _frame(self, query: str, experiment: str) -> pd.DataFrame:
        with self.translate_errors():
            cursor = self.connection.execute(query, (experiment,))
            rows = cursor.fetchall()
        return pd.DataFrame.from_records(rows, columns=[column[0] for column in cursor.description])

    def _later(self, table: str, query: str, experiment: str, columns: list[str]) -> pd.DataFrame:
        """The rows of a table that a store of an earlier version does not have."""
        with self.translate_errors():
            rows = self.connection.execute(query, (experiment,)).fetchall() if self.has_table(table) else []
        return pd.DataFrame(rows, columns=columns)

    def _worker(self, worker: Worker) -> int:
        values = {**asdict(worker), "versions": _sorted_json(worker.versions)}
        where = "host = :host AND device = :device AND threads = :threads AND versions = :versions"
        self.connection.execute(
            "INSERT INTO workers (host, device, threads, versions) VALUES (:host, :device, :threads, :versions) "
            "ON CONFLICT DO NOTHING",
            values,
        )
        return int(self.connection.execute(f"SELECT id FROM workers WHERE {where}", values).fetchone()[0])


def _sorted_json(content: Mapping[str, str]) -> str:
    return json.dumps(dict(content), sort_keys=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
