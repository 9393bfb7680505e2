"""SQL queries of a store, and dataclasses for its rows."""

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
