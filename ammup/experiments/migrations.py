"""The tables of a store, as an ordered list of migrations.

Migration n, counted from 1, upgrades a store from version n - 1 to version n; a new store runs all migrations. The
version is SQLite's ``user_version``. Append new migrations to the list, and never change existing ones.

Stores that were written before the migrations were numbered have version 1, but may already contain tables of later
versions. For this reason, migrations up to version 4 use IF NOT EXISTS.

Views are defined in :mod:`ammup.experiments.views`. After a change there, append ``CREATE_VIEWS`` to the list again, so
that existing stores get the new definition.
"""

from ammup.experiments.views import VIEWS

BASE = """
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

SHORT_RUNS = """
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
"""

ADAPTIVE_SEARCH = """
CREATE TABLE IF NOT EXISTS left_out (
    key TEXT PRIMARY KEY, experiment TEXT NOT NULL REFERENCES experiments (key), depth INTEGER NOT NULL,
    lr REAL NOT NULL, seed INTEGER NOT NULL, steps INTEGER NOT NULL,
    invocation INTEGER NOT NULL REFERENCES invocations (id)
) STRICT;
"""

# A covering index with all columns that fits need; without it, they would also read the training curve of each run.
COVERING_INDEX = """
CREATE INDEX IF NOT EXISTS runs_in_short ON runs (
    experiment, depth, seed, lr, val_accuracy, val_loss, diverged, invocation, worker, dtype, strategy, seconds,
    finished_at
);
DROP INDEX IF EXISTS runs_of_experiment;
"""

# Runs of `ammup tune` (ammup/tuning). A run that failed is repeated under another id, so that every attempt is counted.
TUNING = """
CREATE TABLE IF NOT EXISTS tunings (key TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tuning_runs (
    id INTEGER PRIMARY KEY, tuning TEXT NOT NULL REFERENCES tunings (key), depth INTEGER NOT NULL, lr REAL NOT NULL,
    seed INTEGER NOT NULL, budget INTEGER NOT NULL, until INTEGER NOT NULL, purpose TEXT NOT NULL,
    outcome TEXT NOT NULL, message TEXT NOT NULL, steps INTEGER NOT NULL, curve TEXT NOT NULL, score REAL,
    seconds REAL NOT NULL, finished_at TEXT NOT NULL, invocation INTEGER NOT NULL REFERENCES invocations (id)
) STRICT;
CREATE INDEX IF NOT EXISTS runs_of_tuning ON tuning_runs (tuning);
"""

CREATE_VIEWS = "".join(
    f"DROP VIEW IF EXISTS {name};\nCREATE VIEW {name} AS {view.select.strip()};\n" for name, view in VIEWS.items()
)

MIGRATIONS = (BASE, SHORT_RUNS, ADAPTIVE_SEARCH, COVERING_INDEX, TUNING, CREATE_VIEWS)
