"""Add the runs and measurements of one store to another."""

from typing import Any

from ammup.errors import InputError
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.store import Store

Row = dict[str, Any]
# What two stores must agree on where both hold a run.
SAME = ("val_accuracy", "val_loss", "diverged")
# What a store may hold of an experiment, and what tells one row of it from another.
KEYS = {
    "runs": ("key",),
    "measurements": ("depth", "lr", "seed", "step"),
    "laws": ("rule", "depth"),
    "left_out": ("key",),
}


def merge(ours: Store, theirs: Store) -> tuple[int, int]:
    """Add what the other store holds and ours does not.

    Returns:
        (runs added, runs that are in both with another validation accuracy or loss, of which ours are kept).

    Raises:
        InputError: the other store has an experiment of ours on data of other content.
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
            f"{theirs.path} has experiment {their.name!r} on data of another content; nothing of it is merged"
        )
    if our is None:
        ours.put_experiment(their)


class _Copy:
    """Copies rows together with what they refer to, under the numbers that has here."""

    def __init__(self, ours: Store, theirs: Store) -> None:
        self.ours, self.theirs = ours, theirs
        self.numbers: dict[tuple[str, int], int] = {}

    def rows(self, table: str, experiment: str) -> tuple[int, int]:
        """(rows added, rows of the same key and other values) of one table."""
        ours, theirs = (self._read(store, table, experiment) for store in (self.ours, self.theirs))
        names = [name for name in SAME if table == "runs"]
        differ = sum(any(ours[key][name] != row[name] for name in names) for key, row in theirs.items() if key in ours)
        new = [row for key, row in theirs.items() if key not in ours]
        for row in new:
            for target, column in (("invocations", "invocation"), ("workers", "worker")):
                if column in row:
                    row[column] = self._number(target, row[column])
            self._insert(table, row)
        return len(new), differ

    def _read(self, store: Store, table: str, experiment: str) -> dict[tuple[Any, ...], Row]:
        if not store.has_table(table):
            return {}
        names = self._columns(table)
        query = f"SELECT {', '.join(names)} FROM {table} WHERE experiment = ?"
        with store.explained():
            rows = [dict(zip(names, row, strict=True)) for row in store.connection.execute(query, (experiment,))]
        return {tuple(row[name] for name in KEYS[table]): row for row in rows}

    def _columns(self, table: str) -> tuple[str, ...]:
        """Those of our table: whatever the other file calls its own never becomes SQL."""
        rows = self.ours.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return tuple(name for (name,) in rows)

    def _number(self, table: str, number: int) -> int:
        """The number that a row of theirs has here; the same row again is the same number."""
        if (table, number) not in self.numbers:
            self.numbers[table, number] = self._copied(table, number)
        return self.numbers[table, number]

    def _copied(self, table: str, number: int) -> int:
        names = [name for name in self._columns(table) if name != "id"]
        query = f"SELECT {', '.join(names)} FROM {table} WHERE id = ?"
        with self.theirs.explained():
            found = self.theirs.connection.execute(query, (number,)).fetchone()
        if found is None:
            raise InputError(
                f"{self.theirs.path} is damaged: its runs refer to {table} {number}, which it does not hold"
            )
        row = dict(zip(names, found, strict=True))
        where = " AND ".join(f"{name} IS :{name}" for name in row)
        here = self.ours.connection.execute(f"SELECT id FROM {table} WHERE {where}", row).fetchone()
        return int(here[0]) if here else self._insert(table, row)

    def _insert(self, table: str, row: Row) -> int:
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        cursor = self.ours.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row)
        return int(cursor.lastrowid or 0)
