"""Runs and where they come from, in one SQLite file.

A run is written once, in one transaction with the others of its block, under its cell's content key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.database import Database
from ammup.measurement.replica import Run

_SCHEMA = """
CREATE TABLE experiments (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, specification TEXT NOT NULL, data_digest TEXT,
    strategy TEXT, choice TEXT
) STRICT;
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, command TEXT NOT NULL, folder TEXT NOT NULL, commit_id TEXT,
    dirty INTEGER, ammup_commit TEXT, ammup_dirty INTEGER, versions TEXT NOT NULL
) STRICT;
CREATE TABLE workers (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, device TEXT NOT NULL, threads INTEGER NOT NULL, versions TEXT NOT NULL,
    UNIQUE (host, device, threads, versions)
) STRICT;
CREATE TABLE runs (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL,
    lr REAL NOT NULL, seed INTEGER NOT NULL, val_accuracy REAL, val_loss REAL, train_loss REAL,
    diverged INTEGER NOT NULL, steps INTEGER NOT NULL, curve TEXT NOT NULL, seconds REAL NOT NULL,
    images_per_second REAL NOT NULL, dtype TEXT NOT NULL, strategy TEXT NOT NULL, finished_at TEXT NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id), worker INTEGER NOT NULL REFERENCES workers (id)
) STRICT;
CREATE INDEX runs_of_experiment ON runs (experiment, depth, seed, lr);
"""

_TABLE = """
SELECT e.name AS experiment, r.key, r.depth, r.lr, r.seed, r.val_accuracy, r.val_loss, r.train_loss, r.diverged,
    r.steps, r.seconds, r.images_per_second, r.dtype, r.strategy, r.finished_at, w.host, w.device, w.threads,
    w.versions AS worker_versions, i.id AS invocation, i.command, i.commit_id AS "commit", i.dirty, i.ammup_commit,
    i.ammup_dirty, i.versions
FROM runs r JOIN experiments e ON e.key = r.experiment JOIN invocations i ON i.id = r.invocation
    JOIN workers w ON w.id = r.worker
