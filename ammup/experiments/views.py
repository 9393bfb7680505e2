"""The SQL views of a store: its stable read interface, with one view for each question of a reader.

Tables may change with the version of the store; the columns of a view keep their names and meanings, and new columns
are only added. docs/reference/results.md documents them. The views use no mathematical functions of SQL, which not
every build of SQLite has. Every view has the columns ``experiment``, a name, and ``experiment_key``, because several
experiments of a store may have the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class View:
    """A view of a store.

    Attributes:
        question: what a reader wants to know.
        columns: name -> meaning and unit.
        select: the SQL query.
    """

    question: str
    columns: dict[str, str]
    select: str


_EXPERIMENT = {"experiment": "name of the experiment", "experiment_key": "its content key"}
_CELL = {"depth": "L", "lr": "learning rate"}

SWEEP_RUNS = View(
    question="How did each run end, and where was it trained?",
    columns={
        **_EXPERIMENT,
        **_CELL,
        "seed": "seed of weights and minibatches",
        "val_accuracy": "validation accuracy, 0 to 1; NULL if the run diverged",
        "val_loss": "validation loss in nats; NULL if the run diverged",
        "train_loss": "mean training loss over the last tenth of the steps in nats; NULL if the run diverged",
        "diverged": "1 if the loss became NaN or infinite, otherwise 0",
        "steps": "training steps",
        "seconds": "seconds of training, divided equally among runs that were trained together",
        "dtype": "floating-point type of the training",
        "finished_at": "UTC time, ISO 8601",
        "host": "name of the machine",
        "device": "device of the training, such as cpu",
        "command": "the command that started the sweep",
        "ammup_commit": "git commit of ammup, or NULL",
    },
    select="""
SELECT e.name AS experiment, e.key AS experiment_key, r.depth, r.lr, r.seed,
    iif(r.diverged, NULL, r.val_accuracy) AS val_accuracy, iif(r.diverged, NULL, r.val_loss) AS val_loss,
    iif(r.diverged, NULL, r.train_loss) AS train_loss, r.diverged, r.steps, r.seconds, r.dtype, r.finished_at, w.host,
    w.device, i.command, i.ammup_commit
FROM runs r JOIN experiments e ON e.key = r.experiment JOIN invocations i ON i.id = r.invocation
    JOIN workers w ON w.id = r.worker
""",
)

LEARNING_RATES = View(
    question="How good is each learning rate?",
    columns={
        **_EXPERIMENT,
        **_CELL,
        "seeds": "number of runs",
        "diverged": "number of these that diverged",
        "val_accuracy": "mean validation accuracy of the others",
        "val_accuracy_low": "smallest validation accuracy of the others",
        "val_accuracy_high": "largest validation accuracy of the others",
        "val_loss": "mean validation loss of the others in nats",
    },
    select="""
SELECT e.name AS experiment, e.key AS experiment_key, c.depth, c.lr, c.seeds, c.diverged, c.val_accuracy,
    c.val_accuracy_low, c.val_accuracy_high, c.val_loss
FROM (
    SELECT experiment, depth, lr, count(*) AS seeds, sum(diverged) AS diverged,
        avg(iif(diverged, NULL, val_accuracy)) AS val_accuracy,
        min(iif(diverged, NULL, val_accuracy)) AS val_accuracy_low,
        max(iif(diverged, NULL, val_accuracy)) AS val_accuracy_high,
        avg(iif(diverged, NULL, val_loss)) AS val_loss
    FROM runs GROUP BY experiment, depth, lr
) c JOIN experiments e ON e.key = c.experiment
""",
)

OPTIMA = View(
    question="Which learning rate is best at each depth?",
    columns={
        **_EXPERIMENT,
        "depth": "L",
        "lr": "the learning rate with the largest mean accuracy among those at which no run diverged; the smallest of "
        "several",
        "val_accuracy": "mean validation accuracy there",
        "seeds": "number of runs there",
        "lrs": "number of learning rates that were tried",
        "at_end": "1 if it is the smallest or largest learning rate that was tried",
    },
    select="""
