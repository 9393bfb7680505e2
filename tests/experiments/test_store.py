"""The rows of a store."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from stores import RUN, put

from ammup.errors import InputError
from ammup.experiments.store import Store


def test_a_stored_run_is_read_with_its_provenance(path: Path) -> None:
    with Store(path, mode="read") as store:
        table = store.table("e")
        assert store.curves("e") == {"a": [(5, 2.25), (10, 2.0)], "b": []}
    row, diverged = table.to_dict("records")
    expected = {
        "experiment": "demo",
        "key": "a",
        "depth": 3,
        "lr": 0.1,
        "seed": 0,
        "val_accuracy": 0.25,
        "train_loss": float("inf"),
        "diverged": False,
        "steps": 10,
        "seconds": 1.5,
        "dtype": "float32",
        "strategy": "loop",
        "host": "here",
        "device": "cpu",
        "threads": 1,
        "command": "ammup sweep",
        "commit": "abc",
        "dirty": True,
        "versions": '{"torch": "2"}',
    }
    assert {name: row[name] for name in expected} == expected
    assert diverged["diverged"] is True
    assert diverged["val_accuracy"] != diverged["val_accuracy"]


def test_a_stored_run_is_never_replaced(path: Path) -> None:
    with Store(path, mode="write") as store:
        put(store, {"a": replace(RUN, val_accuracy=0.9), "c": RUN})
        assert store.table("e").set_index("key")["val_accuracy"].to_dict()["a"] == 0.25
        assert store.keys("e") == {"a", "b", "c"}


def test_a_block_is_stored_completely_or_not_at_all(path: Path) -> None:
    with Store(path, mode="write") as store:
        store.connection.execute(
            "CREATE TEMP TRIGGER no BEFORE INSERT ON runs WHEN NEW.key = 'd' BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        with pytest.raises(InputError, match="no room"):
            put(store, {"c": RUN, "d": RUN})
        assert store.keys("e") == {"a", "b"}


def test_runs_are_columns_of_the_table(path: Path) -> None:
    with Store(path, mode="read") as store:
        (experiment,) = store.experiments()
        runs, table = store.runs(experiment.key), store.table(experiment.key)
        pd.testing.assert_frame_equal(runs, table[runs.columns].astype(runs.dtypes))
        assert store.runs("nothing").dtypes.equals(runs.dtypes)
        assert store.provenance_counts(experiment.key)["runs"].sum() == len(table)