WHERE r.experiment = ? ORDER BY r.depth, r.seed, r.lr
"""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Where a run was trained."""

    host: str
    device: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A command that wrote to the store: ``commit`` is that of the folder it was given in."""

    command: str
    folder: str
    commit: str | None
    dirty: bool | None
    ammup_commit: str | None
    ammup_dirty: bool | None
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredExperiment:
    """An experiment as the store knows it.

    Attributes:
        key: shared by its cells.
        name: the last one it was run under.
        specification: its TOML when it was last run.
        data_digest: of the data it was trained on, once that is known.
        strategy: the strategy that its cells are trained with, once it is chosen.
        choice: the timings it was chosen by, or None.
    """

    key: str
    name: str
    specification: str
    data_digest: str | None
    strategy: str | None
    choice: Mapping[str, Any] | None


class Store(Database):
    """Runs by content key, their experiments, and where they come from; see :class:`Database` for opening it."""

    def __init__(self, path: Path, *, mode: Literal["read", "write"]) -> None:
        super().__init__(path, schema=_SCHEMA, mode=mode)

    def experiments(self) -> tuple[StoredExperiment, ...]:
        """All experiments, by name."""
        columns = "key, name, specification, data_digest, strategy, choice"
        with self.explained():
            rows = self.connection.execute(f"SELECT {columns} FROM experiments ORDER BY name, rowid").fetchall()
        return tuple(
            StoredExperiment(
                key=key,
                name=name,
                specification=specification,
                data_digest=digest,
                strategy=strategy,
                choice=json.loads(choice) if choice else None,
            )
            for key, name, specification, digest, strategy, choice in rows
        )

    def experiment(self, key: str) -> StoredExperiment | None:
        """The experiment with this key, if it is there."""
        return next((found for found in self.experiments() if found.key == key), None)

    def keys(self, experiment: str) -> frozenset[str]:
        """Keys of the stored cells of an experiment."""
        with self.explained():
            rows = self.connection.execute("SELECT key FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        return frozenset(key for (key,) in rows)

    def table(self, experiment: str) -> pd.DataFrame:
        """One row for each run, by depth, seed and learning rate, with all that it can be traced by."""
        with self.explained():
            table = pd.read_sql_query(_TABLE, self.connection, params=(experiment,))
        for name in ("val_accuracy", "val_loss", "train_loss"):
            table[name] = table[name].astype(float)
        return table.astype({"diverged": bool, "dirty": "boolean", "ammup_dirty": "boolean"})

    def curves(self, experiment: str) -> dict[str, list[tuple[int, float]]]:
        """The thinned training-loss curve of each run, by cell key."""
        with self.explained():
            rows = self.connection.execute("SELECT key, curve FROM runs WHERE experiment = ?", (experiment,)).fetchall()
        return {key: [(int(step), float(loss)) for step, loss in json.loads(curve)] for key, curve in rows}

    def put_experiment(self, experiment: StoredExperiment) -> None:
        """Add an experiment, or replace what is known of it."""
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
        """Add a command, and return the number that its runs refer to."""
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
        self, runs: Mapping[str, Run], *, experiment: str, invocation: int, worker: Worker, dtype: str
    ) -> None:
        """Add a block of runs by cell key, all or none; a key that is there already is left as it is."""
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

    def merge(self, other: "Store") -> tuple[int, int]:
        """Add the runs of another store that are not here.

        Returns:
            (runs added, runs that are in both with another validation accuracy or loss, of which ours are kept).

        Raises:
            InputError: the other store has an experiment of ours on data of other content.
        """
        added = differ = 0
        for theirs in other.experiments():
            ours = self.experiment(theirs.key)
            if ours and ours.data_digest and theirs.data_digest and ours.data_digest != theirs.data_digest:
                raise InputError(
                    f"{other.path} has experiment {theirs.name!r} on data of another content; nothing of it is merged"
                )
            if ours is None:
                self.put_experiment(theirs)
            new, other_values = self._merge_runs(other, theirs.key)
            added, differ = added + new, differ + other_values
        return added, differ

    def _merge_runs(self, other: "Store", experiment: str) -> tuple[int, int]:
        ours, theirs = (store._rows(experiment) for store in (self, other))
        same = ("val_accuracy", "val_loss", "diverged")
        differ = sum(any(ours[key][name] != row[name] for name in same) for key, row in theirs.items() if key in ours)
        new = [row for key, row in theirs.items() if key not in ours]
        numbers: dict[str, dict[int, int]] = {"invocations": {}, "workers": {}}
        with self.transaction():
            for row in new:
                for table, column in (("invocations", "invocation"), ("workers", "worker")):
                    known = numbers[table]
                    if row[column] not in known:
                        known[row[column]] = self._copy_row(other, table, row[column])
                    row[column] = known[row[column]]
                columns = ", ".join(row)
                places = ", ".join(f":{name}" for name in row)
                self.connection.execute(f"INSERT INTO runs ({columns}) VALUES ({places})", row)
        return len(new), differ

    def _rows(self, experiment: str) -> dict[str, dict[str, Any]]:
        with self.explained():
            cursor = self.connection.execute("SELECT * FROM runs WHERE experiment = ?", (experiment,))
            names = [column[0] for column in cursor.description]
            return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}

    def _copy_row(self, other: "Store", table: str, number: int) -> int:
        """Copy a row of ``table`` under the number it has here; the same row again is the same number."""
        cursor = other.connection.execute(f"SELECT * FROM {table} WHERE id = ?", (number,))
        row = {column[0]: value for column, value in zip(cursor.description, cursor.fetchone(), strict=True)}
        del row["id"]
        where = " AND ".join(f"{name} IS :{name}" for name in row)
        here = self.connection.execute(f"SELECT id FROM {table} WHERE {where}", row).fetchone()
        if here:
            return int(here[0])
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        return int(self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row).lastrowid or 0)

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
