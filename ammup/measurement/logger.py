"""Measurement of S̄ during the user's own training loop."""

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from ammup.errors import InputError
from ammup.format import brief_fields, brief_repr, count_text
from ammup.measurement.autocast import active_autocast
from ammup.measurement.first_step import check_optimizes, inner_optimizer
from ammup.measurement.loss import Loss, Objective, Targets, resolved_loss
from ammup.measurement.observation import checked_units
from ammup.measurement.updates import measure_updates
from ammup.models.array_input import tensor_if_array
from ammup.models.depth import Forward
from ammup.models.wrappers import inner_name, unwrapped

# The parts of an error message that differ between failures of one kind: quoted names and numbers.
_PARTICULARS = re.compile(r"'[^']*'|[-+]?\d[\d.,e+-]*|\b(nan|inf)\b")


class MeasurementWarning(UserWarning):
    """A training step could not be measured; its row in the logger's table is NaN."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One measurement.

    Attributes:
        step: the training step; the measurement was made before it.
        lr: learning rate of the optimizer's first group at that step; NaN without an optimizer.
        S: S_l of every unit, at learning rate 1; empty if the measurement failed.
    """

    step: int
    lr: float
    S: NDArray[np.float64]

    __repr__ = brief_fields

    @property
    def row(self) -> dict[str, float]:
        """The row of :attr:`UpdateLogger.table`."""
        S_bar = float(self.S.mean()) if self.S.size else float("nan")
        return {
            "step": self.step,
            "lr": self.lr,
            "S_bar": S_bar,
            "S_bar_at_lr": self.lr * self.lr * S_bar,
            "lr_star": S_bar**-0.5,
        }


# Called with (values by name, step) after each measurement.
Log = Callable[[dict[str, float], int], object]
PREFIX = "ammup/"  # of the names of logged values
COLUMNS = ("step", "lr", "S_bar", "S_bar_at_lr", "lr_star")


