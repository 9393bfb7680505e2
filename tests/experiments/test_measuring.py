"""S̄ along short runs, and η* by formula, which a sweep stores in addition to its grid."""

import shutil
import sqlite3
from pathlib import Path

import pytest

import ammup
from ammup.data.dataset import load_data
from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.experiments import sweep as sweeps
from ammup.experiments.analysis import read_sweep, rule_curves
from ammup.experiments.experiment import Experiment
from ammup.experiments.measuring import ShortRunJob, ShortRunOutcome
from ammup.experiments.merge import merge
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep
from ammup.theory.pathsum import pathsum_lr

SHORT = "short_run={lr = 0.1, steps = [0, 3], draws = 3}"

SMALL = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 512, validation = 128}
grid = {depths = [2, 3], lrs = [0.03], seeds = 2}
training = {batch_size = 64}
"""


def _experiment(*changes: str) -> Experiment:
    return Experiment.from_toml(SMALL, changes=[SHORT, *changes])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "runs.db"
    run_sweep(_experiment(), store=path, workers=1, progress=False)
    return path


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A store with the finished sweep, which the test may change."""
    return Path(shutil.copy(finished, tmp_path / "runs.db"))


def test_more_seeds_are_measured_at_initialization_than_along_short_runs(store: Path) -> None:
    table = read_sweep(store).measurements
    measured = set(table[["depth", "seed", "step"]].itertuples(index=False, name=None))
    assert measured == {(d, s, 0) for d in (2, 3) for s in (0, 1, 2)} | {(d, s, 3) for d in (2, 3) for s in (0, 1)}
    assert set(table["lr"]) == {0.1}


def test_the_first_measurement_uses_the_first_minibatch(store: Path) -> None:
    table = read_sweep(store).measurements.set_index(["depth", "seed", "step"])
    experiment = _experiment()
    data = load_data("synthetic", image_size=8, train=512, validation=128)
    feed = Feed(data, batch_size=64, device="cpu", dtype=ammup.cnn(2).readout[1].weight.dtype)
    for seed in (0, 2):
        images, labels = next(feed.training_batches(seed, 1))
        net = ammup.cnn(3, width=4, out_channels=len(data.classes), seed=seed)
        moments = ammup.measure_updates(net, images, labels, loss="cross_entropy")
        assert table.loc[(3, seed, 0), "S_bar"] == pytest.approx(moments.S_bar, rel=1e-5)
    assert experiment.training.batch_size == 64


def test_formulas_are_stored_for_every_depth(store: Path) -> None:
    laws = read_sweep(store).laws
    assert set(laws) == {"finite-depth", "pathsum"}
    ratio = pathsum_lr([2, 3], family="cnn")
    assert laws["pathsum"][3] / laws["pathsum"][2] == pytest.approx(ratio[1] / ratio[0])
    assert 0 < laws["finite-depth"][3] < laws["finite-depth"][2]


def test_only_missing_short_runs_are_measured(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[ShortRunJob] = []
    original = sweeps.run_short_run

    def recording(job: ShortRunJob) -> ShortRunOutcome:
        jobs.append(job)
        return original(job)

    monkeypatch.setattr(sweeps, "run_short_run", recording)
    run_sweep(_experiment(), store=store, workers=1, progress=False)
    assert jobs == []
    before = read_sweep(store).measurements
    run_sweep(_experiment("short_run.seeds=3"), store=store, workers=1, progress=False)
    assert sorted((job.depth, job.seed, job.steps) for job in jobs) == [(2, 2, (0, 3)), (3, 2, (0, 3))]
    after = read_sweep(store).measurements
    assert len(after) == len(before) + 2
    assert before.merge(after).shape == before.shape  # stored measurements are unchanged


def test_measurements_at_different_learning_rates_are_separate(store: Path) -> None:
    run_sweep(_experiment("short_run.lr=0.2"), store=store, workers=1, progress=False)
    assert set(read_sweep(store).measurements["lr"]) == {0.2}  # those of the experiment as it was last run
    with Store(store, mode="read") as opened:
        assert set(opened.measurements(_experiment().key)["lr"]) == {0.1, 0.2}


def test_a_sweep_without_a_short_run_measures_nothing(tmp_path: Path) -> None:
    experiment = Experiment.from_toml(SMALL)
    run_sweep(experiment, store=tmp_path / "runs.db", workers=1, progress=False)
    record = read_sweep(tmp_path / "runs.db")
    assert record.measurements.empty
    assert set(rule_curves(record)) == {"constant", "L^-1/2", "L^-1", "am-mup"}


def test_a_step_past_the_end_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from 0 to 7, the last training step"):
        run_sweep(_experiment("short_run.steps=[8]"), store=tmp_path / "runs.db", workers=1, progress=False)


def test_short_runs_are_added_to_a_store_of_the_first_version(store: Path, tmp_path: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.executescript("DROP TABLE measurements; DROP TABLE laws; PRAGMA user_version = 1;")
    connection.close()
    record = read_sweep(store)
    assert record.measurements.empty
    assert record.laws == {}
    run_sweep(_experiment(), store=store, workers=1, progress=False)
    assert len(read_sweep(store).measurements) == 10


def test_measurements_are_merged(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Store(store, mode="read") as theirs, Store(other, mode="write") as ours:
        assert merge(ours, theirs) == (4, 0)
        assert merge(ours, theirs) == (0, 0)
    one, two = read_sweep(store), read_sweep(other)
    assert one.measurements.equals(two.measurements)
    assert one.laws == two.laws
    old = tmp_path / "old.db"
    run_sweep(Experiment.from_toml(SMALL, changes=["grid.lrs=[0.3]"]), store=old, workers=1, progress=False)
    with sqlite3.connect(old) as connection:
        connection.executescript("DROP TABLE measurements; DROP TABLE laws; PRAGMA user_version = 1;")
    connection.close()
    with Store(old, mode="read") as theirs, Store(other, mode="write") as ours:
        assert merge(ours, theirs) == (4, 0)
