"""`ammup.integrations.optuna` with the real Optuna: seeded studies of several parameters, parallel and resumed."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from example_results import OBJECTS

import ammup
from ammup.errors import InputError
from ammup.integrations.optuna import LEAST_FACTOR, LrPrior, enqueue_lr, suggest_lr

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)

PRIOR = LrPrior(lr=0.03, low=0.01, high=0.1)
MEASURED = {4: 0.2, 8: 0.1, 16: 0.05}


def objective(trial: "optuna.Trial") -> float:
    """A bowl over log10 lr around -1.4, weight decay and a choice."""
    lr = suggest_lr(trial, "lr", PRIOR)
    decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    nesterov = trial.suggest_categorical("nesterov", [True, False])
    return (math.log10(lr) + 1.4) ** 2 + 0.1 * (math.log10(decay) + 4) ** 2 + 0.05 * nesterov


def study_of(seed: int, **options: object) -> "optuna.Study":
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), **options)


# -- where a prior comes from


def test_a_prior_from_a_table_is_the_recommendation_of_its_depth() -> None:
    table = ammup.transfer_table(0.1, 4, [8, 16], measured=MEASURED)
    prior = LrPrior.from_table(table, depth=16)
    advice = next(one for one in table.attrs["recommendations"] if one["depth"] == 16)
    assert prior.lr == pytest.approx(0.025) == advice["lr"]
    assert prior.low == pytest.approx(min(advice["low"], 0.025 / LEAST_FACTOR))
    assert prior.high == pytest.approx(max(advice["high"], 0.025 * LEAST_FACTOR))


def test_a_wider_range_of_plausible_rules_is_kept() -> None:
    # η* of neighbours differs by more than 3, so that the fixed power laws are plausible
    table = ammup.transfer_table(0.1, 2, 64, measured={2: 1.0, 64: 0.001})
    advice = table.attrs["recommendations"][0]
    assert advice["high"] / advice["lr"] > LEAST_FACTOR
    prior = LrPrior.from_table(table)
    assert (prior.lr, prior.high) == (advice["lr"], advice["high"])


def test_a_rule_can_be_chosen() -> None:
    table = ammup.transfer_table(0.1, 4, 16, measured=MEASURED)
    prior = LrPrior.from_table(table, rule="L^-1/2")
    assert prior.lr == pytest.approx(0.05)
    assert (prior.low, prior.high) == pytest.approx((0.05 / LEAST_FACTOR, 0.05 * LEAST_FACTOR))


def test_a_prior_from_a_law_is_that_of_its_table() -> None:
    law = OBJECTS["DepthLaw"][0]()
    prior = LrPrior.from_law(law, lr=0.1, from_depth=4, to_depth=16)
    assert prior == LrPrior.from_table(ammup.transfer_table(0.1, 4, 16, measured=law))
    assert prior.lr == pytest.approx(0.1 / 8)


def test_a_prior_from_tuned_contains_its_interval() -> None:
    tuned = OBJECTS["Tuned"][0]()
    prior = LrPrior.from_tuned(tuned)
    assert prior.lr == tuned.lr
    assert prior.low <= tuned.interval[0] < tuned.interval[1] <= prior.high
    assert prior.low <= tuned.lr / LEAST_FACTOR * 1.001


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LrPrior(lr=0.1, low=0.2, high=0.3), "expected 0 < low <= lr <= high"),
        (lambda: LrPrior(lr=0.1, low=0.1, high=0.1), "low < high"),
        (lambda: LrPrior(lr=math.nan, low=0.1, high=0.2), "lr=nan"),
        (lambda: LrPrior(lr=0.1, low=0.01, high=math.inf), "high=inf"),
        (
            lambda: LrPrior.from_table(ammup.transfer_table(0.1, 4, [8, 16], measured=MEASURED)),
            "depth=None: the table has the depths 8, 16; give one",
        ),
        (
            lambda: LrPrior.from_table(ammup.transfer_table(0.1, 4, 8, measured=MEASURED), depth=9),
            "depth=9: the table has the depths 8",
        ),
        (
            lambda: LrPrior.from_table(ammup.transfer_table(0.1, 4, 8, measured=MEASURED), rule="edge"),
            "rule='edge': the table has the rules constant, ",
        ),
        (lambda: LrPrior.from_table(ammup.transfer_table(0.1, 4, 8)), "no rule is recommended at depth 8 .*rule="),
        (lambda: PRIOR.starts(0), "trials=0: expected an integer of at least 1"),
        (lambda: suggest_lr(0.1, "lr", PRIOR), "trial is a float; give the optuna.Trial"),
        (lambda: enqueue_lr(None, "lr", PRIOR), "study is a NoneType; give an optuna.Study"),
    ],
)
def test_bad_input_is_reported_in_one_line(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


# -- studies


def test_starts_begin_with_lr_and_divide_the_interval() -> None:
    first, *others = PRIOR.starts(5)
    assert first == PRIOR.lr
    assert [math.log10(lr) for lr in others] == pytest.approx([-1.875, -1.625, -1.375, -1.125])
    assert PRIOR.starts(1) == (PRIOR.lr,)


def test_the_first_trials_are_enqueued_and_all_others_are_in_the_interval() -> None:
    study = study_of(0)
    enqueue_lr(study, "lr", PRIOR, trials=3)
    study.optimize(objective, n_trials=30)
    lrs = [trial.params["lr"] for trial in study.trials]
    assert lrs[:3] == pytest.approx(PRIOR.starts(3))
    assert all(PRIOR.low <= lr <= PRIOR.high for lr in lrs)
    assert len({round(lr, 12) for lr in lrs}) == 30
    # the sampler chooses the other parameters of enqueued trials
    assert len({trial.params["weight_decay"] for trial in study.trials[:3]}) == 3


def test_an_interval_suggests_log_uniformly() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: suggest_lr(trial, "lr", PRIOR), n_trials=400)
    places = sorted(math.log10(trial.params["lr"] / PRIOR.low) for trial in study.trials)
    for quantile in (0.25, 0.5, 0.75):
        assert places[int(400 * quantile)] == pytest.approx(quantile, abs=0.08)


def test_the_same_seed_gives_the_same_study() -> None:
    trials = []
    for _ in range(2):
        study = study_of(7)
        enqueue_lr(study, "lr", PRIOR)
        study.optimize(objective, n_trials=15)
        trials.append([trial.params for trial in study.trials])
    assert trials[0] == trials[1]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["GPSampler", "CmaEsSampler", "QMCSampler", "TPESampler"])
def test_other_samplers_and_pruners_work(sampler: str) -> None:
    try:
        made = getattr(optuna.samplers, sampler)(seed=0)
        study = optuna.create_study(sampler=made, pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
        enqueue_lr(study, "lr", PRIOR, trials=2)
        study.optimize(lambda trial: (suggest_lr(trial, "lr", PRIOR) - 0.05) ** 2, n_trials=6)
    except ImportError as error:
        pytest.skip(str(error))
    assert len(study.trials) == 6


def test_a_resumed_study_does_not_repeat_its_first_trials(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for part in range(3):
        study = study_of(part, storage=storage, study_name="s", load_if_exists=True)
        enqueue_lr(study, "lr", PRIOR, trials=3)
        study.optimize(objective, n_trials=2)  # the first part is interrupted before the third trial
    lrs = [trial.params["lr"] for trial in study.trials]
    assert lrs[:3] == pytest.approx(PRIOR.starts(3))
    assert len(lrs) == 6
    assert sum(any(math.isclose(lr, start) for start in PRIOR.starts(3)) for lr in lrs) == 3


WORKER = """
import sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ammup.integrations.optuna import LrPrior, suggest_lr

