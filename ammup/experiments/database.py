"""An SQLite file: checked and migrated when it is opened, with one writer at a time and readable errors.

The file is in WAL mode: after a process is killed, the last complete transaction remains.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from filelock import FileLock, Timeout

from ammup.atomic import replacing
from ammup.errors import InputError

D = TypeVar("D", bound="Database")

APPLICATION_ID = 0x616D6D75  # "ammu": distinguishes our files from other SQLite files
# Files of up to this size are checked completely when they are opened; damage of a larger file is reported when it is
# read.
CHECKED_BYTES = 64 << 20


class Database:
    """An open file.

    Args:
        path: of the file.
        migrations: SQL that makes the tables; number n, from 1, makes version n from version n - 1.
        mode: "read" (never writes), or "write" (creates a missing file, migrates one of an earlier version, and locks
            out other writers).

    Raises:
        InputError: a missing file in mode "read", a file of another program or of a newer ammup, a damaged one, one
            that another process is writing to, or one without write permission.
    """

    def __init__(self, path: Path, *, migrations: Sequence[str], mode: Literal["read", "write"]) -> None:
        self.path, self.migrations = path, migrations
        self.lock = FileLock(f"{path}.lock", timeout=0) if mode == "write" else None
        self.connection = self._reading() if self.lock is None else self._writing(self.lock)

    def __enter__(self: D) -> D:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let other writers in."""
        self.connection.close()
        if self.lock is not None:
            self.lock.release()

    def has_table(self, name: str) -> bool:
        """Whether the file has this table: one of an earlier version that is only read may lack it."""
        return self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is written inside, or nothing after an error."""
        with self.translate_errors():
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the first error is reported
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as InputError, with what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a message that quotes a damaged file
            raise InputError(_explanation(self.path, error)) from error

    def _reading(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise InputError(
                f"{self.path} does not exist; `ammup sweep EXPERIMENT.toml --store {self.path}` creates it"
            )
        log, folder = Path(f"{self.path}-wal"), self.path.absolute().parent
        if os.access(self.path, os.W_OK) and os.access(folder, os.W_OK):
            connection = self._opened("mode=rw")  # the last connection to close removes the files of WAL mode
            connection.execute("PRAGMA query_only = ON")
            return connection
        # Without permission to create those files: an empty log is not needed.
        return self._opened("mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1")

    def _writing(self, lock: FileLock) -> sqlite3.Connection:
        if not self.path.absolute().parent.is_dir():
            raise InputError(f"{self.path}: the folder {self.path.absolute().parent} does not exist")
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another process is writing to {self.path}; wait until it ends, or use another --store and --merge it "
                "afterwards"
            ) from error
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error}") from error
        try:
            if self.path.exists() and not os.access(self.path, os.W_OK):
                raise InputError(f"{self.path} is read-only; make it writable, or use another --store")
            return self._opened("mode=rwc")
        except BaseException:
            lock.release()
            raise

    def _opened(self, options: str) -> sqlite3.Connection:
        with self.translate_errors():
            new = not self.path.exists() or self.path.stat().st_size == 0
            name = f"{self.path.absolute().as_uri()}?{options}"
            if new and options == "mode=rwc":
                self._create()
            connection = sqlite3.connect(name, uri=True, isolation_level=None, timeout=30)
            try:
                self._check(connection)
                if options == "mode=rwc":
                    self._migrate(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        (identity,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if identity != APPLICATION_ID:
            raise InputError(f"{self.path} is not a store of ammup; it is unchanged: use another --store")
        if version < 1:
            raise sqlite3.DatabaseError(f"schema version {version}")
        if version > len(self.migrations):
            raise InputError(
                f"{self.path} was written by a newer ammup (schema {version}, this one reads {len(self.migrations)}); "
                "upgrade ammup, or use another --store"
            )
        if self.path.stat().st_size <= CHECKED_BYTES:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
        connection.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere may contain triggers and views
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the file to the latest version, each step in a transaction of its own."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number, migration in enumerate(self.migrations[version:], start=version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;")

    def _create(self) -> None:
        """Create the file atomically, so that a process that is killed here leaves no incomplete store."""
        new = Path(f"{self.path}.new")  # only the process that has the lock creates it
        for leftover in (Path(f"{new}-wal"), Path(f"{new}-shm")):
            leftover.unlink(missing_ok=True)
        with replacing(self.path, temporary=new), closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._migrate(connection)


def _explanation(path: Path, error: Exception) -> str:
    text, name = " ".join(str(error).split()), getattr(error, "sqlite_errorname", "")
    if "FULL" in name or name.startswith("SQLITE_IOERR"):
        return f"{path} cannot be written ({text}); its content is safe: free some space and run the same command"
    if "READONLY" in name or "CANTOPEN" in name:
        return f"{path} cannot be opened ({text}); make it and its folder writable, or use another --store"
    if "BUSY" in name or "LOCKED" in name:
        return f"{path} is locked by another process ({text}); run the same command again when that has ended"
    return (
        f"{path} is damaged or not a store of ammup ({text}); it is unchanged: restore a copy, or recover its "
        f"content with `sqlite3 {path} .recover`"
    )
