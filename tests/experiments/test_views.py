"""The views of a store and `read_store`, against pandas on the rows that were put."""

import hashlib
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stores import DIVERGED, EXPERIMENT, INVOCATION, RUN, WORKER, put

import ammup
from ammup.errors import InputError
from ammup.experiments.database import APPLICATION_ID
from ammup.experiments.migrations import CREATE_VIEWS, MIGRATIONS
from ammup.experiments.schema import LeftOut
from ammup.experiments.store import Store
from ammup.experiments.views import VIEWS
from ammup.training.runs import Measurement, Run
from ammup.tuning.progress import TuningRun
from ammup.tuning.stored_runs import StoredRuns

LRS = (0.1, 0.2, 0.4, 0.8)


def _random_runs(rng: np.random.Generator) -> list[Run]:
    """Two depths, four learning rates, three seeds; some diverge, most often at the largest learning rates."""
    runs = []
    for depth in (2, 4):
        for place, lr in enumerate(LRS):
            for seed in range(3):
                diverged = bool(rng.random() < 0.12 * place)
                runs.append(
                    replace(DIVERGED if diverged else RUN, depth=depth, lr=lr, seed=seed, seconds=rng.random())
                    if diverged
                    else replace(
                        RUN,
                        depth=depth,
                        lr=lr,
                        seed=seed,
                        val_accuracy=round(rng.random(), 2),
                        val_loss=rng.random(),
                        seconds=rng.random(),
                    )
                )
    return runs


def _keys(runs: list[Run], experiment: str) -> dict[str, Run]:
    return {f"{experiment}-{run.depth}-{run.lr}-{run.seed}": run for run in runs}


