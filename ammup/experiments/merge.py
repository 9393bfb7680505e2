"""Add the runs and measurements of one store to another."""

from typing import Any

from ammup.errors import InputError
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.store import Store

Row = dict[str, Any]
# Columns in which two stores must agree on a run that both have.
SAME = ("val_accuracy", "val_loss", "diverged")
# Tables with rows of an experiment, and the columns that identify a row.
KEYS = {
    "runs": ("key",),
    "measurements": ("depth", "lr", "seed", "step"),
    "laws": ("rule", "depth"),
    "left_out": ("key",),
}


def merge(ours: Store, theirs: Store) -> tuple[int, int]:
    """Add the rows of the other store that ours does not have.

    Returns:
        (Number of runs added, number of runs that both have with another validation accuracy or loss; ours stay).

    Raises:
        InputError: an experiment of both stores has other data in the other store.
    """
    added = differ = 0
    for their in theirs.experiments():
        _take_over(ours, theirs, their)
        with ours.transaction():
            copy = _Copy(ours, theirs)
            new, other_values = copy.rows("runs", their.key)
            for table in ("measurements", "laws", "left_out"):
                copy.rows(table, their.key)
        added, differ = added + new, differ + other_values
    return added, differ


def _take_over(ours: Store, theirs: Store, their: StoredExperiment) -> None:
    our = ours.experiment(their.key)
    if our and our.data_digest and their.data_digest and our.data_digest != their.data_digest:
        raise InputError(
            f"{theirs.path}: the data of experiment {their.name!r} do not match the digest in {ours.path}; it is not "
            "merged: use the same data, or another store"
        )
    if our is None:
        ours.put_experiment(their)


class _Copy:
    """Copies rows together with the rows that they refer to, which get new ids."""

    def __init__(self, ours: Store, theirs: Store) -> None:
        self.ours, self.theirs = ours, theirs
        self.ids: dict[tuple[str, int], int] = {}

    def rows(self, table: str, experiment: str) -> tuple[int, int]:
        """(Number of rows added, number of rows with the same key and other values) of one table."""
        ours, theirs = (self._read(store, table, experiment) for store in (self.ours, self.theirs))
        names = [name for name in SAME if table == "runs"]
        differ = sum(any(ours[key][name] != row[name] for name in names) for key, row in theirs.items() if key in ours)
        new = [row for key, row in theirs.items() if key not in ours]
        for row in new:
            for target, column in (("invocations", "invocation"), ("workers", "worker")):
                if column in row:
                    row[column] = self._our_id(target, row[column])
            self._insert(table, row)
        return len(new), differ

    def _read(self, store: Store, table: str, experiment: str) -> dict[tuple[Any, ...], Row]:
        if not store.has_table(table):
            return {}
        names = self._columns(table)
        query = f"SELECT {', '.join(names)} FROM {table} WHERE experiment = ?"
        with store.translate_errors():
            rows = [dict(zip(names, row, strict=True)) for row in store.connection.execute(query, (experiment,))]
        return {tuple(row[name] for name in KEYS[table]): row for row in rows}

    def _columns(self, table: str) -> tuple[str, ...]:
        """The columns of our table: names from the other file never become SQL."""
        rows = self.ours.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return tuple(name for (name,) in rows)

    def _our_id(self, table: str, their_id: int) -> int:
        """The id in our store of a row of theirs."""
        if (table, their_id) not in self.ids:
            self.ids[table, their_id] = self._copied(table, their_id)
        return self.ids[table, their_id]

    def _copied(self, table: str, their_id: int) -> int:
        names = [name for name in self._columns(table) if name != "id"]
        query = f"SELECT {', '.join(names)} FROM {table} WHERE id = ?"
        with self.theirs.translate_errors():
            found = self.theirs.connection.execute(query, (their_id,)).fetchone()
        if found is None:
            raise InputError(
                f"{self.theirs.path} is damaged: its runs refer to row {their_id} of {table}, which is missing; "
                "restore a copy"
            )
        row = dict(zip(names, found, strict=True))
        where = " AND ".join(f"{name} IS :{name}" for name in row)
        here = self.ours.connection.execute(f"SELECT id FROM {table} WHERE {where}", row).fetchone()
        return int(here[0]) if here else self._insert(table, row)

    def _insert(self, table: str, row: Row) -> int:
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        cursor = self.ours.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row)
        return int(cursor.lastrowid or 0)
