"""Measurement of S̄ during the user's own training loop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from ammup.errors import InputError
from ammup.measurement.loss import Loss
from ammup.measurement.updates import measure_updates
from ammup.models.depth import Forward


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One measurement.

    Attributes:
        step: the training step; the measurement was made before it.
        lr: learning rate of the optimizer's first group at that step; NaN without an optimizer.
        S: S_l of every unit, at learning rate 1.
    """

    step: int
    lr: float
    S: NDArray[np.float64]

    @property
    def row(self) -> dict[str, float]:
        """The row of :attr:`UpdateLogger.table`."""
        S_bar = float(self.S.mean())
        return {
            "step": self.step,
            "lr": self.lr,
            "S_bar": S_bar,
            "S_bar_at_lr": self.lr**2 * S_bar,
            "lr_star": S_bar**-0.5,
        }


COLUMNS = ("step", "lr", "S_bar", "S_bar_at_lr", "lr_star")


class UpdateLogger:
    """Measures S_l every ``every`` steps of a training loop, without an effect on the training.

    Weights, buffers, gradients, the optimizer's state and the random generators are bit for bit those of a run without
    it, even if a measurement fails. Call it before ``optimizer.step()``. With ``optimizer``, it measures the step that
    the optimizer would take next on the batch, including its momentum and moments.

    A measurement is a forward, a backward and a forward-mode pass, and costs about 3 training steps (measured on
    one CPU core: 2.9 to 3.1 for ``cnn(4, width=32)`` and 2.5 to 2.9 for ``resnet(4, width=32, batchnorm=True)`` on 64
    images of 16×16), so the overhead is about 3/every: 3 % at every=100. :attr:`overhead` is the measured share.

    Args:
        model: the module that is trained. Pass the original module, not a compiled or wrapped one (``ddp.module``).
        every: measure at steps that are multiples of this number.
        loss: as in :func:`ammup.measure_updates`.
        optimizer: the optimizer of the loop, whose step must be proportional to its learning rate; None measures SGD.
            While its learning rate is 0, as at the start of a warm-up, a measurement raises InputError.
        units: as in :func:`ammup.measure_updates`; later measurements use the units of the first one.
        forward: as in :func:`ammup.measure_updates`.

    Raises:
        InputError: ``every`` below 1.

    Example:
        >>> import ammup, torch
        >>> net, x, y = ammup.mlp(2, width=16, in_features=8), torch.ones(2, 8), torch.tensor([0, 1])
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> logger = ammup.UpdateLogger(net, every=2, optimizer=optimizer)
        >>> for step in range(5):
        ...     optimizer.zero_grad()
        ...     torch.nn.functional.cross_entropy(net(x), y).backward()
        ...     logger(step, x, y)
        ...     optimizer.step()
        >>> logger.table["step"].tolist()
        [0, 2, 4]
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 100,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        units: Sequence[str] | None = None,
        forward: Forward | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; give the nn.Module that is trained")
        if every < 1:
            raise InputError(f"every={every} must be at least 1")
        self.model, self.every, self.loss, self.optimizer, self.forward = model, every, loss, optimizer, forward
        self.units = None if units is None else tuple(units)
        self._logged: dict[int, Logged] = {}
        self._started: float | None = None
        self._spent = 0.0

    def __call__(self, step: int, inputs: Any, targets: Tensor | None = None) -> None:
        """Measure before training step ``step``, if it is a multiple of ``every``.

        Args:
            step: number of the step; a second measurement of one step replaces the first.
            inputs: the batch, as in :func:`ammup.measure_updates`.
            targets: its targets; None draws labels.

        Raises:
            InputError: :func:`ammup.measure_updates` rejects the input; nothing is logged then.
        """
        if step % self.every and self._started is not None:
            return
        began = self._now()
        if self._started is None:
            self._started = began
        if step % self.every == 0:
            try:
                self._measure(step, inputs, targets)
            finally:
                self._spent += self._now() - began

    def _measure(self, step: int, inputs: Any, targets: Tensor | None) -> None:
        moments = measure_updates(
            self.model,
            inputs,
            targets,
            loss=self.loss,
            units=self.units,
            forward=self.forward,
            optimizer=self.optimizer,
        )
        self.units = moments.units  # stored, because finding them takes another forward
        lr = float("nan") if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])
        self._logged[step] = Logged(step=step, lr=lr, S=moments.S)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each measurement.

        ``step``; ``lr``, that of the optimizer's first group, NaN without an optimizer; ``S_bar`` at learning rate 1
        (the other groups keep their ratio to the first); ``S_bar_at_lr`` = lr² S_bar; ``lr_star`` = S_bar^(-1/2), the
        learning rate of the first group at which S̄ = 1.
        """
        return pd.DataFrame([logged.row for logged in self._logged.values()], columns=list(COLUMNS))

    @property
    def S(self) -> dict[int, NDArray[np.float64]]:  # noqa: N802  (the paper's symbol)
        """S_l at learning rate 1 by step; one value for each of ``units``."""
        return {step: logged.S for step, logged in self._logged.items()}

    @property
    def overhead(self) -> float:
        """Share of the wall time since the first call that was spent on measurements; 0 before the first call."""
        return 0.0 if self._started is None else self._spent / (self._now() - self._started)

    def _now(self) -> float:
        # Wait for the GPU, so that pending work of the training step is not counted as measurement time.
        if any(p.is_cuda for p in self.model.parameters()):
            torch.cuda.synchronize()
        return time.perf_counter()
