"""`late_curve`: η*(L) measured along a short run instead of at initialization."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ammup.errors import InputError, checked_integer
from ammup.format import brief_repr, json_rows, range_text
from ammup.measurement.depth_law import STEPS_PER_MEASUREMENT
from ammup.measurement.late_run import Batches, SgdRun, weights_digest
from ammup.measurement.late_state import LateState
from ammup.measurement.loss import Loss
from ammup.measurement.short_run import Observe, record_S_bar
from ammup.models.depth import Forward
from ammup.models.factory import Factory, build_model
from ammup.progress import tracked
from ammup.stats.depths import checked_depths
from ammup.training.runs import seed_numbers

# ``train(model, observe)``: the user's own loop, which calls ``observe(step, inputs, targets)`` before each step.
Loop = Callable[[nn.Module, Callable[[int, Any, Any], None]], object]
PULLED = 3.0  # η* within this factor of the rate of the run at every depth does not depend on depth any more


@dataclass(frozen=True, kw_only=True)
class LateCurve:
    """η* as a function of depth, measured along short runs.

    Attributes:
        table: one row for each measurement: depth, seed, step, S_bar (at learning rate 1).
        lr: the learning rate of the short runs.
    """

    table: pd.DataFrame
    lr: float

    def __repr__(self) -> str:
        curve = self.curve
        depths = f"depths {range_text(curve['depth'])}"
        return brief_repr(self, depths, lr_star=curve["lr_star"].tolist(), short_runs_at=self.lr)

    @property
    def curve(self) -> pd.DataFrame:
        """One row for each depth.

        Columns: depth; lr_star, (geometric mean of S̄ over the second half of the steps and over seeds)^(-1/2);
        se_log10, the standard error of log10 lr_star over seeds, NaN for one seed; seeds, their number.
        """
        late = self.table[self.table["step"] > self.table["step"].max() / 2]
        logs = (-0.5 * np.log10(late["S_bar"])).groupby([late["depth"], late["seed"]]).mean()
        groups = logs.groupby("depth")
        curve: pd.DataFrame = groups.agg(lr_star="mean", se_log10="sem", seeds="size").reset_index()
        curve["lr_star"] = 10.0 ** curve["lr_star"]
        return curve

    def to_frame(self) -> pd.DataFrame:
        """One row for each depth, with the columns of :attr:`curve`."""
        return self.curve

    @property
    def training_steps(self) -> float:
        """The training steps of the short runs and, at three for each, of the measurements."""
        last = self.table.groupby(["depth", "seed"])["step"].max()
        return float(last.sum() + STEPS_PER_MEASUREMENT * len(self.table))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Short sentences on the trust in the rule "measured-late"."""
        text = f"measured-late is pulled towards the learning rate of its own short runs, {self.lr:g}"
        ratios = self.curve["lr_star"] / self.lr
        if ratios.between(1 / PULLED, PULLED).all():
            return (
                f"{text}, and has reached it at every depth (η* within a factor of {PULLED:g}): it says nothing about "
                "depth; use fewer steps or another rate",
            )
        return (f"{text}: it is one more rule to compare with, not a recommendation",)

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON."""
        return {"lr": self.lr, "curve": json_rows(self.curve), "runs": json_rows(self.table)}


def late_curve(
    factory: Factory,
    depths: Sequence[int],
    *,
    loss: Loss,
    lr: float,
    data: Batches | None = None,
    train: Loop | None = None,
    steps: int = 120,
    every: int = 10,
    seeds: int | Sequence[int] = 2,
    batch_size: int = 128,
    forward: Forward | None = None,
    device: torch.device | str | None = None,
    state: str | Path | None = None,
    progress: bool = False,
) -> LateCurve:
    """Train each depth for some steps of plain SGD, and measure S̄ of the next SGD step along the run.

    Where gradients explode at initialization through normalization layers, S̄ relaxes within tens of steps, and the
    measurement at initialization misleads. But later S̄ is pulled towards the learning rate of the run itself, at every
    depth, and then says nothing about depth. docs/transfer.md describes both.

    Args:
        factory: as in :func:`ammup.depth_exponent`.
        depths: at least one depth; a transfer needs those that it starts from and ends at.
        loss: "mse", "cross_entropy" or a callable, as in :func:`ammup.measure_updates`.
        lr: learning rate of the runs, which must be safe at every depth: for a tuned 0.1, rather 0.03.
        data: a :class:`ammup.Data`, or an iterable of (inputs, targets) such as a DataLoader, which is repeated.
        train: instead of ``data``, your own loop: ``train(model, observe)``, which calls ``observe(step, inputs,
            targets)`` before each training step. It should take steps of plain SGD at ``lr``. After the last
            measurement, ``observe`` ends the loop with an exception.
        steps: number of training steps.
        every: S̄ is measured before every step that is a multiple of this number.
        seeds: the seeds of weights and minibatches, or how many.
        batch_size: images in a minibatch of a Data.
        forward: as in :func:`ammup.measure_updates`.
        device: the device of the runs; None uses the factory's device.
        state: a file in which finished measurements are stored. A killed measurement that is repeated with this file
            continues: at the last measured step with ``data``, at the interrupted run with ``train``.
        progress: show a progress bar on standard error.

    Returns:
        The curve, for the rule "measured-late" of :func:`ammup.transfer_table`.

    Raises:
        InputError: both or neither of ``data`` and ``train`` are given, an argument is out of range, a run diverges, a
            model cannot be measured, or the state file belongs to other runs.

    Example:
        >>> import ammup
        >>> from functools import partial
        >>> data = ammup.load_data("synthetic", image_size=4, train=64, validation=8)
        >>> net = partial(ammup.cnn, width=8)
        >>> late = ammup.late_curve(
        ...     net, [2, 4], data=data, loss="cross_entropy", lr=0.1, steps=6, every=2, batch_size=16
        ... )
        >>> late.curve["depth"].tolist()
        [2, 4]
    """
    wanted = _checked(depths, data, train, lr=lr, steps=steps, every=every)
    numbers = seed_numbers(seeds)
    run = SgdRun(
        data=() if data is None else data,
        lr=lr,
        steps=len(range(0, steps, every)) * every - every + 1,  # to the last measurement
        batch_size=checked_integer("batch_size", batch_size, at_least=1),
        loss=loss,
        forward=forward,
        progress=progress,
    )
    settings = {"lr": repr(lr), "steps": str(steps), "every": str(every), "loss": _name(loss), "loop": _name(train)}
    settings |= {} if data is None else {"batch_size": str(batch_size), "data": run.digest()}
    runner = _Runner(
        run=run,
        loop=train,
        steps=tuple(range(0, steps, every)),
        state=LateState.opened(None if state is None else Path(state), settings),
    )
    rows = []
    keys = [(depth, seed) for depth in wanted for seed in numbers]
    shown = progress and train is not None  # the library's own loop has a bar for each run
    for depth, seed in tracked(keys, "short runs", len(keys), show=shown, costs=[depth for depth, _ in keys]):
        S_bar = runner.run_of(build_model(factory, depth, seed, device), (depth, seed))
        rows += [{"depth": depth, "seed": seed, "step": step, "S_bar": s} for step, s in S_bar.items()]
    runner.state.finish()
    return LateCurve(table=pd.DataFrame(rows), lr=lr)


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Short runs, and the file of their measurements."""

    run: SgdRun
    loop: Loop | None
    steps: tuple[int, ...]
    state: LateState

    def run_of(self, model: nn.Module, key: tuple[int, int]) -> dict[int, float]:
        """S̄ by step of one run, continued from the state."""
        digest = weights_digest(model)
        before = self.state.measured(key, digest)
        if set(self.steps) <= set(before):
            return _finite({step: before[step] for step in self.steps}, key, self.run.lr)
        start = 0
        saved = None if self.loop is not None else self.state.load_weights(key)
        if saved is not None and all(step in before for step in self.steps if step < saved[0]):
            start = saved[0]
            model.load_state_dict(saved[1])
        before = {step: S_bar for step, S_bar in before.items() if step < start}
        new = record_S_bar(
            partial(self._train, model.train(), key, start),
            steps=[step for step in self.steps if step >= start],
            loss=self.run.loss,
            forward=self.run.forward,
            seed=key[1],
            after=lambda step, measured: self._store(model, key, digest, step, before | measured),
        )
        missing = [step for step in self.steps if step not in before | new]
        if missing:
            raise InputError(
                f"the training loop ended before step {missing[0]}; {max(self.steps) + 1} steps are needed"
            )
        self.state.record(key, digest, before | new)
        return _finite(before | new, key, self.run.lr)

    def _store(self, model: nn.Module, key: tuple[int, int], digest: str, step: int, S_bar: dict[int, float]) -> None:
        """Store a measurement, after the weights from which the run would continue."""
        if self.loop is None:
            self.state.save_weights(key, step, model.state_dict())
        self.state.record(key, digest, S_bar)

    def _train(self, model: nn.Module, key: tuple[int, int], start: int, observe: Observe) -> None:
        """Run the loop until the last measurement."""
        if self.loop is None:
            self.run.train(model, observe, key=key, start=start)
            return
        last = max(self.steps)

        def observe_batch(step: int, inputs: Any, targets: Tensor | None = None) -> None:
            observe(step, model, (inputs, targets))
            if step >= last:
                raise _LastStepError

        try:
            self.loop(model, observe_batch)
        except _LastStepError:
            return


