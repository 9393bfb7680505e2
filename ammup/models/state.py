"""Everything that running a model may change in it, recorded so that it can be put back.

A forward can do more than compute: batch norm moves its statistics, ``Embedding(max_norm=…)`` rescales its weight, user
code counts its calls or keeps an activation. Around whatever runs a user's model, :func:`preserved` restores

* every parameter and buffer under every name it is registered by: the same objects with the same bits, storage,
  ``requires_grad`` and ``.grad``;
* every value in the ``__dict__`` of every submodule, with the contents of lists, dicts, sets, arrays and tensors found
  there, and the attributes of plain objects (one level deep);
* the state of random generators that the model owns.

Torch's, NumPy's and Python's global generators are restored by :func:`ammup.models.streams.seeded`. What a forward
writes elsewhere (class attributes, global variables, files) is not seen.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

Restore = Callable[[], Any]
ATOMS = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (dict, list, set, deque, tuple)
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
# Objects of these kinds hold no state of a model, or none that an assignment to attributes could restore.
OPAQUE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


class ModelState:
    """The state of a model when this was made.

    Attributes:
        tensors: every tensor found, in the order in which it was found.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tensors: list[Tensor] = []
        self._restores: list[Restore] = []
        self._empty: list[dict[Any, Any] | set[Any]] = []  # a module has a dozen tables, most of them empty
        self._seen: dict[int, object] = {}  # the object too, so that its id is not given to another one
        pending: list[tuple[object, bool]] = [(model, False)]
        while pending:
            value, inside_object = pending.pop()
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                pending.extend(self._record(value, inside_object))

    def restore(self) -> None:
        """Put everything back. What has not changed is not written to."""
        with torch.no_grad():
            for restore in self._restores:
                restore()
        for container in self._empty:
            if container:
                container.clear()

    def _record(self, value: object, inside_object: bool) -> list[tuple[object, bool]]:
        """Record how to restore one value; return what it holds, and whether that is inside a plain object."""
        if isinstance(value, Tensor):
            self.tensors.append(value)
            self._restores.append(_TensorState(value).restore)
            return []
        if isinstance(value, np.ndarray):
            if value.flags.writeable and not value.dtype.hasobject:
                self._restores.append(partial(_restore_array, value, value.copy()))
            return []
        if (generator := _generator(value)) is not None:
            self._restores.append(generator)
            return []
        if isinstance(value, CONTAINERS):
            if (contents := _contents(value)) is not None:
                self._restores.append(contents)
            return self._held(value.values() if isinstance(value, dict) else value, inside_object)
        attributes = getattr(value, "__dict__", None)
        if not isinstance(attributes, dict) or isinstance(value, OPAQUE):
            return []
        if not isinstance(value, nn.Module):
            if inside_object:
                return []  # a trainer or a data set that the model refers to: no further
            inside_object = True
        self._restores.append(partial(_restore_dict, attributes, list(attributes.items())))
        return self._held(attributes.values(), inside_object)

    def _held(self, items: Iterable[Any], inside_object: bool) -> list[tuple[object, bool]]:
        """Those of the items that have to be recorded."""
        found = []
        for item in items:
            if isinstance(item, dict | set) and not item:
                self._empty.append(item)
            elif type(item) not in ATOMS:
                found.append((item, inside_object))
        return found


@contextmanager
def substituted(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Parameters and buffers replaced by name inside, under every name that they are registered by.

    ``torch.func.functional_call`` puts the replacement back in place of a tensor that has two names.

    Args:
        model: the module.
        tensors: names as in ``named_parameters`` and ``named_buffers``.
    """
    named = dict((*model.named_parameters(), *model.named_buffers()))
    replacements = {id(named[name]): tensor for name, tensor in tensors.items()}
    places: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if id(tensor) in replacements and tensor is not None:
                    places.append((cast(dict[str, Tensor | None], table), name, tensor))
    for table, name, original in places:
        table[name] = replacements[id(original)]
    try:
        yield
    finally:
        for table, name, original in places:
            table[name] = original


@contextmanager
def preserved(model: nn.Module) -> Iterator[ModelState]:
    """Restore the model at the end, also after an exception; the state that is yielded restores it in between."""
    state = ModelState(model)
    try:
        yield state
    finally:
        state.restore()


def _contents(container: object) -> Restore | None:
    """How to restore what a container holds; None for a tuple, which cannot change."""
    if isinstance(container, dict):
        return partial(_restore_dict, container, list(container.items()))
    if isinstance(container, list | deque):
        return partial(_restore_sequence, container, list(container))
    if isinstance(container, set):
        return partial(_restore_set, container, set(container))
    return None


def _restore_dict(table: dict[Any, Any], saved: list[tuple[Any, Any]]) -> None:
    same = len(table) == len(saved) and all(
        key is k and value is v for (key, value), (k, v) in zip(table.items(), saved, strict=True)
    )
    if not same:
        table.clear()
        table.update(saved)


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
    """How to restore a random generator; None where the value is none."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    return None


class _TensorState:
    """The storage, bits, gradient and flags of a tensor, and its version counter."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.requires_grad = tensor.requires_grad
        self.gradient = tensor.grad if tensor.is_leaf else None
        lazy = isinstance(tensor, UninitializedParameter | UninitializedBuffer)
        self.original = tensor.detach() if tensor.layout is torch.strided and not (tensor.is_meta or lazy) else None
        self.copy = None if self.original is None else self.original.clone()
        # A graph that the user recorded before would otherwise report a change that is undone.
        self.version = None if lazy or tensor.is_inference() else _unsafe_preserve_version_counter(tensor)

    def restore(self) -> None:
        """Put it back, writing to what has changed only."""
        tensor = self.tensor
        if self.original is not None and self.copy is not None:
            if not _same_storage(tensor, self.original):
                tensor.data = self.original
            if not _same_bits(self.original, self.copy):
                self.original.data.copy_(self.copy)
        if tensor.is_leaf:
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
            if tensor.grad is not self.gradient:
                tensor.grad = self.gradient
        if self.version is not None:
            self.version.__exit__()


def _same_storage(a: Tensor, b: Tensor) -> bool:
    return (a.data_ptr(), a.shape, a.stride(), a.dtype) == (b.data_ptr(), b.shape, b.stride(), b.dtype)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(_as_integers(a), _as_integers(b))


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits of numbers with a fraction: NaN is unequal to itself, and 0 is equal to -0."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.view(INTEGERS[tensor.itemsize]) if tensor.is_floating_point() else tensor
