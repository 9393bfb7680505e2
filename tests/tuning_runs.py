"""Runs of a tuning with a given loss."""

from ammup.tuning.progress import TuningRun

UNTRAINED = 2.0


def run_at(lr: float, loss: float, *, depth: int = 2, seed: int = 0, outcome: str = "finished") -> TuningRun:
    """A run of 20 steps whose loss moves from 2 to this one."""
    curve = tuple((step, UNTRAINED if step < 5 else loss) for step in range(1, 21))
    return TuningRun(
        depth=depth, lr=lr, seed=seed, budget=20, until=20, purpose="probe", outcome=outcome, message="", steps=20,
        curve=curve, score=None, seconds=1.0,
    )  # fmt: skip
