"""The optimizer and the schedule of one replica, which are torch's own objects, built from the training settings."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from ammup.errors import InputError, unknown
from ammup.models.names import imported
from ammup.training.components import Component
from ammup.training.runs import Training

T = TypeVar("T")

# Arguments of schedules that are the length of the training if they are not given.
LENGTHS = ("T_max", "total_steps", "total_iters")


def build_optimizer(parameters: Iterable[Tensor], training: Training, lr: float) -> Optimizer:
    """The optimizer of the training settings: SGD, or the class that they name.

    Raises:
        InputError: the name is unknown, or the class rejects the arguments or needs a closure.
    """
    if training.optimizer is None:
        return torch.optim.SGD(
            parameters, lr, momentum=training.momentum, weight_decay=training.weight_decay, foreach=True
        )
    kind = find_class("optimizer", training.optimizer, torch.optim, Optimizer)
    closure = inspect.signature(kind.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(f"optimizer {training.optimizer.name} needs a closure, which sweeps do not give; use another")
    build: Callable[..., Optimizer] = kind
    with _rejections("optimizer", training.optimizer):
        return build(parameters, lr=lr, **training.optimizer.arguments)


def build_schedule(optimizer: Optimizer, training: Training, *, steps: int) -> LRScheduler | None:
    """The schedule of the training settings after a linear warm-up; None without both.

    The learning rate of step t = 0, 1, … of a warm-up of W steps is (t + 1) / W of the one after it. Arguments that are
    the length of the training (T_max, total_steps, total_iters) are filled in, and so is max_lr, the learning rate.

    Args:
        optimizer: the optimizer.
        training: the settings.
        steps: number of training steps.

    Raises:
        InputError: the name is unknown, the class rejects the arguments, or the warm-up is as long as the training.
    """
    warmup, schedule = training.warmup or 0, training.schedule
    if warmup >= steps and warmup:
        raise InputError(f"warmup={warmup} must be below {steps}, the number of training steps")
    main: LRScheduler | None = None
    if schedule is not None:
        length = training.epochs if schedule.per == "epoch" else steps - warmup
        kind = find_class("schedule", schedule, torch.optim.lr_scheduler, LRScheduler)
        if issubclass(kind, ReduceLROnPlateau):
            raise InputError("schedule ReduceLROnPlateau needs a validation loss during training; use another schedule")
        with _rejections("schedule", schedule):
            main = kind(optimizer, **_filled(kind, schedule, length=length, lr=optimizer.param_groups[0]["lr"]))
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=max(1, warmup - 1))
    return SequentialLR(
        optimizer, [rise, main or ConstantLR(optimizer, factor=1.0, total_iters=0)], milestones=[warmup]
    )


def take_step(optimizer: Optimizer, training: Training) -> None:
    """One step of the optimizer.

    Raises:
        InputError: a class that the settings name rejects the gradients.
    """
    if training.optimizer is None:
        optimizer.step()
        return
    with _rejections("optimizer", training.optimizer):
        optimizer.step()


def advance(schedule: LRScheduler) -> None:
    """Advance the schedule by one period."""
    with warnings.catch_warnings():
        # SequentialLR of torch before 2.9 passes an argument to its parts that is deprecated.
        warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
        schedule.step()


def find_class(what: str, component: Component, module: Any, base: type[T]) -> type[T]:
    """The class that a component names: a subclass of ``base`` in ``module``, or PACKAGE.MODULE:CLASS, imported.

    Raises:
        InputError: there is no such class.
    """
    if ":" in component.name:
        found: Any = imported(component.name, what=what)
    else:
        known = {
            name: kind
            for name, kind in vars(module).items()
            if isinstance(kind, type) and issubclass(kind, base) and kind is not base and not name.startswith("_")
        }
        if component.name not in known:
            where = f"or give PACKAGE.MODULE:CLASS, a subclass of {base.__name__}"
            raise unknown(what, component.name, tuple(known), where)
        found = known[component.name]
    if not isinstance(found, type) or not issubclass(found, base):
        raise InputError(f"{what} {component.name!r} is not a subclass of {base.__module__}.{base.__name__}")
    return found


def _filled(kind: Callable[..., Any], schedule: Component, *, length: int, lr: float) -> dict[str, Any]:
    """The arguments of a schedule, with the length of the training and the learning rate."""
    names = inspect.signature(kind).parameters
    lengths = [name for name in LENGTHS if name in names]
    counted = "steps_per_epoch" in schedule.arguments  # of OneCycleLR, instead of total_steps
    filled: dict[str, Any] = {} if counted else dict.fromkeys(lengths, max(1, length))
    if "max_lr" in names:
        filled["max_lr"] = lr
    return filled | dict(schedule.arguments)


@contextmanager
def _rejections(what: str, component: Component) -> Iterator[None]:
    """Raise InputError instead of the errors with which a class rejects its arguments."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        given = dict(component.arguments)
        raise InputError(f"{what} {component.name} rejects the arguments {given}: {reason}") from error
