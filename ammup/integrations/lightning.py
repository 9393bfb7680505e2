"""`UpdateMonitor` for Lightning: S̄ and η* during ``Trainer.fit``. Needs ``pip install 'ammup[lightning]'``."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from ammup.errors import InputError
from ammup.measurement.logger import UpdateLogger
from ammup.measurement.loss import Loss
from ammup.models.depth import Forward


def _lightning() -> Any:
    """The package that the program uses: ``lightning.pytorch`` or ``pytorch_lightning``, whose classes differ."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise InputError("ammup.integrations.lightning needs Lightning: pip install 'ammup[lightning]'")


if TYPE_CHECKING:
    import pandas as pd

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

# Maps a batch to (inputs, targets), as the loader and the loss have them.
Split = Callable[[Any], tuple[Any, Any]]


class UpdateMonitor(_lightning().Callback):  # type: ignore[misc]
    """Measures S̄ of the optimizer's next step every ``every`` optimizer steps, and logs it to the trainer's loggers.

    A thin layer around :class:`ammup.UpdateLogger`, whose guarantees apply: training is bit for bit that without it.
    With accumulated gradients, the step is that of the last batch alone. With several processes, the first one measures
    its own batch, and the others do not wait for it. The measurements are part of the trainer's checkpoints.

    Args:
        every: measure before optimizer steps that are multiples of this number.
        loss: as in :func:`ammup.measure_updates`.
        module: name of the submodule to measure, such as "net"; None measures the LightningModule itself, whose
            ``forward`` must then be that of training.
        split: maps a batch to (inputs, targets); None takes a pair.
        units: as in :func:`ammup.measure_updates`.
        forward: as in :func:`ammup.measure_updates`.

    Attributes:
        logger: the :class:`ammup.UpdateLogger`; None before the training starts.

    Example:
        ``lightning.Trainer(callbacks=[UpdateMonitor(every=100, loss="cross_entropy")])``
    """

    def __init__(
        self,
        *,
        every: int = 100,
        loss: Loss | None = None,
        module: str | None = None,
        split: Split | None = None,
        units: Sequence[str] | None = None,
        forward: Forward | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"every={every} must be at least 1")
        self.every, self.loss, self.module, self.split = every, loss, module, split
        self.units, self.forward = units, forward
        self.logger: UpdateLogger | None = None
        self._state: dict[str, Any] | None = None
        self._batch: Any = None

    @property
    def table(self) -> "pd.DataFrame":
        """The table of the :class:`ammup.UpdateLogger`.

        Raises:
            InputError: the training has not started.
        """
        if self.logger is None:
            raise InputError("there are no measurements before the training; call trainer.fit first")
        return self.logger.table

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """See Lightning. Restores the measurements of a checkpoint."""
        self.logger = UpdateLogger(
            self._measured_module(pl_module),
            every=self.every,
            loss=self.loss,
            optimizer=None,  # known at the first step
            units=self.units,
            forward=self.forward,
            autocast=AUTOCAST.get(str(trainer.precision)),
            log=lambda values, step: [one.log_metrics(values, step=step) for one in trainer.loggers],
        )
        if self._state is not None:
            self.logger.load_state_dict(self._state)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """See Lightning."""
        self._batch = batch if trainer.is_global_zero and trainer.global_step % self.every == 0 else None

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """See Lightning. Measures, if it is a step to measure."""
        if self._batch is None or self.logger is None:
            return
        inputs, targets = self._split(self._batch)
        self.logger.set_optimizer(optimizer)
        self.logger(trainer.global_step, inputs, targets)
        self._batch = None

    def state_dict(self) -> dict[str, Any]:
        """The measurements, for a checkpoint."""
        return {} if self.logger is None else self.logger.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the measurements of a checkpoint."""
        self._state = state_dict or None
        if self._state is not None and self.logger is not None:
            self.logger.load_state_dict(self._state)

    def _measured_module(self, pl_module: nn.Module) -> nn.Module:
        if self.module is None:
            return pl_module
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError as error:
            names = ", ".join(name for name, _ in pl_module.named_children())
            raise InputError(f"module={self.module!r} does not exist; the LightningModule has {names}") from error

    def _split(self, batch: Any) -> tuple[Any, Any]:
        if self.split is not None:
            return self.split(batch)
        if isinstance(batch, tuple | list) and len(batch) == 2:
            return batch[0], batch[1]
        raise InputError(f"the batch is a {type(batch).__name__}; give split=, which maps it to (inputs, targets)")
