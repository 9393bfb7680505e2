"""The runs of a tuning in the SQLite file that also holds sweeps; each run is committed when it ends."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ammup.experiments.invocation import this_invocation
from ammup.experiments.store import Store
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


TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'tuning_runs'"
ALL = f"SELECT tuning, {', '.join(COLUMNS)} FROM tuning_runs ORDER BY id"


@dataclass(frozen=True, kw_only=True)
class StoredTuning:
    """The runs of one trainer with complete runs of one length.

    Attributes:
        name: the function or the command.
        budget: steps of a complete run.
        runs: all runs, in the order in which they ended.
    """

    name: str
    budget: int
    runs: tuple[TuningRun, ...]

    @property
    def probe_steps(self) -> int:
        """The number of steps after which losses are compared: those of the shortest requested run."""
        return min(run.until for run in self.runs)


def read_tunings(path: Path) -> tuple[StoredTuning, ...]:
    """All tunings of a store that have runs, in the order in which they were begun.

    Raises:
        InputError: the file cannot be read.
    """
    found: dict[tuple[str, int], list[TuningRun]] = {}
    with Store(path, mode="read") as store:
        with store.translate_errors():
            if not store.connection.execute(TABLE).fetchone():
                return ()  # written before there were tunings; a file that is read is not migrated
            names = dict(store.connection.execute("SELECT key, name FROM tunings").fetchall())
            rows = store.connection.execute(ALL).fetchall()
        for key, *values in rows:
            run = _run(dict(zip(COLUMNS, values, strict=True)), store)
            found.setdefault((key, run.budget), []).append(run)
    return tuple(
        StoredTuning(name=names[key], budget=budget, runs=tuple(runs)) for (key, budget), runs in found.items()
    )


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
