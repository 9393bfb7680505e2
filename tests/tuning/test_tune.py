"""`tune` with a real training: a net in numpy on clusters, in processes of its own."""

import json
import math
from pathlib import Path

import pytest
from tuning_trainings import faulty, train_mlp

import ammup
from ammup.errors import InputError
from ammup.tuning.options import TuneBudget, TuneOptions
from ammup.tuning.stored_runs import StoredRuns

QUIET = TuneOptions(progress=False, check=False)
TRAINING = {"depths": 2, "target": 8, "steps": 40, "lr": 0.2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune") / "runs.db"


@pytest.fixture(scope="module")
def tuned(store: Path) -> ammup.Tuned:
    return ammup.tune(train_mlp, **TRAINING, store=store, options=QUIET)


def test_the_answer_is_the_predicted_rate_or_half_of_the_edge(tuned: ammup.Tuned) -> None:
    assert tuned.lr == pytest.approx(min(0.2 / 4, tuned.edge.lr / 2), rel=0.02)  # L^-1
    assert tuned.safety == pytest.approx(tuned.lr / tuned.edge.lr, rel=0.02)
    low, high = tuned.interval
    assert low < tuned.lr < high


def test_the_answer_trains_the_target_and_its_edge_separates_rates(tuned: ammup.Tuned) -> None:
    def fall(lr: float) -> float:
        losses = [progress.loss for progress in train_mlp(8, lr, 7, 40)]
        return losses[0] - sum(losses[-10:]) / 10

    assert fall(tuned.lr) > 0.1
    assert not fall(30 * tuned.edge.lr) > 0.1


def test_the_costs_are_those_of_the_runs(tuned: ammup.Tuned) -> None:
    assert tuned.spent["runs"].sum() == len(tuned.runs) == len(tuned.table)
    assert tuned.spent["steps"].sum() == tuned.spent_steps == tuned.table["steps"].sum()
    probes = tuned.table.query("depth == 8")
    assert set(probes["purpose"]) == {"probe"}
    assert 1 <= len(probes) <= 3
    assert (probes["steps"] <= 20).all()


def test_the_same_call_makes_no_further_run_and_gives_the_same_answer(tuned: ammup.Tuned, store: Path) -> None:
    again = ammup.tune(train_mlp, **TRAINING, store=store, options=QUIET)
    assert again.to_dict() == tuned.to_dict()


def test_more_probes_continue_from_the_stored_runs(tuned: ammup.Tuned, store: Path) -> None:
    options = TuneOptions(progress=False, check=False, precision=1.0001)
    more = ammup.tune(train_mlp, **TRAINING, store=store, options=options, budget=TuneBudget(probes=5))
    assert more.runs[: len(tuned.runs)] == tuned.runs
    assert more.probes >= tuned.probes
    assert more.next_run.factor <= tuned.next_run.factor


def test_without_probes_the_interval_is_that_of_the_prediction(store: Path, tmp_path: Path) -> None:
    none = ammup.tune(train_mlp, **TRAINING, store=tmp_path / "n.db", options=QUIET, budget=TuneBudget(probes=0))
    assert none.probes == 0
    assert not (none.table["depth"] == 8).any()
    assert none.lr == pytest.approx(0.2 / 4, rel=0.02)  # L^-1
    ratio = math.log10(none.interval[1] / none.interval[0]) / 2
    assert ratio == pytest.approx(1.96 * 0.7 * math.log10(4), rel=0.03)
    assert any("nothing was trained at depth 8" in note for note in none.notes)
    assert none.next_run.factor_after < none.next_run.factor


def test_results_for_programs_and_readers(tuned: ammup.Tuned) -> None:
    content = json.loads(json.dumps(tuned.to_dict(), allow_nan=False))
    assert content["lr"] == tuned.lr
    assert content["runs"][0].keys() >= {"depth", "lr", "seed", "outcome", "steps"}
    assert repr(tuned).startswith("Tuned(depth=8, lr=")
    labels = [text.get_text() for text in tuned.figure().axes[0].get_legend().get_texts()]
    assert any(label.startswith("answer for depth 8") for label in labels)
    assert "edge at depth 2" in labels


def test_several_workers_find_an_edge_that_agrees(tuned: ammup.Tuned, tmp_path: Path) -> None:
    options = TuneOptions(progress=False, check=False, workers=2)
    found = ammup.tune(train_mlp, **TRAINING, store=tmp_path / "two.db", options=options)
    low, high = found.base_edge.interval
    assert low < tuned.base_edge.interval[1]
    assert high > tuned.base_edge.interval[0]


def test_the_base_is_searched_without_a_tuned_rate(tmp_path: Path) -> None:
    options = TuneOptions(progress=False, lr_range=(1e-2, 100.0))
    found = ammup.tune(
        train_mlp, depths=2, target=8, steps=40, store=tmp_path / "s.db", options=options, budget=TuneBudget(probes=1)
    )
    assert found.base.lr < found.base_edge.lr
    assert set(found.table["purpose"]) == {"search", "edge", "complete run", "probe"}
    assert any("searched with one seed" in note for note in found.notes)


def test_the_given_rate_is_compared_with_half_and_twice_the_rate(tmp_path: Path) -> None:
    options, budget = TuneOptions(progress=False), TuneBudget(probes=0)
    bad = ammup.tune(train_mlp, **TRAINING | {"lr": 0.004}, store=tmp_path / "c.db", options=options, budget=budget)
    assert any(note.startswith("at depth 2, 0.008 was better than the given rate 0.004") for note in bad.notes)


def test_the_budget_ends_the_runs(tmp_path: Path) -> None:
    found = ammup.tune(train_mlp, **TRAINING, store=tmp_path / "b.db", options=QUIET, budget=TuneBudget(runs=3))
    assert len(found.runs) == 3
    assert any("the budget ended before the base depth was done" in note for note in found.notes)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (2.0, "the first run failed, edge at depth 2, lr .*ValueError: broken pipe"),
        (5.0, "the first run failed, .*silent: the training ended without a report"),
    ],
)
def test_a_training_that_cannot_work_ends_the_tuning(lr: float, message: str, tmp_path: Path) -> None:
    # the first run is placed at 4 times the rate; the fault is the rounded rate
    path = tmp_path / "f.db"
    with pytest.raises(InputError, match=message):
        ammup.tune(faulty, depths=2, target=8, steps=20, lr=lr / 10**0.6, store=path, options=QUIET)
    with StoredRuns(path, name="", identity="", budget=20) as stored:
        rows = stored.store.connection.execute("SELECT outcome FROM tuning_runs").fetchall()
    assert len(rows) == 1


