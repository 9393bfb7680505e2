"""Recording and restoring everything in a model that running it may change.

A forward can have side effects: batch norm updates its statistics, ``Embedding(max_norm=…)`` rescales its weight, user
code counts its calls or stores an activation. :func:`preserved` is used around every run of a user's model. It restores

* every parameter and buffer, under every name by which it is registered: the same objects with the same bits, storage,
  hooks, ``requires_grad`` and ``.grad``, including the bits of the gradient;
* every value in the ``__dict__`` of every submodule, with the contents of lists, dicts, sets, arrays and tensors there,
  and the attributes of plain objects (one level deep);
* the state of random generators that belong to the model.

Torch's, NumPy's and Python's global generators are restored by :func:`ammup.models.streams.seeded`. Changes
elsewhere (class attributes, global variables, files) are not restored. The record contains a copy of every tensor, so
it needs as much memory as the weights, their gradients and the buffers.
"""

import random
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ammup.errors import InputError
from ammup.models.modes import default_modes
from ammup.models.purity import constant_weights
from ammup.models.tensor_state import LAZY, StorageState, TensorState, restore_dict

Restore = Callable[[], Any]
ATOMS = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, set, deque, tuple)
BARE = (*CONTAINERS, OrderedDict)  # types without attributes
# Objects of these types are not recorded: they have no state that belongs to a model, or their state cannot be restored
# by setting attributes.
OPAQUE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


class ModelState:
    """The state of a model at the time of construction.

    Args:
        model: the module.
        record: False only collects the tensors, without copies; nothing can be restored then.
        constant: tensors whose elements and gradients do not change. They are not copied, so that only their other
            properties can be restored.

    Attributes:
        tensors: every tensor of the model, in the order of the search.
    """

    def __init__(self, model: nn.Module, *, record: bool = True, constant: Iterable[Tensor] = ()) -> None:
        self.tensors: list[Tensor] = []
        self._record_tensors = record
        self._constant = {id(tensor) for tensor in constant}
        self._restores: list[Restore] = []
        self._empty: list[dict[Any, Any] | set[Any]] = []  # a module has a dozen dicts, most of them empty
        self._storages: set[int] = set()
        seen: dict[tuple[int, bool], object] = {}  # stores the objects, so that no id is reused
        pending: deque[tuple[object, bool]] = deque([(model, False)])
        while pending:
            value, inside_object = pending.popleft()
            inside_object &= not isinstance(value, nn.Module)
            if (id(value), False) not in seen and (id(value), inside_object) not in seen:
                seen[id(value), inside_object] = value
                pending.extend(self._record(value, inside_object))

    def restore(self) -> None:
        """Restore everything, writing only to what has changed.

        Raises:
            Exception: the first error, raised after every other part has been restored.
        """
        failed: list[Exception] = []
        with torch.no_grad():
            for restore in self._restores:
                try:
                    restore()
                except Exception as error:  # the other parts must still be restored
                    failed.append(error)
        for container in self._empty:
            if container:
                container.clear()
        if failed:
            raise failed[0]

    def _record(self, value: Any, inside_object: bool) -> list[tuple[object, bool]]:
        """Record how to restore one value; return its contents as pairs (value, whether inside a plain object)."""
        if isinstance(value, Tensor):
            return self._tensor(value, inside_object)
        if isinstance(value, np.ndarray):
            if value.flags.writeable and not value.dtype.hasobject and not isinstance(value, np.memmap):
                self._restores.append(partial(_restore_array, value, value.copy()))
            return []
        if (generator := _generator(value)) is not None:
            self._restores.append(generator)
            return []
        contained: list[tuple[object, bool]] = []
        if isinstance(value, CONTAINERS):
            if (contents := _contents(value)) is not None:
                self._restores.append(contents)
            contained = self._to_record(value.values() if isinstance(value, dict) else value, inside_object)
        elif inside_object:
            return []  # an object inside a plain object, such as a trainer's data set: not followed
        inside_object |= not isinstance(value, nn.Module)
        for attributes, restore in _attributes(value):
            self._restores.append(restore)
            contained += self._to_record(attributes, inside_object)
        return contained

    def _tensor(self, tensor: Tensor, inside_object: bool) -> list[tuple[object, bool]]:
        """Record how to restore a tensor; return its gradient, or the tensors inside a wrapper."""
        self.tensors.append(tensor)
        if not self._record_tensors:
            return []
        if is_traceable_wrapper_subclass(tensor):  # a wrapper has no storage of its own
            return [(getattr(tensor, name), inside_object) for name in tensor.__tensor_flatten__()[0]]
        state = TensorState(tensor)
        self._restores.append(state.restore)
        if id(tensor) in self._constant:
            return []
        storage = state.storage()
        if storage is not None and storage.data_ptr() not in self._storages:
            self._storages.add(storage.data_ptr())
            self._restores.append(StorageState(storage).restore)
        return [] if state.gradient is None else [(state.gradient, inside_object)]

    def _to_record(self, items: Iterable[Any], inside_object: bool) -> list[tuple[object, bool]]:
        """The items that must be recorded; empty dicts and sets are recorded here."""
        pending = []
        for item in items:
            if type(item) in weakref.ProxyTypes:
                continue  # any other operation is forwarded to its referent, which may no longer exist
            if isinstance(item, dict | set) and not item:
                self._empty.append(item)
            elif type(item) not in ATOMS:
                pending.append((item, inside_object))
        return pending


