"""Add the runs and measurements of one store to another."""

from typing import Any

from ammup.errors import InputError
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.store import Store

Row = dict[str, Any]
# Runs that both stores contain are compared in these columns.
COMPARED_COLUMNS = ("val_accuracy", "val_loss", "diverged")
# The tables to merge, and the columns that identify a row of an experiment.
KEY_COLUMNS = {
    "runs": ("key",),
    "measurements": ("depth", "lr", "seed", "step"),
    "laws": ("rule", "depth"),
    "left_out": ("key",),
}


def merge(ours: Store, theirs: Store) -> tuple[int, int]:
    """Copy the rows of the store ``theirs`` that the store ``ours`` does not contain.

    Runs that both stores contain are not changed in ``ours``.

    Returns:
        (Number of runs added, number of runs in both stores whose validation accuracy or loss or divergence differs).

    Raises:
        InputError: an experiment that both stores contain was trained on different data, or ``theirs`` is damaged.
    """
    added = differ = 0
    for experiment in theirs.experiments():
        _add_experiment(ours, theirs, experiment)
        with ours.transaction():
            copier = _Copier(ours, theirs)
            runs_added, runs_differing = copier.copy_table("runs", experiment.key)
            for table in ("measurements", "laws", "left_out"):
                copier.copy_table(table, experiment.key)
        added, differ = added + runs_added, differ + runs_differing
    return added, differ


def _add_experiment(ours: Store, theirs: Store, experiment: StoredExperiment) -> None:
    """Add an experiment of ``theirs`` to ``ours``, or check that it has the same data there."""
    existing = ours.experiment(experiment.key)
    if existing is None:
        ours.put_experiment(experiment)
        return
    digests = {digest for digest in (existing.data_digest, experiment.data_digest) if digest}
    if len(digests) > 1:
        raise InputError(
            f"{theirs.path}: the data of experiment {experiment.name!r} do not match the digest in {ours.path}; it is "
            "not merged: use the same data, or another store"
        )


class _Copier:
    """Copies rows and the rows of other tables that they refer to, which get new ids."""

    def __init__(self, ours: Store, theirs: Store) -> None:
        self.ours, self.theirs = ours, theirs
        self.ids: dict[tuple[str, int], int] = {}

    def copy_table(self, table: str, experiment: str) -> tuple[int, int]:
        """Copy the missing rows of an experiment in one table.

        Returns:
            (Number of rows added, number of rows of both stores that differ in the compared columns).
        """
        ours, theirs = (self._read(store, table, experiment) for store in (self.ours, self.theirs))
        compared = COMPARED_COLUMNS if table == "runs" else ()
        common = [(ours[key], row) for key, row in theirs.items() if key in ours]
        differ = sum(any(our[name] != their[name] for name in compared) for our, their in common)
        new = [row for key, row in theirs.items() if key not in ours]
        for row in new:
            for target, column in (("invocations", "invocation"), ("workers", "worker")):
                if column in row:
                    row[column] = self._our_id(target, row[column])
            self._insert(table, row)
        return len(new), differ

    def _read(self, store: Store, table: str, experiment: str) -> dict[tuple[Any, ...], Row]:
        """Read the rows of an experiment, by the values of their key columns; none if the table does not exist."""
        if not store.has_table(table):
            return {}
        names = self._columns(table)
        query = f"SELECT {', '.join(names)} FROM {table} WHERE experiment = ?"
        with store.translate_errors():
            rows = [dict(zip(names, row, strict=True)) for row in store.connection.execute(query, (experiment,))]
        return {tuple(row[name] for name in KEY_COLUMNS[table]): row for row in rows}

    def _columns(self, table: str) -> tuple[str, ...]:
        """Return the column names of a table in ``ours``; names from the other file are never put into SQL."""
        rows = self.ours.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return tuple(name for (name,) in rows)

    def _our_id(self, table: str, their_id: int) -> int:
        """Return the id in ``ours`` of a row of ``theirs``, which is copied if necessary."""
        if (table, their_id) not in self.ids:
            self.ids[table, their_id] = self._find_or_copy(table, their_id)
        return self.ids[table, their_id]

    def _find_or_copy(self, table: str, their_id: int) -> int:
        """Return the id of the row in ``ours`` with the same values; insert the row if there is none."""
        names = [name for name in self._columns(table) if name != "id"]
        query = f"SELECT {', '.join(names)} FROM {table} WHERE id = ?"
        with self.theirs.translate_errors():
            values = self.theirs.connection.execute(query, (their_id,)).fetchone()
        if values is None:
            raise InputError(
                f"{self.theirs.path} is damaged: its runs refer to row {their_id} of {table}, which is missing; "
                "restore a backup"
            )
        row = dict(zip(names, values, strict=True))
        where = " AND ".join(f"{name} IS :{name}" for name in row)
        existing = self.ours.connection.execute(f"SELECT id FROM {table} WHERE {where}", row).fetchone()
        return int(existing[0]) if existing else self._insert(table, row)

    def _insert(self, table: str, row: Row) -> int:
        """Insert a row and return its id."""
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        cursor = self.ours.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row)
        return int(cursor.lastrowid or 0)