def objective(trial):
    return suggest_lr(trial, "lr", LrPrior(lr=0.03, low=0.01, high=0.1)) * trial.suggest_float("other", 0, 1)

storage = JournalStorage(JournalFileBackend(sys.argv[1]))
optuna.load_study(study_name="s", storage=storage).optimize(objective, n_trials=5)
"""


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    """In a journal: Optuna takes an enqueued trial from SQLite without a lock, so that two processes may get it."""
    path = str(tmp_path / "study.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    study = study_of(0, storage=storage, study_name="s")
    enqueue_lr(study, "lr", PRIOR, trials=4)
    command = [sys.executable, "-c", WORKER, path]
    with ThreadPoolExecutor(2) as pool:
        workers = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(2)))
    assert [worker.returncode for worker in workers] == [0, 0], workers[0].stderr
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert len(trials) == 10
    assert all(trial.state.is_finished() for trial in trials)
    found = [trial.params["lr"] for trial in trials]
    for start in PRIOR.starts(4):
        assert sum(math.isclose(lr, start) for lr in found) == 1


def test_a_fixed_trial_runs_the_objective() -> None:
    fixed = optuna.trial.FixedTrial({"lr": 0.05, "weight_decay": 1e-4, "nesterov": False})
    assert objective(fixed) == pytest.approx((math.log10(0.05) + 1.4) ** 2)