class UpdateLogger:
    """Measures S_l every ``every`` steps of a training loop, without an effect on the training.

    Weights, buffers, gradients, the optimizer's state and the random generators are bit for bit those of a run without
    it, even if a measurement fails. Call it before ``optimizer.step()``. With ``optimizer``, it measures the step that
    the optimizer would take next on the batch, including its momentum and moments.

    A measurement that fails does not end the training: its row in :attr:`table` is NaN, and the first failure of each
    kind is reported by a :class:`MeasurementWarning`. Examples are a learning rate of 0 at the start of a warm-up,
    weights that are NaN because training diverged, a batch that the model rejects, and too little memory. Only missing
    ``loss`` raises an error in the loop, and it does so in the first call.

    Under autocast, the gradient is computed as in training, in the lower precision, and the change of the units along
    the step for this gradient in float64; see :mod:`ammup.measurement.autocast`.

    A measurement is a forward, a backward and a forward-mode pass, and costs about 3 training steps (measured on
    one CPU core: 2.9 to 3.1 for ``cnn(4, width=32)`` and 2.5 to 2.9 for ``resnet(4, width=32, batchnorm=True)`` on 64
    images of 16×16), so the overhead is about 3/every: 3 % at every=100. Under autocast it costs more, because it
    computes in float64: 8 training steps for a CNN of 6 layers on a CPU. :attr:`overhead` is the measured share.

    Args:
        model: the module that is trained. Pass the original module, not a compiled or wrapped one (``ddp.module``).
        every: measure at steps that are multiples of this number.
        loss: as in :func:`ammup.measure_updates`.
        optimizer: the optimizer of the loop, whose step must be proportional to its learning rate; None measures SGD.
        units: as in :func:`ammup.measure_updates`; later measurements use the units of the first one.
        forward: as in :func:`ammup.measure_updates`.
        autocast: the dtype of the autocast in which the model is trained, such as torch.bfloat16. None takes that of
            the autocast that is active at the call. Loops usually leave it before the backward pass; give the dtype
            if the logger is called after that.
        log: called with ({"ammup/lr_star": …, "ammup/S_bar": …, "ammup/S_bar_at_lr": …, "ammup/lr": …}, step) after
            each measurement that did not fail, such as ``run.log`` of W&B; see :mod:`ammup.integrations.loggers` for
            others. If it raises an exception, this is reported like a failed measurement.

    Raises:
        InputError: ``every`` is below 1, the loss is unknown, the model has no such units, or the optimizer has none of
            its parameters.

    Example:
        >>> import ammup, torch
        >>> net, x, y = ammup.mlp(2, width=16, in_features=8), torch.ones(2, 8), torch.tensor([0, 1])
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> logger = ammup.UpdateLogger(net, every=2, loss="cross_entropy", optimizer=optimizer)
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
        autocast: torch.dtype | None = None,
        log: Log | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; give the nn.Module that is trained")
        if every < 1:
            raise InputError(f"every={every} must be at least 1")
        if loss is not None:
            Objective(loss=loss, part="total", label_draws=1)  # checks it
        self.model, self.every, self.loss, self.forward = model, every, loss, forward
        self.optimizer: Optimizer | None = None
        if optimizer is not None:
            self.set_optimizer(optimizer)
        self.autocast, self.log = autocast, log
        self.units = None if units is None else tuple(units)
        if self.units is not None:
            checked_units(unwrapped(model), [inner_name(unit) for unit in self.units])
        self._warned: set[str] = set()
        self._logged: dict[int, Logged] = {}
        self._started: float | None = None
        self._spent = 0.0

    def __repr__(self) -> str:
        return brief_repr(self, f"{count_text(len(self._logged), 'step')} logged", every=self.every, loss=self.loss)

    def __call__(self, step: int, inputs: Any, targets: Targets | None = None) -> None:
        """Measure before training step ``step``, if it is a multiple of ``every``.

        Args:
            step: number of the step; a second measurement of one step replaces the first.
            inputs: the batch, as in :func:`ammup.measure_updates`.
            targets: its targets; None draws labels.

        Raises:
            InputError: the targets are class indices and the logger has no loss; only in the first call.
        """
        if self._started is None:
            resolved_loss(self.loss, tensor_if_array("targets", targets))
        if step % self.every and self._started is not None:
            return
        began = self._now()
        if self._started is None:
            self._started = began
        if step % self.every == 0:
            lr = float("nan") if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])
            self._logged[step] = Logged(step=step, lr=lr, S=np.empty(0))  # remains if the measurement fails
            try:
                self._logged[step] = Logged(step=step, lr=lr, S=self._measured(inputs, targets))
                self._send(self._logged[step])
            except Exception as error:  # whatever it is, it must not end the training
                self._warn(step, error)
            finally:
                self._spent += self._now() - began

    def _send(self, logged: Logged) -> None:
        """Pass a measurement to the user's log."""
        if self.log is None:
            return
        values = {f"{PREFIX}{name}": value for name, value in logged.row.items() if name != "step"}
        try:
            self.log({name: value for name, value in values.items() if not np.isnan(value)}, logged.step)
        except Exception as error:
            raise InputError(f"log raised {type(error).__name__}: {error}") from error

    def state_dict(self) -> dict[str, Any]:
        """The measurements so far, as numbers and lists, for a checkpoint."""
        rows = [{"step": one.step, "lr": one.lr, "S": one.S.tolist()} for one in self._logged.values()]
        return {"units": None if self.units is None else list(self.units), "logged": rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the measurements of a checkpoint; those of later steps replace rows of equal steps.

        Raises:
            InputError: the state is not that of a logger.
        """
        try:
            rows = [Logged(step=row["step"], lr=row["lr"], S=np.array(row["S"], float)) for row in state["logged"]]
            units = state["units"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state is not that of an UpdateLogger: {type(error).__name__}: {error}") from error
        self._logged = {row.step: row for row in rows}
        self.units = None if units is None else tuple(units)

    def _measured(self, inputs: Any, targets: Targets | None) -> NDArray[np.float64]:
        moments = measure_updates(
            self.model,
            inputs,
            targets,
            loss=self.loss,
            units=self.units,
            forward=self.forward,
            optimizer=self.optimizer,
            autocast=active_autocast(self.model) if self.autocast is None else self.autocast,
        )
        self.units = moments.units  # stored, because finding them takes another forward
        return moments.S

    def _warn(self, step: int, error: Exception) -> None:
        """Warn of a failure unless one of the same kind was reported before."""
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        if not self._logged[step].S.size and not _has_finite_weights(self.model):
            reason = "the weights contain NaN or infinite values, as after training that diverged"
        reason = reason.strip().splitlines()[0]
        failed = f"measure step {step}, so its row is NaN"
        if self._logged[step].S.size:
            failed = f"pass on the measurement of step {step}"
        kind = _PARTICULARS.sub("", reason)
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(
                f"UpdateLogger could not {failed}: {reason} (training continues; other steps that fail for this reason "
                "give no warning)",
                MeasurementWarning,
                stacklevel=3,
            )

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Measure the next steps of this optimizer, for loops that create it after the logger.

        Args:
            optimizer: the optimizer of the loop, or a wrapper around it, as of accelerate and Lightning.

        Raises:
            InputError: it is no optimizer, or has none of the model's parameters.
        """
        inner = inner_optimizer(optimizer)
        if not isinstance(inner, Optimizer):
            raise InputError(f"optimizer is a {type(inner).__name__}; give the torch.optim.Optimizer of the loop")
        if inner is not self.optimizer:
            check_optimizes(inner, dict(self.model.named_parameters()))
        self.optimizer = inner

    @property
    def table(self) -> pd.DataFrame:
        """One row for each measurement; NaN except for ``step`` and ``lr`` if it failed.

        ``step``; ``lr``, that of the optimizer's first group, NaN without an optimizer; ``S_bar`` at learning rate 1
        (the other groups keep their ratio to the first); ``S_bar_at_lr`` = lr² S_bar; ``lr_star`` = S_bar^(-1/2), the
        learning rate of the first group at which S̄ = 1.
        """
        return pd.DataFrame([logged.row for logged in self._logged.values()], columns=list(COLUMNS))

    @property
    def S(self) -> dict[int, NDArray[np.float64]]:  # noqa: N802  (the paper's symbol)
        """S_l at learning rate 1 by step, without steps that could not be measured; one value for each of ``units``."""
        return {step: logged.S for step, logged in self._logged.items() if logged.S.size}

    @property
    def overhead(self) -> float:
        """Share of the wall time since the first call that was spent on measurements; 0 before the first call."""
        return 0.0 if self._started is None else self._spent / (self._now() - self._started)

    def _now(self) -> float:
        # Wait for the GPU, so that pending work of the training step is not counted as measurement time.
        if any(p.is_cuda for p in self.model.parameters()):
            torch.cuda.synchronize()
        return time.perf_counter()


def _has_finite_weights(model: nn.Module) -> bool:
    """Whether no weight is NaN or infinite; True if that is unknown, as for weights without a shape."""
    try:
        return all(bool(torch.isfinite(p).all()) for p in model.parameters())
    except Exception:  # only words of a warning depend on it
        return True
