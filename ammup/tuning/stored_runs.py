"""The runs of a tuning in the SQLite file that also holds sweeps; each run is committed when it ends."""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ammup.experiments.store import Store
from ammup.experiments.sweep import this_invocation
from ammup.parsing import parse_json
from ammup.tuning.progress import TuningRun

COLUMNS = (
    *("depth", "lr", "seed", "budget", "until", "purpose", "outcome", "message", "steps", "curve", "score", "seconds"),
)
GET = f"SELECT {', '.join(COLUMNS)} FROM tuning_runs WHERE tuning = ? AND budget = ? ORDER BY id"
PUT = (
    f"INSERT INTO tuning_runs (tuning, {', '.join(COLUMNS)}, finished_at, invocation) "
    f"VALUES (:tuning, {', '.join(f':{name}' for name in COLUMNS)}, :finished_at, :invocation)"
)
PUT_TUNING = "INSERT INTO tunings (key, name) VALUES (?, ?) ON CONFLICT DO NOTHING"


class StoredRuns:
    """The runs of one trainer with complete runs of ``budget`` steps, in a file that is open for writing.

    Args:
        path: path of the SQLite file; it is created if it does not exist.
        name: the function or the command, for readers.
        identity: a text that is equal for trainers whose runs may be compared.
        budget: steps of a complete run.

    Raises:
        InputError: the file cannot be written, is locked by another process, or is not a store.
    """

    def __init__(self, path: Path, *, name: str, identity: str, budget: int) -> None:
        self.key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.name, self.budget = name, budget
        self.store = Store(path, mode="write")
        self.invocation: int | None = None  # the id of the running command; written with its first run

    def __enter__(self) -> "StoredRuns":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def runs(self) -> tuple[TuningRun, ...]:
        """All runs, in the order in which they ended."""
        with self.store.translate_errors():
            rows = self.store.connection.execute(GET, (self.key, self.budget)).fetchall()
        return tuple(_run(dict(zip(COLUMNS, row, strict=True)), self.store) for row in rows)

    def put(self, run: TuningRun) -> None:
        """Add a run in one transaction."""
        if self.invocation is None:
            self.invocation = self.store.put_invocation(this_invocation())
        values: dict[str, Any] = {
            **asdict(run),
            "curve": json.dumps(run.curve),
            "tuning": self.key,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "invocation": self.invocation,
        }
        with self.store.transaction():
            self.store.connection.execute(PUT_TUNING, (self.key, self.name))
            self.store.connection.execute(PUT, values)


def _run(values: dict[str, Any], store: Store) -> TuningRun:
    """A row as a run; a loss may be NaN or infinite."""
    try:
        curve = tuple((int(step), float(loss)) for step, loss in parse_json(values["curve"], infinite=True))
        return TuningRun(**(values | {"curve": curve}))
    except (TypeError, ValueError, OverflowError) as error:
        raise store.damaged("a training curve", error) from error
