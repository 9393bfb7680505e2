"""The strict oracle of "the model is left as it was", run over every model that a test hands to the package.

It shares no code with ammup.models.state: it describes a model before and after a call, and the descriptions must be
equal. Python's own random generator is left out, for the type checks of the tests draw from it; tests/test_manners.py
checks it in a process without them.
"""

import functools
import os
import random
import sys
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# (module, function, how to find the models among its arguments)
CHECKED: tuple[tuple[str, str, Callable[..., Sequence[nn.Module]]], ...] = (
    ("ammup.measurement.updates", "measure_draws", lambda models, *_, **__: models),
    ("ammup.measurement.finite_step", "check_finite_step", lambda model, *_, **__: [model]),
    ("ammup.measurement.param_groups", "param_groups", lambda model, *_, **__: [model]),
    ("ammup.measurement.sharpness", "measure_sharpness", lambda model, *_, **__: [model]),
    ("ammup.models.depth", "structure_of", lambda model, *_, **__: [model]),
)
DRAWS = 2


def described(model: nn.Module) -> dict[str, object]:
    """Everything about a model and the global state of torch, NumPy and Python that a measurement must not change."""
    found: dict[str, object] = {
        "random torch": torch.get_rng_state().numpy().tobytes(),
        "random numpy": [_content(part) or part for part in np.random.get_state()],  # noqa: NPY002
        "gradient mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
    }
    for path, module in model.named_modules(remove_duplicate=False):
        found[f"{path} training"] = module.training
        for table in ("_parameters", "_buffers", "_modules"):
            for name, held in getattr(module, table).items():
                found[f"{path}.{name} in {table}"] = (id(held), _content(held))
        for name, value in vars(module).items():
            found[f"{path}.{name}"] = (id(value), _content(value))
    return found


def _content(value: Any, depth: int = 0) -> object:
    if type(value) in weakref.ProxyTypes:
        return None
    if isinstance(value, dict | list | tuple | deque | set):
        return _items(value, depth), _attributes(value) if depth == 0 else None
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, random.SystemRandom):
        return None
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if depth == 0 and not isinstance(value, nn.Module | type) and not callable(value):
        return _attributes(value)
    return None


def _items(container: Any, depth: int) -> object:
    if isinstance(container, dict):
        return [(repr(key), id(held), _content(held, depth)) for key, held in container.items()]
    if isinstance(container, set):
        return sorted(repr(held) for held in container)
    return [(id(held), _content(held, depth)) for held in container]


def _attributes(value: Any) -> object:
    slots = [name for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)]
    held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}
    return [(name, id(item), _content(item, 1)) for name, item in held.items()]


def _tensor(tensor: Tensor) -> object:
    lazy = isinstance(tensor, nn.parameter.UninitializedTensorMixin)
    if lazy or tensor.is_meta or tensor.layout is not torch.strided:
        return None
    flags = (tensor.dtype, tensor.shape, tensor.stride(), tensor.device, tensor.requires_grad, tensor._version)
    gradient = tensor.grad if tensor.is_leaf else None
    flags += (tensor.is_leaf, repr(tensor._backward_hooks))
    return flags, tensor.data_ptr(), _bits(tensor), id(gradient), None if gradient is None else _bits(gradient)


def _bits(tensor: Tensor) -> int:
    values = tensor.detach().cpu().contiguous().reshape(-1)
    if values.is_complex():
        values = torch.view_as_real(values).reshape(-1)
    return zlib.crc32(values.view(torch.uint8).numpy().data)


@contextmanager
def left_as_they_were(models: Sequence[nn.Module]) -> Iterator[None]:
    """Assert that what runs inside leaves the models and the global state as they were, also when it raises."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    before = [described(model) for model in modules]
    try:
        yield
    finally:
        for model, expected in zip(modules, before, strict=True):
            after = described(model)
            changed = [name for name in expected.keys() | after.keys() if expected.get(name) != after.get(name)]
            assert not changed, f"{type(model).__name__} was changed: {sorted(changed)}"


def install() -> None:
    """Check the models of every call of the functions above, wherever the package calls them from."""
    for home, name, models in CHECKED:
        __import__(home)
        original = getattr(sys.modules[home], name)
        checked = _checking(original, models)
        for module in [m for n, m in sys.modules.items() if n == "ammup" or n.startswith("ammup.")]:
            if vars(module).get(name) is original:
                setattr(module, name, checked)


def _checking(function: Callable[..., Any], models: Callable[..., Sequence[nn.Module]]) -> Callable[..., Any]:
    seen: Counter[tuple[object, ...]] = Counter()

    @functools.wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        # Of many draws of one net in one test the first ones are enough.
        found = []
        for model in models(*arguments, **options):
            if isinstance(model, nn.Module):
                kind = (os.environ.get("PYTEST_CURRENT_TEST"), type(model), len(list(model.modules())), model.training)
                seen[kind] += 1
                found += [model] if seen[kind] <= DRAWS else []
        with left_as_they_were(found):
            return function(*arguments, **options)

    return checked