@contextmanager
def preserved(model: nn.Module, state: ModelState | None = None, *, only_passes: bool = False) -> Iterator[ModelState]:
    """Restore the model at the end of the context, also after an exception.

    The state that is yielded can restore it earlier. Inside, torch is in its default modes.

    Args:
        model: the module.
        state: the recorded state of the model; None records it, which copies its tensors.
        only_passes: whether nothing but forward and backward passes of the model itself happens in the context. The
            weights that they cannot change are then not copied; see :func:`ammup.models.purity.constant_weights`.
    """
    with default_modes():
        state = state or ModelState(model, constant=constant_weights(model) if only_passes else ())
        try:
            yield state
        finally:
            state.restore()


def check_initialized(model: nn.Module) -> None:
    """Raise InputError for a model with lazy parameters, which its first run would replace permanently."""
    lazy = [name for name, p in (*model.named_parameters(), *model.named_buffers()) if isinstance(p, LAZY)]
    if lazy:
        raise InputError(
            f"{type(model).__name__} has parameters without a shape ({', '.join(lazy[:3])}); run it once on a batch, "
            "which initializes lazy modules"
        )


def _contents(container: object) -> Restore | None:
    """A function that restores the contents of a container; None for a tuple, which cannot change."""
    if isinstance(container, dict):
        return partial(restore_dict, container, list(container.items()))
    if isinstance(container, list | deque):
        return partial(_restore_sequence, container, list(container))
    if isinstance(container, set):
        return partial(_restore_set, container, set(container))
    return None


def _attributes(value: Any) -> Iterator[tuple[Iterable[Any], Restore]]:
    """Pairs (values, a function that restores them) of an object's attributes: its ``__dict__`` and its slots."""
    if isinstance(value, OPAQUE) or type(value) in BARE:
        return
    table = getattr(value, "__dict__", None)
    if isinstance(table, dict):
        yield table.values(), partial(restore_dict, table, list(table.items()))
    slots = [name for name in _slots(cast(Hashable, type(value))) if hasattr(value, name)]
    if slots:
        saved = [(name, getattr(value, name)) for name in slots]
        yield [item for _, item in saved], partial(_restore_slots, value, saved)


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    """The slots of a class and of its bases."""
    names: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return tuple(name for name in names if not name.startswith("__"))


def _restore_slots(value: object, saved: list[tuple[str, Any]]) -> None:
    for name, item in saved:
        if getattr(value, name, None) is not item:
            object.__setattr__(value, name, item)  # a frozen dataclass rejects setattr


def _restore_sequence(sequence: list[Any] | deque[Any], saved: list[Any]) -> None:
    if len(sequence) != len(saved) or any(a is not b for a, b in zip(sequence, saved, strict=True)):
        sequence.clear()
        sequence.extend(saved)


def _restore_set(items: set[Any], saved: set[Any]) -> None:
    if items != saved:
        items.clear()
        items.update(saved)


def _restore_array(array: NDArray[Any], saved: NDArray[Any]) -> None:
    if array.tobytes() != saved.tobytes():
        array[...] = saved


def _generator(value: object) -> Restore | None:
    """A function that restores a random generator; None if the value is not a generator or has no state."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    return None
