"""A description of a model and of global state; two of them are equal if a call changed nothing.

Version counters of tensors are not compared, because a write that is undone exactly still increments them.
"""

import random
import types
import weakref
import zlib
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo_parts.case import generator_states

OPAQUE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)
DEPTH = 3  # maximal nesting of containers and objects that is compared


def described(model: nn.Module) -> dict[str, object]:
    """The parts of a model, and the global settings, that a measurement must not change."""
    states = generator_states()
    found: dict[str, object] = {
        "global: torch generator": states[0].numpy().tobytes(),
        "global: NumPy generator": repr(states[1]),
        "global: Python generator": states[2],
        "global: gradient mode": torch.is_grad_enabled(),
        "global: default dtype": torch.get_default_dtype(),
        "global: threads": torch.get_num_threads(),
        "global: attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "global: autocast": torch.is_autocast_enabled("cpu"),
        "global: function modes": torch._C._len_torch_function_stack(),
    }
    for path, module in model.named_modules(remove_duplicate=False):
        found[f"{path or 'model'}: class"] = type(module)
        for table in ("_parameters", "_buffers", "_modules"):
            for name, value in (getattr(module, table, None) or {}).items():
                found[f"{path}.{name} in {table}"] = (id(value), _content(value, 0))
        for name, value in getattr(module, "__dict__", {}).items():
            found[f"{path}.{name}"] = (id(value), _content(value, 0))
        for name in _slots(type(module)):
            if hasattr(module, name):
                found[f"{path}.{name} in slots"] = _content(getattr(module, name), 0)
    return found


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The names of the changed entries."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name, ...) != after.get(name, ...))


def _slots(kind: type) -> list[str]:
    names = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return [n for group in names for n in ([group] if isinstance(group, str) else group) if not n.startswith("__")]


def _content(value: Any, depth: int) -> object:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    state = _generator(value)
    if state is not None:
        return state
    if type(value) in weakref.ProxyTypes or isinstance(value, (*OPAQUE, nn.Module)):
        return None
    if depth > DEPTH:
        return None
    if isinstance(value, dict):
        return [(repr(key)[:200], id(held), _content(held, depth + 1)) for key, held in value.items()]
    if isinstance(value, list | tuple | deque):
        return [(id(held), _content(held, depth + 1)) for held in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(held) for held in value)
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return repr(value)
    return [(name, _content(held, depth + 1)) for name, held in getattr(value, "__dict__", {}).items()]


def _generator(value: Any) -> object:
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    return None


def _tensor(tensor: Tensor) -> object:
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return "without a shape"
    flags = (
        type(tensor),
        tensor.dtype,
        tensor.device,
        tensor.requires_grad,
        tensor.layout,
        repr(tensor._backward_hooks),
    )
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_nested:
        return flags
    gradient = tensor.grad if tensor.is_leaf else None
    held = (id(gradient), None if gradient is None else bits(gradient))
    return (*flags, tensor.shape, tensor.stride(), bits(tensor), held)


def bits(tensor: Tensor) -> object:
    """A checksum of the values; None where there are none."""
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return None
    values = tensor.detach()
    values = values.to_dense() if values.layout is not torch.strided else values
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return zlib.crc32(values.resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().data)
