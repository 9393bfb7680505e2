"""A transferred learning rate as the range and the first trials of an Optuna study. Optuna itself is not imported.

Optuna has no distributions other than uniform ones, and its samplers learn from finished trials. A prior therefore
becomes a range and enqueued trials, which every sampler, pruner and storage of Optuna supports. A sampler or a pruner
of our own would be bound to one algorithm, and do no more.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ammup.errors import InputError, checked_integer
from ammup.format import brief_fields

if TYPE_CHECKING:
    import pandas as pd

    from ammup.measurement.depth_law import DepthLaw
    from ammup.transfer.setting import TrainingSetting
    from ammup.tuning.answer import Tuned

# The recommended learning rates miss the optima of stored sweeps by 0.3 decades (root mean square), and 23 of 24 lie
# within twice that (benchmarks/optuna_prior.py). No interval is narrower.
LEAST_FACTOR = 10 ** (2 * 0.3)


@dataclass(frozen=True, kw_only=True)
class LrPrior:
    """A learning rate with the interval in which the best one is searched.

    Attributes:
        lr: the learning rate to try first.
        low: the lower end of the interval.
        high: its upper end.

    Raises:
        InputError: the numbers are not positive and finite with low ≤ lr ≤ high and low < high.

    Example:
        >>> from ammup import transfer_table
        >>> from ammup.integrations.optuna import LrPrior
        >>> LrPrior.from_table(transfer_table(0.1, 8, 16, measured={8: 0.16, 16: 0.08}))
        LrPrior(lr=0.05, low=0.01256, high=0.1991)
    """

    lr: float
    low: float
    high: float

    __repr__ = brief_fields

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.lr <= self.high < math.inf and self.low < self.high):
            raise InputError(
                f"lr={self.lr!r}, low={self.low!r}, high={self.high!r}: expected 0 < low <= lr <= high and low < high"
            )

    @classmethod
    def around(cls, lr: float, low: float, high: float) -> "LrPrior":
        """A learning rate with an interval that reaches at least ``LEAST_FACTOR`` to both sides.

        Args:
            lr: the learning rate.
            low: the lower end, or NaN if it is not known.
            high: the upper end, or NaN if it is not known.

        Raises:
            InputError: the learning rate is not positive and finite.
        """
        lower, upper = lr / LEAST_FACTOR, lr * LEAST_FACTOR
        return cls(lr=lr, low=low if low < lower else lower, high=high if high > upper else upper)

    @classmethod
    def from_tuned(cls, tuned: "Tuned") -> "LrPrior":
        """The answer of :func:`ammup.tune` for its target depth."""
        return cls.around(tuned.lr, *tuned.interval)

    @classmethod
    def from_table(cls, table: "pd.DataFrame", *, depth: int | None = None, rule: str | None = None) -> "LrPrior":
        """A learning rate of :func:`ammup.transfer_table`.

        Args:
            table: the table.
            depth: one of its depths; None if it has only one.
            rule: one of its rules; None takes the recommended rule, with the range of all plausible rules.

        Raises:
            InputError: the depth or the rule is not in the table, or no rule is recommended.
        """
        depths = sorted({int(d) for d in table["depth"]})
        if depth is None and len(depths) == 1:
            depth = depths[0]
        if depth not in depths:
            raise InputError(f"depth={depth!r}: the table has the depths {', '.join(map(str, depths))}; give one")
        if rule is not None:
            rows = table[(table["depth"] == depth) & (table["rule"] == rule)]
            if rows.empty:
                raise InputError(f"rule={rule!r}: the table has the rules {', '.join(dict.fromkeys(table['rule']))}")
            return cls.around(*(float(rows[name].iloc[0]) for name in ("lr", "low", "high")))
        (advice,) = (one for one in table.attrs["recommendations"] if one["depth"] == depth)
        if advice["rule"] is None:
            raise InputError(f"no rule is recommended at depth {depth} ({advice['reason']}); choose one with rule=")
        return cls.around(advice["lr"], advice["low"], advice["high"])

    @classmethod
    def from_law(
        cls,
        law: "DepthLaw",
        *,
        lr: float,
        from_depth: int,
        to_depth: int,
        setting: "TrainingSetting | None" = None,
    ) -> "LrPrior":
        """A tuned learning rate, transferred to another depth by a law that :func:`ammup.depth_exponent` measured.

        Args:
            law: the measured law, which must contain both depths.
            lr: the tuned learning rate.
            from_depth: L where it was tuned.
            to_depth: L of the study.
            setting: how the nets are trained.

        Raises:
            InputError: as for :func:`ammup.transfer_table`, or no rule is recommended.
        """
        from ammup.transfer.carry import transfer_table

        return cls.from_table(transfer_table(lr, from_depth, to_depth, measured=law, setting=setting))

    def starts(self, trials: int) -> tuple[float, ...]:
        """Learning rates for the first trials: ``lr``, and then ones that divide the interval evenly in log η.

        Raises:
            InputError: the number of trials is not a positive integer.
        """
        others = checked_integer("trials", trials, at_least=1) - 1
        decades = math.log10(self.high / self.low)
        return (self.lr, *(self.low * 10 ** (decades * (i + 0.5) / others) for i in range(others)))


def suggest_lr(trial: Any, name: str, prior: LrPrior) -> float:
    """Suggest a learning rate, uniformly in log η over the interval of the prior.

    Args:
        trial: an ``optuna.Trial``.
        name: name of the parameter.
        prior: the prior.

    Raises:
        InputError: ``trial`` has no method ``suggest_float``.
    """
    if not callable(getattr(trial, "suggest_float", None)):
        raise InputError(f"trial is a {type(trial).__name__}; give the optuna.Trial of the objective")
    return float(trial.suggest_float(name, prior.low, prior.high, log=True))


def enqueue_lr(study: Any, name: str, prior: LrPrior, *, trials: int = 1) -> None:
    """Enqueue the first trials of a study at :meth:`LrPrior.starts`; the sampler chooses all other parameters.

    Trials that were enqueued before, such as before a study was resumed, are not enqueued again. If several processes
    share a study, call this in one of them; its storage must not be SQLite, from which two of them may take one trial.

    Args:
        study: an ``optuna.Study``.
        name: name of the parameter.
        prior: the prior.
        trials: number of trials.

    Raises:
        InputError: ``study`` has no method ``enqueue_trial``, or the number of trials is not a positive integer.
    """
    if not callable(getattr(study, "enqueue_trial", None)):
        raise InputError(f"study is a {type(study).__name__}; give an optuna.Study")
    for lr in prior.starts(trials):
        study.enqueue_trial({name: lr}, skip_if_exists=True)
