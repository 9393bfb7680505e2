"""The answer of a tuning: a learning rate, how sure it is, where it comes from and what it cost."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ammup.format import brief_repr, json_number
from ammup.tuning.expected_loss import ExpectedLoss
from ammup.tuning.prediction import Prediction
from ammup.tuning.progress import TuningRun

if TYPE_CHECKING:  # imported when a figure is drawn
    from matplotlib.figure import Figure

Interval = tuple[float, float]
RUN_COLUMNS = ("depth", "lr", "seed", "purpose", "outcome", "steps", "loss", "score", "seconds", "message")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A learning rate with its interval and its origin.

    Attributes:
        lr: the learning rate.
        interval: (low, high) at the level of the answer.
        source: where it comes from, in a sentence.
    """

    lr: float
    interval: Interval
    source: str


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """What one more run would buy.

    Attributes:
        depth: depth of the run.
        lr: its learning rate.
        steps: its steps.
        factor: the interval of the edge at the target reaches this factor to both sides now.
        factor_after: expected factor after the run.
    """

    depth: int
    lr: float
    steps: int
    factor: float
    factor_after: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """The learning rate for the target depth.

    Attributes:
        target: the target depth.
        answer: the learning rate to train the target with.
        base: the learning rate tuned at the base depth.
        base_depth: that depth.
        base_edge: the edge at the base depth after ``probe_steps`` steps.
        edge: the edge at the target depth after as many steps.
        safety: answer.lr / edge.lr.
        prediction: the ratio of the learning rates that was predicted without training at the target.
        probes: probes at the target that say something.
        loss: expected relative loss of accuracy against a full grid at the target.
        next_run: what one more probe would buy.
        probe_steps: steps after which edges are compared.
        steps: steps of a complete run.
        level: confidence level of the intervals.
        runs: all runs.
        notes: what limits the trust in the answer, and what differs between base and target.
    """

    target: int
    answer: Estimate
    base: Estimate
    base_depth: int
    base_edge: Estimate
    edge: Estimate
    safety: float
    prediction: Prediction
    probes: int
    loss: ExpectedLoss
    next_run: NextRun
    probe_steps: int
    steps: int
    level: float
    runs: tuple[TuningRun, ...]
    notes: tuple[str, ...]

    @property
    def lr(self) -> float:
        """The learning rate to train the target with."""
        return self.answer.lr

    @property
    def interval(self) -> Interval:
        """Its interval."""
        return self.answer.interval

    def __repr__(self) -> str:
        return brief_repr(
            self, depth=self.target, lr=self.lr, interval=self.interval, probes=self.probes, steps=self.spent_steps
        )

    @property
    def spent_steps(self) -> int:
        """Steps of all runs."""
        return sum(run.steps for run in self.runs)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each run, with the columns of ``RUN_COLUMNS``; loss is the last one."""
        last = [{"loss": run.curve[-1][1] if run.curve else None} for run in self.runs]
        rows = [asdict(run) | loss for run, loss in zip(self.runs, last, strict=True)]
        return pd.DataFrame(rows, columns=list(RUN_COLUMNS)).astype({"loss": float, "score": float})

    @property
    def spent(self) -> pd.DataFrame:
        """The cost of each depth and purpose: runs, steps, trainings (steps / steps of a complete run), seconds."""
        groups = self.table.groupby(["depth", "purpose"], sort=False)
        spent = groups.agg(runs=("steps", "size"), steps=("steps", "sum"), seconds=("seconds", "sum")).reset_index()
        spent.insert(4, "trainings", spent["steps"] / self.steps)
        return spent

    def to_frame(self) -> pd.DataFrame:
        """One row for the base and one for the target; :attr:`table` has the runs.

        Columns: depth; lr with its interval, low and high; edge with edge_low and edge_high; source, where lr comes
        from.
        """
        rows = [
            (depth, rate.lr, *rate.interval, edge.lr, *edge.interval, rate.source)
            for depth, rate, edge in (
                (self.base_depth, self.base, self.base_edge),
                (self.target, self.answer, self.edge),
            )
        ]
        return pd.DataFrame(rows, columns=["depth", "lr", "low", "high", "edge", "edge_low", "edge_high", "source"])

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON; NaN and infinite numbers become None."""
        estimates = {name: asdict(getattr(self, name)) for name in ("answer", "base", "base_edge", "edge")}
        return {
            "target": self.target,
            "lr": self.lr,
            "interval": list(self.interval),
            "level": self.level,
            "base_depth": self.base_depth,
            **{name: value | {"interval": list(value["interval"])} for name, value in estimates.items()},
            "safety": self.safety,
            "prediction": asdict(self.prediction),
            "probes": self.probes,
            "expected_loss": _json_row(asdict(self.loss)),
            "next_run": asdict(self.next_run),
            "probe_steps": self.probe_steps,
            "steps": self.steps,
            "spent_steps": self.spent_steps,
            "spent": [_json_row(row) for row in self.spent.to_dict("records")],
            "runs": [_json_row(row) for row in self.table.to_dict("records")],
            "notes": list(self.notes),
        }

    def figure(self) -> "Figure":
        """The loss after ``probe_steps`` steps against the learning rate at base and target, with edges and answer."""
        from ammup.tuning.figure import plot_tuned

        return plot_tuned(self)


def _json_row(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value if isinstance(value, str) else json_number(value) for name, value in row.items()}
