"""`UpdateMonitor` for the Trainer of transformers. Needs ``pip install 'ammup[transformers]'``."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ammup.errors import InputError
from ammup.measurement.logger import Log, UpdateLogger
from ammup.measurement.loss import Loss


def _transformers() -> Any:
    try:
        return import_module("transformers")
    except ImportError as error:
        needed = "ammup.integrations.transformers needs transformers: pip install 'ammup[transformers]'"
        raise InputError(needed) from error


if TYPE_CHECKING:
    import pandas as pd

STATE_FILE = "ammup_updates.json"

Batch = Mapping[str, Any]
Forward = Callable[[nn.Module, Any], Tensor]


class UpdateMonitor(_transformers().TrainerCallback):  # type: ignore[misc]
    """Measures S̄ of the optimizer's next step every ``every`` steps of a transformers Trainer.

    A thin layer around :class:`ammup.UpdateLogger`, whose guarantees apply: training is bit for bit that without it.
    The batch is the last one that the model received before the step: with accumulated gradients, the step is that of
    this batch alone. With several processes, the first one measures its own batch. The measurements are part of the
    Trainer's checkpoints.

    Args:
        every: measure before steps that are multiples of this number.
        loss: ``loss(logits, labels)``, or a name as in :func:`ammup.measure_updates`. None is the cross-entropy; if the
            logits have a position axis, that of each token from those before it for causal language models, and of
            the labels as they are for other models. Labels of -100 are ignored.
        log: as in :class:`ammup.UpdateLogger`.
        units: as in :func:`ammup.measure_updates`.
        forward: ``forward(model, batch)`` -> logits; None takes ``model(**batch).logits`` without the labels.

    Attributes:
        logger: the :class:`ammup.UpdateLogger`; None before the training starts.
    """

    def __init__(
        self,
        *,
        every: int = 100,
        loss: Loss | None = None,
        log: Log | None = None,
        units: Sequence[str] | None = None,
        forward: Forward | None = None,
    ) -> None:
        if every < 1:
            raise InputError(f"every={every} must be at least 1")
        self.every, self.loss, self.log, self.units, self.forward = every, loss, log, units, forward
        self.logger: UpdateLogger | None = None
        self._hook: RemovableHandle | None = None
        self._batch: dict[str, Any] | None = None

    @property
    def table(self) -> "pd.DataFrame":
        """The table of the :class:`ammup.UpdateLogger`.

        Raises:
            InputError: the training has not started.
        """
        if self.logger is None:
            raise InputError("there are no measurements before the training; call trainer.train first")
        return self.logger.table

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See transformers."""
        model = kwargs["model"]
        self.logger = UpdateLogger(
            model,
            every=self.every,
            loss=self.loss or _token_loss(model),
            units=self.units,
            forward=self.forward or _logits,
            autocast=torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
            log=self.log,
        )
        saved = _saved(args, state)
        if state.global_step and saved.is_file():  # the training continues at a checkpoint
            self.logger.load_state_dict(json.loads(saved.read_text(encoding="utf-8")))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See transformers. Adds the measurements to the checkpoint."""
        path = _saved(args, state)
        if self.logger is not None and state.is_world_process_zero and path.parent.is_dir():
            path.write_text(json.dumps(self.logger.state_dict()), encoding="utf-8")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See transformers. Listens to the batches of a step that will be measured."""
        if state.is_world_process_zero and state.global_step % self.every == 0:
            self._hook = kwargs["model"].register_forward_pre_hook(self._receive, with_kwargs=True)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See transformers. Measures, if it is a step to measure."""
        if self._hook is None or self.logger is None:
            return
        self._hook.remove()  # the measurement runs the model as well
        self._hook, batch, self._batch = None, self._batch, None
        if batch is not None:
            self.logger.set_optimizer(kwargs["optimizer"])
            inputs = {name: value for name, value in batch.items() if name not in ("labels", "num_items_in_batch")}
            self.logger(state.global_step, inputs, batch.get("labels"))

    def _receive(self, _module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._batch = kwargs


def _saved(args: Any, state: Any) -> Path:
    """The file with the measurements in the checkpoint of this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE_FILE


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """The logits (B, M) or (B, M, T), with the classes before the positions."""
    logits: Tensor = model(**batch).logits
    return logits.movedim(-1, 1)


def _token_loss(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The cross-entropy of logits (B, M, *T) and labels; that of the next token for causal language models."""
    causal = "CausalLM" in type(model).__name__ or type(model).__name__.endswith("LMHeadModel")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if causal:
            logits, labels = logits[:, :, :-1], labels[:, 1:]
        return F.cross_entropy(logits, labels)

    return loss