class _LastStepError(Exception):
    """Ends a training loop after the last measurement."""


def _checked(
    depths: Sequence[int], data: Batches | None, train: Loop | None, *, lr: float, steps: int, every: int
) -> tuple[int, ...]:
    """The depths in ascending order.

    Raises:
        InputError: an argument is invalid.
    """
    if (data is None) == (train is None):
        raise InputError("give either data=, batches for plain SGD, or train=, your own training loop")
    if not 0 < lr < math.inf:
        raise InputError(f"lr={lr!r} must be positive and finite; give a safe rate, such as a third of the tuned one")
    checked_integer("every", every, at_least=1)
    if checked_integer("steps", steps, at_least=2) <= every:
        raise InputError(f"steps={steps} and every={every}: at least two measurements are needed; increase steps")
    return tuple(sorted(checked_depths(depths)))


def _finite(S_bar: dict[int, float], key: tuple[int, int], lr: float) -> dict[int, float]:
    """S̄ by step, after checking that the run did not diverge."""
    diverged = [step for step, value in S_bar.items() if not 0 < value < math.inf]
    if diverged:
        raise InputError(
            f"the short run at learning rate {lr:g} diverged at depth {key[0]}, seed {key[1]} before step "
            f"{diverged[0]}, or its units do not move any more",
            python="choose another lr=",
            option="choose another --late-lr",
        )
    return S_bar


def _name(function: object) -> str:
    """A name that identifies a loss or a loop in the state file."""
    return str(getattr(function, "__qualname__", function))