SELECT experiment, experiment_key, depth, lr, val_accuracy, seeds, lrs, lr IN (low, high) AS at_end
FROM (
    SELECT *,
        row_number() OVER (
            PARTITION BY experiment_key, depth ORDER BY diverged > 0, val_accuracy IS NULL, val_accuracy DESC, lr
        ) AS place,
        count(*) OVER (PARTITION BY experiment_key, depth) AS lrs,
        min(lr) OVER (PARTITION BY experiment_key, depth) AS low,
        max(lr) OVER (PARTITION BY experiment_key, depth) AS high
    FROM learning_rates
)
WHERE place = 1 AND diverged = 0 AND val_accuracy IS NOT NULL
""",
)

PROGRESS = View(
    question="What is finished, and what did it cost?",
    columns={
        **_EXPERIMENT,
        "depth": "L",
        "finished": "number of finished runs",
        "diverged": "number of these that diverged",
        "left_out": "number of cells that an adaptive search did not train to the end",
        "seconds": "sum of the seconds of training",
        "first_finished_at": "when the first run finished: UTC time, ISO 8601",
        "last_finished_at": "when the last run finished",
    },
    select="""
SELECT e.name AS experiment, e.key AS experiment_key, c.depth, sum(c.finished) AS finished, sum(c.diverged) AS diverged,
    sum(1 - c.finished) AS left_out, sum(c.seconds) AS seconds, min(c.finished_at) AS first_finished_at,
    max(c.finished_at) AS last_finished_at
FROM (
    SELECT experiment, depth, 1 AS finished, diverged, seconds, finished_at FROM runs
    UNION ALL
    SELECT experiment, depth, 0, 0, 0.0, NULL FROM left_out WHERE key NOT IN (SELECT key FROM runs)
) c JOIN experiments e ON e.key = c.experiment
GROUP BY e.key, c.depth
""",
)

UPDATES = View(
    question="How large are the updates along the short runs?",
    columns={
        **_EXPERIMENT,
        **_CELL,
        "step": "training steps before the measurement; 0 is at initialization",
        "seeds": "number of measurements",
        "S_bar": "mean of S̄ at learning rate 1 over the seeds; η* is S_bar to the power -1/2",
    },
    select="""
SELECT e.name AS experiment, e.key AS experiment_key, m.depth, m.lr, m.step, count(*) AS seeds, avg(m.S_bar) AS S_bar
FROM measurements m JOIN experiments e ON e.key = m.experiment GROUP BY e.key, m.depth, m.lr, m.step
""",
)

PREDICTIONS = View(
    question="Which maximal-update learning rates do the formulas give?",
    columns={
        **_EXPERIMENT,
        "rule": "name of the formula",
        "depth": "L",
        "lr_star": "η* of the formula, up to a factor that does not depend on depth",
    },
    select="""
SELECT e.name AS experiment, e.key AS experiment_key, l.rule, l.depth, l.lr_star
FROM laws l JOIN experiments e ON e.key = l.experiment
""",
)

TUNE_RUNS = View(
    question="What did `ammup tune` train?",
    columns={
        "tuning": "the function or command that was tuned",
        "tuning_key": "its content key",
        **_CELL,
        "seed": "seed of weights and minibatches",
        "purpose": "what the run was for, such as probe",
        "outcome": "finished, diverged, stopped, failed, timed out or silent",
        "message": "why the run ended early, otherwise empty",
        "steps": "training steps that were made",
        "budget": "training steps of a complete run",
        "score": "last validation score, or NULL",
        "seconds": "seconds",
        "finished_at": "UTC time, ISO 8601",
    },
    select="""
SELECT t.name AS tuning, t.key AS tuning_key, r.depth, r.lr, r.seed, r.purpose, r.outcome, r.message, r.steps, r.budget,
    r.score, r.seconds, r.finished_at
FROM tuning_runs r JOIN tunings t ON t.key = r.tuning
""",
)

VIEWS = {
    "sweep_runs": SWEEP_RUNS,
    "learning_rates": LEARNING_RATES,
    "optima": OPTIMA,
    "progress": PROGRESS,
    "updates": UPDATES,
    "predictions": PREDICTIONS,
    "tune_runs": TUNE_RUNS,
}