def test_a_training_that_is_shorter_than_stated_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ended after 40 of 200 steps; give the number of steps .*; pass steps="):
        ammup.tune(_short, depths=2, target=8, steps=400, lr=0.2, store=tmp_path / "s.db", options=QUIET)


def _short(depth: int, lr: float, seed: int, budget: int):  # type: ignore[no-untyped-def]
    return train_mlp(depth, lr, seed, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 2}, "target=2 is one of the base depths"),
        ({"steps": 1}, "steps=1: expected an integer of at least 2"),
        ({"lr": -1.0}, "lr=-1.0: expected the positive learning rate tuned at depth 2"),
        ({"options": TuneOptions(probe_steps=41)}, "probe_steps=41 exceeds the 40 steps of a complete run"),
        ({"depths": [2, 2]}, "contains a repeated depth"),
    ],
)
def test_wrong_arguments(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ammup.tune(train_mlp, **TRAINING | {"store": tmp_path / "w.db"} | changes)  # type: ignore[arg-type]
    assert not (tmp_path / "w.db").exists()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TuneOptions(lr_range=(1.0, 0.1)), "expected two positive learning rates"),
        (lambda: TuneOptions(precision=1.0), "precision=1.0: expected a factor above 1"),
        (lambda: TuneOptions(time_limit=0), "time_limit=0: expected a positive number"),
        (lambda: TuneOptions(workers=0), "workers=0"),
        (lambda: TuneBudget(probes=-1), "probes=-1"),
        (lambda: TuneBudget(steps=0), "budget of steps=0"),
    ],
)
def test_wrong_options(build: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()  # type: ignore[operator]
