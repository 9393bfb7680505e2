"""The units of a model as they are observed during one forward, and the checks of their names and of the outputs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ammup.errors import InputError
from ammup.measurement.loss import Objective
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import OWN_NETS, structure_of, units_of
from ammup.models.flow import observed
from ammup.models.state import ModelState


@contextmanager
def observed_units(model: nn.Module, units: Sequence[str], record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand the output of each unit to ``record`` during the one forward inside.

    Of a module that returns a tuple (attention, a recurrent layer) that is its first tensor.

    Raises:
        InputError: a unit that returns no tensor, or that did not run exactly once.
    """
    runs = dict.fromkeys(units, 0)

    def observe(name: str, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(tensor, Tensor):
            raise InputError(f"unit {name!r} returned {type(output).__name__}; a unit's output is a tensor")
        runs[name] += 1
        record(name, tensor)

    with observed(model, units, observe):
        yield
    check_runs(runs)


def check_runs(runs: Mapping[str, int]) -> None:
    """Raise InputError for units that did not run exactly once."""
    wrong = [name for name, n in runs.items() if n != 1]
    if wrong:
        raise InputError(f"units {wrong} did not run exactly once in a forward; pass units= that do")


def checked_outputs(outputs: Any, inputs: Any, objective: Objective) -> Tensor:
    """The outputs of a model where they are a tensor (batch, outputs, …), or (batch,) with mse.

    Raises:
        InputError: they are anything else.
    """
    axes = 1 if objective.loss == "mse" else 2
    fits = isinstance(outputs, Tensor) and outputs.ndim >= axes
    if not fits or (isinstance(inputs, Tensor) and len(outputs) != len(inputs)):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"the model returned {got}; loss={objective.loss!r} takes a tensor (batch, outputs, …), which "
            "forward=lambda model, inputs: … can take from what it returns; a callable loss takes anything"
        )
    tensor: Tensor = outputs
    return tensor


def resolved_units(model: nn.Module, spec: MeasurementSpec, inputs: Any, state: ModelState | None) -> tuple[str, ...]:
    """The names given by the user, or the depth units that are found.

    Raises:
        InputError: unknown names, or a model without units.
    """
    if spec.units is not None:
        return checked_units(model, spec.units)
    # The flow of other people's models is recorded from a run; that of our own nets can be traced.
    traceable = type(model).__module__ == OWN_NETS and spec.forward is None
    example = None if traceable else inputs
    return units_of(model, structure_of(model, example, forward=spec.forward, state=state))


def checked_units(model: nn.Module, units: Sequence[str]) -> tuple[str, ...]:
    """Names given by the user; those of functions and of second calls are known to a run alone."""
    modules = {name for name, _ in model.named_modules()}
    unknown = sorted({name for name in units if re.split("[:@]", name)[0] not in modules})
    if unknown or not units or len(set(units)) < len(units):
        raise InputError(f"units={list(units)} must be distinct module names; not in the model: {unknown}")
    return tuple(units)