@pytest.fixture(params=range(5))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A store with two experiments of the same name, and its runs as a DataFrame."""
    rng = np.random.default_rng(request.param)
    path, tables = tmp_path / "runs.db", []
    with Store(path, mode="write") as store:
        for key in ("e", "f"):
            runs = _random_runs(rng)
            put(store, _keys(runs, key), experiment=replace(EXPERIMENT, key=key))
            tables.append(pd.DataFrame(runs).assign(experiment_key=key))
    return path, pd.concat(tables, ignore_index=True)


def test_the_columns_of_each_view_are_documented(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write") as store:
        for name, view in VIEWS.items():
            cursor = store.connection.execute(f"SELECT * FROM {name}")
            assert [column[0] for column in cursor.description] == list(view.columns), name


@pytest.mark.parametrize("name", VIEWS)
def test_the_page_on_results_documents_each_view_with_an_example(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    section = page.split(f"### {name}\n")[1].split("\n##")[0]
    assert VIEWS[name].question in section
    documented = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)
    assert dict(documented) == VIEWS[name].columns
    assert re.search(rf">>> ammup\.read_store\(.*FROM {name}\b", section, flags=re.DOTALL)


def test_changed_views_need_a_new_migration() -> None:
    # If this fails, append CREATE_VIEWS to MIGRATIONS once more, and then store the new digest and number here.
    assert (hashlib.sha256(CREATE_VIEWS.encode()).hexdigest()[:16], len(MIGRATIONS)) == ("a93563b391e37156", 6)


def test_learning_rates_are_the_means_of_the_runs_that_did_not_diverge(stored: tuple[Path, pd.DataFrame]) -> None:
    path, runs = stored
    view = ammup.read_store(path, "learning_rates").set_index(["experiment_key", "depth", "lr"]).sort_index()
    by = ["experiment_key", "depth", "lr"]
    good = runs[~runs["diverged"]].groupby(by)
    assert len(view) == 16
    pd.testing.assert_series_equal(view["seeds"], runs.groupby(by).size(), check_names=False)
    pd.testing.assert_series_equal(view["diverged"], runs.groupby(by)["diverged"].sum(), check_names=False)
    for column, expected in {
        "val_accuracy": good["val_accuracy"].mean(),
        "val_accuracy_low": good["val_accuracy"].min(),
        "val_accuracy_high": good["val_accuracy"].max(),
        "val_loss": good["val_loss"].mean(),
    }.items():
        pd.testing.assert_series_equal(
            view[column].astype(float), expected.reindex(view.index), check_names=False, check_dtype=False
        )


def test_optima_are_the_best_learning_rates_at_which_no_run_diverged(stored: tuple[Path, pd.DataFrame]) -> None:
    path, runs = stored
    view = ammup.read_store(path, "optima").set_index(["experiment_key", "depth"])
    for (key, depth), group in runs.groupby(["experiment_key", "depth"]):
        by_lr = group.groupby("lr")
        means = by_lr["val_accuracy"].mean()[~by_lr["diverged"].any()]
        best = means.idxmax()  # the smallest of several
        row = view.loc[(key, depth)]
        assert row["lr"] == best
        assert row["val_accuracy"] == pytest.approx(means.max())
        assert (row["seeds"], row["lrs"]) == (3, 4)
        assert row["at_end"] == int(best in (LRS[0], LRS[-1]))


def test_a_depth_at_which_every_learning_rate_diverged_has_no_optimum(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write") as store:
        put(store, {"a": DIVERGED, "b": replace(RUN, depth=5)})
    assert ammup.read_store(tmp_path / "runs.db", "optima")["depth"].tolist() == [5]


def test_sweep_runs_do_not_show_values_of_diverged_runs(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write") as store:
        put(store, {"a": RUN, "b": replace(DIVERGED, val_accuracy=0.1, val_loss=5.0, train_loss=3.0)})
    runs = ammup.read_store(tmp_path / "runs.db")
    assert runs["diverged"].tolist() == [0, 1]
    assert runs.loc[1, ["val_accuracy", "val_loss", "train_loss"]].isna().all()
    assert runs.loc[0, ["experiment", "host", "command", "dtype"]].tolist() == [
        *("demo", "here", "ammup sweep", "float32"),
    ]


def test_progress_counts_finished_and_left_out_cells(stored: tuple[Path, pd.DataFrame]) -> None:
    path, runs = stored
    with Store(path, mode="write") as store:
        number = store.put_invocation(INVOCATION)
        left = {
            "new": LeftOut(depth=2, lr=3.0, seed=0, steps=5),
            "e-2-0.1-0": LeftOut(depth=2, lr=0.1, seed=0, steps=5),  # trained to the end by a full sweep
            "deep": LeftOut(depth=8, lr=3.0, seed=0, steps=5),
        }
        store.put_runs({}, experiment="e", invocation=number, worker=WORKER, dtype="float32", left_out=left)
    view = ammup.read_store(path, "progress").set_index(["experiment_key", "depth"])
    assert view["left_out"].to_dict() == {("e", 2): 1, ("e", 4): 0, ("e", 8): 1, ("f", 2): 0, ("f", 4): 0}
    assert view["finished"].tolist() == [12, 12, 0, 12, 12]
    seconds = runs.groupby(["experiment_key", "depth"])["seconds"].sum()
    np.testing.assert_allclose(view["seconds"].drop(("e", 8)), seconds)
    assert (view["first_finished_at"] <= view["last_finished_at"]).drop(("e", 8)).all()


def test_updates_and_predictions(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store(path, mode="write") as store:
        store.put_experiment(EXPERIMENT)
        number = store.put_invocation(INVOCATION)
        rows = [Measurement(depth=2, lr=0.1, seed=seed, step=0, S_bar=4.0 + seed) for seed in range(3)]
        store.put_measurements(rows, experiment="e", invocation=number)
        store.put_laws({"pathsum": {2: 0.5}}, experiment="e", invocation=number)
    assert ammup.read_store(path, "updates").values.tolist() == [["demo", "e", 2, 0.1, 0, 3, 5.0]]
    assert ammup.read_store(path, "predictions").values.tolist() == [["demo", "e", "pathsum", 2, 0.5]]


def test_tune_runs(tmp_path: Path) -> None:
    path = tmp_path / "tune.db"
    run = TuningRun(
        depth=8, lr=0.1, seed=0, budget=100, until=10, purpose="probe", outcome="diverged", message="NaN", steps=7,
        curve=((5, 2.0),), score=None, seconds=1.0,
    )  # fmt: skip
    with StoredRuns(path, name="train.py", identity="x", budget=100) as runs:
        runs.put(run)
    (row,) = ammup.read_store(path, "tune_runs").to_dict("records")
    assert (row["tuning"], row["outcome"], row["steps"], row["score"]) == ("train.py", "diverged", 7, None)


# -- read_store


def _older(path: Path, version: int) -> Path:
    """A store of an earlier version with one run."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript("".join(MIGRATIONS[:version]))
        connection.executescript(
            f"""
            INSERT INTO experiments VALUES ('e', 'demo', 'name = "demo"', 'd', NULL, NULL);
            INSERT INTO invocations VALUES (1, '2026-01-01', 'ammup sweep', '/x', 'abc', 1, NULL, NULL, '{{}}');
            INSERT INTO workers VALUES (1, 'here', 'cpu', 1, '{{}}');
            INSERT INTO runs VALUES ('a', 'e', 3, 0.1, 0, 0.25, 2.0, 9e999, 0, 10, '[]', 1.5, 100.0, 'float32', 'loop',
                '2026-01-01', 1, 1);
            PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};
            """
        )
    return path


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_all_views_of_a_store_of_an_earlier_version_are_read_without_changing_it(
    version: int, read_only: bool, tmp_path: Path
) -> None:
    path = _older(tmp_path / "old.db", version)
    before = path.read_bytes()
    if read_only:
        path.chmod(0o400)
    for name, view in VIEWS.items():
        table = ammup.read_store(path, name)
        assert list(table.columns) == list(view.columns)
        assert len(table) == (name in ("sweep_runs", "learning_rates", "optima", "progress"))
    assert path.read_bytes() == before


