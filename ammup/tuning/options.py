"""What a tuning may spend, and how its runs are made."""

import math
from concurrent.futures import Executor
from dataclasses import dataclass

from ammup.errors import InputError, check_level, checked_integer


@dataclass(frozen=True, kw_only=True)
class TuneBudget:
    """What may be spent.

    Attributes:
        probes: the largest number of short runs at the target depth; 0 trains nothing there.
        runs: the largest number of all runs, including stored ones; None sets no limit.
        steps: the largest number of steps of all runs; None sets no limit.

    Raises:
        InputError: a number is invalid.
    """

    probes: int = 3
    runs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        checked_integer("probes", self.probes, at_least=0)
        for name in ("runs", "steps"):
            if getattr(self, name) is not None:
                checked_integer(f"budget of {name}", getattr(self, name), at_least=1)


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """How the runs are made and compared.

    Attributes:
        probe_steps: steps of a short run; None is half of a complete run. Shorter probes cost less, and find edges that
            are further from those of complete runs.
        seeds: short runs use this number of seeds in turn, the same ones at all depths.
        check: if the tuned learning rate is given, also train the base with half and with twice this rate.
        lr_range: learning rates between which the base is searched if no tuned one is given.
        precision: end early if the edge at the target is known to this factor; probes also end when it is clear
            whether the edge lowers the answer.
        level: confidence level of the intervals.
        workers: number of runs at the same time.
        time_limit: the longest time without a report of a run, in seconds.
        executor: any `concurrent.futures.Executor` whose workers can import the training; None uses this computer.
        progress: show progress on standard error.

    Raises:
        InputError: a value is invalid.
    """

    probe_steps: int | None = None
    seeds: int = 3
    check: bool = True
    lr_range: tuple[float, float] = (1e-4, 10.0)
    precision: float = 1.5
    level: float = 0.95
    workers: int = 1
    time_limit: float = 600.0
    executor: Executor | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.probe_steps is not None:
            checked_integer("probe_steps", self.probe_steps, at_least=1)
        checked_integer("seeds", self.seeds, at_least=1)
        checked_integer("workers", self.workers, at_least=1)
        check_level(self.level)
        low, high = self.lr_range
        if not 0 < low < high < math.inf:
            raise InputError(f"lr_range={self.lr_range}: expected two positive learning rates, the smaller one first")
        if not 1 < self.precision < math.inf:
            raise InputError(f"precision={self.precision}: expected a factor above 1, such as 1.5")
        if not 0 < self.time_limit < math.inf:
            raise InputError(f"time_limit={self.time_limit}: expected a positive number of seconds")
