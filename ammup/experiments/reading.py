"""`read_store`: the views of a store as DataFrames, or any other SQL query."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.store import Store
from ammup.experiments.views import VIEWS

# Errors of a query, unlike those of a damaged or locked file.
_QUERY_ERRORS = ("SQLITE_ERROR", "SQLITE_RANGE", "SQLITE_MISMATCH", "SQLITE_AUTH", "SQLITE_TOOBIG")


def read_store(
    path: Path | str, query: str = "sweep_runs", parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> pd.DataFrame:
    """Read a view of a store, or the result of an SQL query, as a DataFrame.

    The views are the stable read interface of a store: "sweep_runs", "learning_rates", "optima", "progress", "updates",
    "predictions" and "tune_runs" (docs/reference/results.md lists their columns). The store is not changed, and may be
    read-only or in use by a running sweep. A store that an earlier version of ammup wrote has no views; it is copied
    into memory, where they are added.

    Args:
        path: the store.
        query: the name of a view, or a SELECT statement.
        parameters: values for the placeholders of the statement: a sequence for ``?``, a mapping for ``:name``.

    Returns:
        One row for each row of the view or of the result; NULL becomes NaN or None.

    Raises:
        InputError: the file does not exist, is damaged or is not a store; or the query is invalid, changes the store or
            lacks parameters.

    Example:
        >>> import ammup, tempfile, pathlib
        >>> experiment = ammup.Experiment.from_toml('''
        ...     name = "demo"
        ...     model = {factory = "mlp", arguments = {width = 8, in_features = 192}}
        ...     data = {source = "synthetic", image_size = 8, train = 128, validation = 64}
        ...     grid = {depths = [2], lrs = [0.1, 0.2]}
        ... ''')
        >>> store = pathlib.Path(tempfile.mkdtemp()) / "runs.db"
        >>> runs = ammup.run_sweep(experiment, store=store, workers=1, progress=False)
        >>> ammup.read_store(store, "optima")[["experiment", "depth", "lrs"]].values.tolist()
        [['demo', 2, 2]]
        >>> ammup.read_store(store, "SELECT lr FROM sweep_runs WHERE lr < ?", [0.15])["lr"].tolist()
        [0.1]
    """
    statement = f"SELECT * FROM {query}" if query in VIEWS else query
    with Store(Path(path), mode="read") as store, store.latest() as connection, store.translate_errors():
        try:
            cursor = connection.execute(statement, parameters)
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "SQLITE_ERROR") in _QUERY_ERRORS:
                raise _invalid(query, error) from error
            if "readonly" in str(error):
                raise InputError(f"query={query!r} changes the store; give a SELECT statement") from error
            raise
    if cursor.description is None:
        raise InputError(f"query={query!r} returns no table; give a SELECT statement, or one of: {', '.join(VIEWS)}")
    return pd.DataFrame.from_records(rows, columns=[column[0] for column in cursor.description])


def _invalid(query: str, error: sqlite3.Error) -> InputError:
    return InputError(f"query={query!r}: {error}; give a SELECT statement, or one of: {', '.join(VIEWS)}")
