"""An SQLite file that is checked and migrated when it is opened, with a lock for its writer and readable errors.

The file is in WAL mode: all complete transactions remain after a process is killed.
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

APPLICATION_ID = 0x616D6D75  # "ammu" in ASCII; it distinguishes stores of ammup from other SQLite files
# Files up to this size are completely checked when they are opened. Damage of a larger file is reported when the
# damaged part is read.
MAX_CHECKED_BYTES = 64 << 20


def check_is_file(path: Path) -> None:
    """Raise InputError unless the file of a store exists."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; `ammup sweep EXPERIMENT.toml --store {path}` creates it")


def has_header(path: Path) -> bool:
    """Whether a file begins as a store does: with SQLite's format and the application id."""
    with path.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:] == APPLICATION_ID.to_bytes(4, "big")


class Database:
    """An open SQLite file.

    Args:
        path: path of the file.
        migrations: SQL scripts that create the tables. Script n, counted from 1, upgrades version n - 1 to version n.
        mode: "read" never writes. "write" creates a missing file, migrates a file of an earlier version, and excludes
            other writers.

    Raises:
        InputError: the file does not exist (mode "read"), belongs to another program or to a newer version of ammup, is
            damaged, is being written to by another process, or cannot be written.
    """

    def __init__(self, path: Path, *, migrations: Sequence[str], mode: Literal["read", "write"]) -> None:
        self.path, self.migrations = path, migrations
        self.lock = _lock_of(path) if mode == "write" else None
        self.connection = self._open_for_reading() if self.lock is None else self._open_for_writing(self.lock)

    def __enter__(self: D) -> D:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        self.connection.close()
        if self.lock is not None:
            self.lock.release()

    def has_table(self, name: str) -> bool:
        """Return whether the file has this table; a file of an earlier version may lack it if it was not migrated."""
        return self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None

    @contextmanager
    def latest(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads the tables and views of the latest version.

        A file of an earlier version is copied into memory and migrated there; the file itself is not changed.
        """
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if version == len(self.migrations):
            yield self.connection
            return
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            with self.translate_errors():
                self.connection.backup(copy)
                copy.execute("PRAGMA trusted_schema = OFF")
                self._migrate(copy)
            copy.execute("PRAGMA query_only = ON")
            yield copy

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the writes inside this context, or roll all of them back after an error."""
        with self.translate_errors():
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the original error is raised
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as InputError, with a remedy."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 cannot decode a message with damaged text
            raise InputError(_error_message(self.path, error)) from error

    def _open_for_reading(self) -> sqlite3.Connection:
        check_is_file(self.path)
        log, folder = Path(f"{self.path}-wal"), self.path.absolute().parent
        if os.access(self.path, os.W_OK) and os.access(folder, os.W_OK):
            connection = self._connect("mode=rw")  # so that the last connection removes the WAL files when it closes
            connection.execute("PRAGMA query_only = ON")
            return connection
        # Without permission to create the WAL files, SQLite opens the file only if it is declared immutable. This is
        # safe if there is no log or the log is empty.
        return self._connect("mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1")

    def _open_for_writing(self, lock: FileLock) -> sqlite3.Connection:
        check_writable(self.path)
        _acquire(lock, self.path)
        try:
            return self._connect("mode=rwc")
        except BaseException:
            lock.release()
            raise

    def _connect(self, options: str) -> sqlite3.Connection:
        """Open a connection with these URI options and check the file; mode=rwc also creates or migrates it."""
        with self.translate_errors():
            new = not self.path.exists() or self.path.stat().st_size == 0
            uri = f"{self.path.absolute().as_uri()}?{options}"
            if new and options == "mode=rwc":
                self._create()
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
            try:
                self._check(connection)
                if options == "mode=rwc":
                    self._migrate(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Check application id, version and integrity of the file, and set the options of the connection."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application_id != APPLICATION_ID:
            raise InputError(f"{self.path} is not a store of ammup; it is unchanged: use another --store")
        if version < 1:
            raise sqlite3.DatabaseError(f"schema version {version}")
        if version > len(self.migrations):
            raise InputError(
                f"{self.path} was written by a newer ammup (schema {version}; this version supports schemas up to "
                f"{len(self.migrations)}); upgrade ammup, or use another --store"
            )
        if self.path.stat().st_size <= MAX_CHECKED_BYTES:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
        connection.execute("PRAGMA trusted_schema = OFF")  # an untrusted file may contain triggers and views
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Migrate the file to the latest version, with one transaction for each version."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number, migration in enumerate(self.migrations[version:], start=version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;")

    def _create(self) -> None:
        """Create the file atomically, so that no incomplete store remains if the process is killed."""
        new = Path(f"{self.path}.new")  # only the process that holds the lock creates it
        for leftover in (Path(f"{new}-wal"), Path(f"{new}-shm")):
            leftover.unlink(missing_ok=True)
        with replacing(self.path, temporary=new), closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._migrate(connection)


def check_writable(path: Path) -> None:
    """Raise InputError if the file cannot be created or changed; nothing is written."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"{path} is read-only; make it writable, or use another --store")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder is read-only; make it writable, or use another --store")


def check_unlocked(path: Path) -> None:
    """Raise InputError if another process is writing to the file; nothing is written."""
    lock = _lock_of(path)
    if Path(lock.lock_file).exists():  # a lock that nobody ever had is not created
        _acquire(lock, path)
        lock.release()


def _lock_of(path: Path) -> FileLock:
    return FileLock(f"{path}.lock", timeout=0)


def _acquire(lock: FileLock, path: Path) -> None:
    """Acquire the lock of a file, or raise InputError if another process has it."""
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is writing to {path}; wait until it ends, or use another --store and merge the two "
            "afterwards (--merge)"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def _error_message(path: Path, error: Exception) -> str:
    """Return one line with the file, SQLite's message and a remedy."""
    text, name = " ".join(str(error).split()), getattr(error, "sqlite_errorname", "")
    if "FULL" in name or name.startswith("SQLITE_IOERR"):
        return f"{path} cannot be written ({text}); its content is safe: free some space and run the same command again"
    if "READONLY" in name or "CANTOPEN" in name:
        return f"{path} cannot be opened ({text}); make it and its folder writable, or use another --store"
    if "BUSY" in name or "LOCKED" in name:
        return f"{path} is locked by another process ({text}); run the same command again when that process has ended"
    return (
        f"{path} is damaged or not a store of ammup ({text}); it is unchanged: restore a backup, or recover its "
        f"content with `sqlite3 {path} .recover`"
    )
