"""`ammup.tune` on stored runs."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ammup.tuning.answer import Tuned
from ammup.tuning.options import TuneBudget, TuneOptions
from ammup.tuning.progress import Progress, RunRequest
from ammup.tuning.tune import tune

from .curves import Curves, Family

PROBES = (0, 1, 3, 10)


@dataclass(frozen=True, kw_only=True)
class GridTrainer:
    """Replays stored runs in `ammup.tune`; ``curves`` are by number of the seed and depth."""

    name: str
    curves: tuple[dict[int, Curves], ...]

    @property
    def identity(self) -> str:
        """The name."""
        return self.name

    def start(self, request: RunRequest) -> "GridSession":
        """Replay a run."""
        return GridSession(self.curves[request.seed][request.depth], request)


class GridSession:
    """One replayed run."""

    def __init__(self, curves: Curves, request: RunRequest) -> None:
        losses = curves.losses_at(request.lr)
        steps = np.linspace(0, curves.steps, losses.size + 1)[1:].round().astype(int)
        accuracy = curves.accuracy_at(request.lr)
        last = losses.size - 1
        self.reports = iter(
            Progress(int(step), float(loss), accuracy if part == last else None)
            for part, (step, loss) in enumerate(zip(steps, losses, strict=True))
        )

    def report(self, timeout: float) -> Progress | None:
        """The next stored loss."""
        return next(self.reports, None)

    def stop(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""


def ours(family: Family, seeds: tuple[int, ...], target: int) -> Iterator[tuple[int, Tuned]]:
    """(Probes, answer) of ammup, with the given seeds; the number of probes is not ended early."""
    curves = tuple(dict(family.seeds[seed]) for seed in seeds)
    base = family.depths[0]
    low, high = (float(10**end) for end in (curves[0][base].u[0], curves[0][base].u[-1]))
    options = TuneOptions(lr_range=(low, high), precision=1.0001, seeds=len(curves), progress=False)
    trainer = GridTrainer(name=family.name, curves=curves)
    with tempfile.TemporaryDirectory() as folder:
        for probes in PROBES:
            yield probes, tune(
                trainer, depths=base, target=target, steps=curves[0][target].steps, store=f"{folder}/runs.db",
                settings=None if family.setting is None else (family.setting, family.setting), options=options,
                budget=TuneBudget(probes=probes),
            )  # fmt: skip
