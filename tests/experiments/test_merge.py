"""Adding the runs of one store to another."""

from dataclasses import replace
from pathlib import Path

import pytest
from stores import DIVERGED, EXPERIMENT, INVOCATION, RUN, put

from ammup.errors import InputError
from ammup.experiments.merge import merge
from ammup.experiments.store import Store
from ammup.training.runs import Measurement


def test_merging_adds_new_runs_and_does_not_change_existing_runs(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Store(other, mode="write") as store:
        put(store, {"a": replace(RUN, val_accuracy=0.9), "b": DIVERGED, "c": RUN})
        put(store, {"x": RUN}, experiment=replace(EXPERIMENT, key="f", name="second"))
    with Store(path, mode="write") as ours, Store(other, mode="read") as theirs:
        assert merge(ours, theirs) == (2, 1)
        assert merge(ours, theirs) == (0, 1)
        assert ours.keys("e") == {"a", "b", "c"}
        assert ours.keys("f") == {"x"}
        table = ours.table("e").set_index("key")
        assert table.loc["a", "val_accuracy"] == 0.25
        assert table.loc["c", "command"] == "ammup sweep"
        assert ours.connection.execute("SELECT count(*) FROM workers").fetchone() == (1,)


def test_runs_on_other_data_are_not_merged(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Store(other, mode="write") as store:
        put(store, {"c": RUN}, experiment=replace(EXPERIMENT, data_digest="another"))
    with Store(path, mode="write") as ours, Store(other, mode="read") as theirs:
        with pytest.raises(InputError, match="do not match the digest"):
            merge(ours, theirs)
        assert ours.keys("e") == {"a", "b"}


def test_measurements_and_laws_are_merged_with_the_command_that_wrote_them(path: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "other.db", mode="write") as theirs:
        theirs.put_experiment(EXPERIMENT)
        number = theirs.put_invocation(replace(INVOCATION, command="another command"))
        measured = [Measurement(depth=3, lr=0.1, seed=0, step=step, S_bar=2.0 + step) for step in (0, 5)]
        theirs.put_measurements(measured, experiment="e", invocation=number)
        theirs.put_laws({"pathsum": {3: 0.5}}, experiment="e", invocation=number)
    with Store(path, mode="write") as ours, Store(tmp_path / "other.db", mode="read") as theirs:
        for _ in range(2):
            assert merge(ours, theirs) == (0, 0)
            assert ours.measurements("e")["S_bar"].tolist() == [2.0, 7.0]
            assert ours.laws("e").to_dict("records") == [{"rule": "pathsum", "depth": 3, "lr_star": 0.5}]
        query = "SELECT DISTINCT command FROM measurements m JOIN invocations i ON i.id = m.invocation"
        assert ours.connection.execute(query).fetchall() == [("another command",)]


def test_a_store_with_a_missing_row_is_reported_as_damaged(path: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "other.db", mode="write") as theirs:
        put(theirs, {"c": RUN})
        theirs.connection.execute("PRAGMA foreign_keys = OFF")
        theirs.connection.execute("DELETE FROM invocations")
    with Store(path, mode="write") as ours, Store(tmp_path / "other.db", mode="read") as theirs:
        with pytest.raises(InputError, match=r"other\.db is damaged.*invocations.*missing; restore"):
            merge(ours, theirs)
        assert ours.keys("e") == {"a", "b"}