def test_other_programs_read_the_views_of_a_store(stored: tuple[Path, pd.DataFrame]) -> None:
    path, _ = stored
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        optima = pd.read_sql("SELECT * FROM optima ORDER BY experiment_key, depth", connection)
    pd.testing.assert_frame_equal(
        optima, ammup.read_store(path, "SELECT * FROM optima ORDER BY experiment_key, depth"), check_dtype=False
    )


def test_a_store_is_read_while_it_is_written(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db", mode="write") as store:
        put(store, {"a": RUN})
        assert len(ammup.read_store(tmp_path / "runs.db")) == 1


@pytest.mark.parametrize("version", [5, 6])
@pytest.mark.parametrize(
    ("query", "parameters", "message"),
    [
        ("optimum", (), "syntax error"),
        ("SELECT learning_rate FROM sweep_runs", (), "no such column: learning_rate; give a SELECT statement, or"),
        ("SELECT * FROM anything", (), "no such table: anything"),
        ("SELECT * FROM sweep_runs WHERE lr < ?", (), "Incorrect number of bindings"),
        ("SELECT 1; SELECT 2", (), "one statement at a time"),
        ("DELETE FROM runs", (), "changes the store; give a SELECT statement"),
        ("DROP VIEW IF EXISTS optima", (), "changes the store|returns no table"),
        ("", (), "returns no table"),
    ],
)
def test_an_invalid_query_is_reported_in_one_line(
    version: int, query: str, parameters: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    path = _older(tmp_path / "runs.db", version)
    with pytest.raises(InputError, match=message) as caught:
        ammup.read_store(path, query, parameters)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)
    assert len(ammup.read_store(path)) == 1


def test_a_damaged_store_is_reported_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store(path, mode="write") as store:
        put(store, {f"{i}": replace(RUN, seed=i) for i in range(300)})
    content = bytearray(path.read_bytes())
    content[8192:16384] = os.urandom(8192)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        ammup.read_store(path)


def test_a_missing_store_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("does not exist")):
        ammup.read_store(tmp_path / "none.db")
