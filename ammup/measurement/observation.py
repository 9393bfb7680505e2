"""Observing the units of a model during one forward pass, and checks of their names and of the model's outputs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from ammup.errors import InputError
from ammup.measurement.loss import Objective
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import OWN_NETS, structure_of, units_of
from ammup.models.flow import observed
from ammup.models.purity import reason_against_purity
from ammup.models.state import ModelState

PAIR = 2


@contextmanager
def observed_units(model: nn.Module, units: Sequence[str], record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """A context for one forward pass, which calls ``record(name, output)`` for each unit.

    If a module returns a tuple (such as attention or a recurrent layer), its output is the first element.

    Raises:
        InputError: a unit does not return a tensor, or did not run exactly once.
    """
    runs = dict.fromkeys(units, 0)

    def observe(name: str, output: Any) -> None:
        tensor = output
        while isinstance(tensor, tuple | list) and tensor:  # a packed sequence is a tuple as well
            tensor = tensor[0]
        if not isinstance(tensor, Tensor):
            raise InputError(f"unit {name!r} returned {type(output).__name__}; expected a tensor")
        runs[name] += 1
        record(name, tensor)

    with observed(model, units, observe):
        yield
    check_runs(runs)


def check_runs(runs: Mapping[str, int]) -> None:
    """Raise InputError if a unit did not run exactly once; ``runs`` has the number of runs of each unit."""
    wrong = [name for name, n in runs.items() if n != 1]
    if wrong:
        raise InputError(f"units {wrong} did not run exactly once in a forward pass", python="pass units= that do")


def checked_outputs(outputs: Any, inputs: Any, objective: Objective) -> Tensor:
    """The outputs of a model, after checking that they are a tensor (batch, outputs, …); (batch,) is allowed with mse.

    Raises:
        InputError: the outputs have another type or shape.
    """
    axes = 1 if objective.loss == "mse" else 2
    fits = isinstance(outputs, Tensor) and outputs.ndim >= axes
    if not fits or (isinstance(inputs, Tensor) and len(outputs) != len(inputs)):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"the model returned {got}; loss={objective.loss!r} needs a tensor (batch, outputs, …)",
            python="extract it with forward=lambda model, inputs: …, or pass a callable loss, which may accept any "
            "outputs",
            option="give a factory whose model returns that tensor alone",
        )
    tensor: Tensor = outputs
    return tensor


def resolved_units(model: nn.Module, spec: MeasurementSpec, inputs: Any, state: ModelState | None) -> tuple[str, ...]:
    """The units named by the user, or the depth units of the model.

    Raises:
        InputError: a name is unknown, or the model has no units.
    """
    if spec.units is not None:
        return checked_units(model, spec.units)
    # The data flow of the library's own nets can be traced; that of other models is recorded from a forward pass.
    traceable = type(model).__module__ == OWN_NETS and spec.forward is None
    if traceable:
        return units_of(model, structure_of(model, state=state))
    if spec.forward is None and len(inputs) > PAIR and not reason_against_purity(model):
        # The operations of a pure model hardly depend on the batch size; batch norm needs at least two samples.
        with suppress(InputError):
            return units_of(model, structure_of(model, inputs[:PAIR], state=state))
    return units_of(model, structure_of(model, inputs, forward=spec.forward, state=state))


def checked_units(model: nn.Module, units: Sequence[str]) -> tuple[str, ...]:
    """The units named by the user, after checking that they are distinct and belong to modules of the model.

    Whether a function (``name:add``) or a second call (``name@2``) exists is only known in a forward pass.

    Raises:
        InputError: there are no names, a name is repeated, or a module is not in the model.
    """
    modules = {name for name, _ in model.named_modules()}
    unknown = sorted({name for name in units if re.split("[:@]", name)[0] not in modules})
    if unknown or not units or len(set(units)) < len(units):
        raise InputError(f"units={list(units)}: expected distinct module names; not in the model: {unknown}")
    return tuple(units)
