"""The tables of a store, and what their rows are called in Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = """
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
"""
# Tables that stores of the first ammup do not have; a store gets them when it is next written to, and an older ammup
# does not mind them.
# The index holds all that fits need of a run: without it they would read every training curve.
LATER = """
CREATE INDEX IF NOT EXISTS runs_in_short ON runs (
    experiment, depth, seed, lr, val_accuracy, val_loss, diverged, invocation, worker, dtype, strategy, seconds,
    finished_at
);
DROP INDEX IF EXISTS runs_of_experiment;
CREATE TABLE IF NOT EXISTS measurements (
    experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL, lr REAL NOT NULL,
    seed INTEGER NOT NULL, step INTEGER NOT NULL, S_bar REAL NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id), PRIMARY KEY (experiment, depth, lr, seed, step)
) STRICT;
CREATE TABLE IF NOT EXISTS laws (
    experiment TEXT NOT NULL REFERENCES experiments (key), rule TEXT NOT NULL, depth INTEGER NOT NULL,
    lr_star REAL NOT NULL, invocation INTEGER NOT NULL REFERENCES invocations (id),
    PRIMARY KEY (experiment, rule, depth)
) STRICT;
CREATE TABLE IF NOT EXISTS left_out (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL,
    lr REAL NOT NULL, seed INTEGER NOT NULL, steps INTEGER NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id)
) STRICT;
"""

TABLE = """
SELECT e.name AS experiment, r.key, r.depth, r.lr, r.seed, r.val_accuracy, r.val_loss, r.train_loss, r.diverged,
    r.steps, r.seconds, r.images_per_second, r.dtype, r.strategy, r.finished_at, w.host, w.device, w.threads,
    w.versions AS worker_versions, i.id AS invocation, i.command, i.commit_id AS "commit", i.dirty, i.ammup_commit,
    i.ammup_dirty, i.versions
FROM runs r JOIN experiments e ON e.key = r.experiment JOIN invocations i ON i.id = r.invocation
    JOIN workers w ON w.id = r.worker
WHERE r.experiment = ? ORDER BY r.depth, r.seed, r.lr
"""

ORIGINS = """
SELECT i.ammup_commit, w.device, w.threads, o.dtype, o.strategy, i.command, w.versions, o.runs, o.seconds, o.first,
    o.last
FROM (
    SELECT invocation, worker, dtype, strategy, count(*) AS runs, sum(seconds) AS seconds, min(finished_at) AS first,
        max(finished_at) AS last
    FROM runs WHERE experiment = ? GROUP BY invocation, worker, dtype, strategy
) o JOIN invocations i ON i.id = o.invocation JOIN workers w ON w.id = o.worker
"""
# No accuracy and no loss is -infinity, in which nothing ends: numpy reads a column without NULL in half the time.
SHORT = """
SELECT depth, seed, lr, ifnull(val_accuracy, -9e999), ifnull(val_loss, -9e999), diverged
FROM runs WHERE experiment = ? ORDER BY depth, seed, lr
"""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Where a run was trained."""

    host: str
    device: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A cell that an adaptive search did not train to the end, and how many steps it did train it."""

    depth: int
    lr: float
    seed: int
    steps: int


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
