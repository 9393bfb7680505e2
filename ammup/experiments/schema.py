"""SQL statements of a store, and dataclasses for its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RUNS_WITH_PROVENANCE = """
SELECT e.name AS experiment, r.key, r.depth, r.lr, r.seed, r.val_accuracy, r.val_loss, r.train_loss, r.diverged,
    r.steps, r.seconds, r.images_per_second, r.dtype, r.strategy, r.finished_at, w.host, w.device, w.threads,
    w.versions AS worker_versions, i.id AS invocation, i.command, i.commit_id AS "commit", i.dirty, i.ammup_commit,
    i.ammup_dirty, i.versions
FROM runs r JOIN experiments e ON e.key = r.experiment JOIN invocations i ON i.id = r.invocation
    JOIN workers w ON w.id = r.worker
WHERE r.experiment = ? ORDER BY r.depth, r.seed, r.lr
"""

PROVENANCE_COUNTS = """
SELECT i.ammup_commit, w.device, w.threads, o.dtype, o.strategy, i.command, w.versions, o.runs, o.seconds, o.first,
    o.last
FROM (
    SELECT invocation, worker, dtype, strategy, count(*) AS runs, sum(seconds) AS seconds, min(finished_at) AS first,
        max(finished_at) AS last
    FROM runs WHERE experiment = ? GROUP BY invocation, worker, dtype, strategy
) o JOIN invocations i ON i.id = o.invocation JOIN workers w ON w.id = o.worker
"""
# Only the columns that fits need. NULL is read as -infinity, which no accuracy or loss can be: numpy reads a column
# without NULL in half the time.
RUNS = """
SELECT depth, seed, lr, ifnull(val_accuracy, -9e999), ifnull(val_loss, -9e999), diverged
FROM runs WHERE experiment = ? ORDER BY depth, seed, lr
"""

PUT_EXPERIMENT = """
INSERT INTO experiments (key, name, specification, data_digest, strategy, choice)
VALUES (:key, :name, :specification, :data_digest, :strategy, :choice)
ON CONFLICT (key) DO UPDATE SET name = :name, specification = :specification, data_digest = :data_digest,
    strategy = :strategy, choice = :choice
"""
PUT_INVOCATION = """
INSERT INTO invocations (started_at, command, folder, commit_id, dirty, ammup_commit, ammup_dirty, versions)
VALUES (:started_at, :command, :folder, :commit, :dirty, :ammup_commit, :ammup_dirty, :versions)
"""
PUT_WORKER = """
INSERT INTO workers (host, device, threads, versions) VALUES (:host, :device, :threads, :versions)
ON CONFLICT DO NOTHING
"""
PUT_RUN = """
INSERT INTO runs VALUES (:key, :experiment, :depth, :lr, :seed, :val_accuracy, :val_loss, :train_loss, :diverged,
    :steps, :curve, :seconds, :images_per_second, :dtype, :strategy, :finished_at, :invocation, :worker)
ON CONFLICT (key) DO NOTHING
"""
PUT_LEFT_OUT = """
INSERT OR REPLACE INTO left_out VALUES (:key, :experiment, :depth, :lr, :seed, :steps, :invocation)
"""
PUT_MEASUREMENT = """
INSERT INTO measurements VALUES (:experiment, :depth, :lr, :seed, :step, :S_bar, :invocation)
ON CONFLICT DO NOTHING
"""
PUT_LAW = "INSERT OR REPLACE INTO laws VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """The process that trained a run."""

    host: str
    device: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A cell that an adaptive search did not train to the end, and the number of its training steps."""

    depth: int
    lr: float
    seed: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A command that wrote to the store. ``commit`` is the git commit of its working directory."""

    command: str
    folder: str
    commit: str | None
    dirty: bool | None
    ammup_commit: str | None
    ammup_dirty: bool | None
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredExperiment:
    """An experiment of a store.

    Attributes:
        key: the part of the content key that its cells share.
        name: its name when it was last run.
        specification: its TOML when it was last run.
        data_digest: digest of the training data; None before the first run.
        strategy: the strategy that its cells are trained with; None before it is chosen.
        choice: the timings of the strategies, from which ``strategy`` was chosen, or None.
    """

    key: str
    name: str
    specification: str
    data_digest: str | None
    strategy: str | None
    choice: Mapping[str, Any] | None
