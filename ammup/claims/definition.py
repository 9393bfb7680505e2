"""A digest of what a claim measures: the data that its functions refer to, not the text that describes them.

A claim's rows and its statistic are functions: bound methods of a setting, closures, or functions of its module. Their
description holds what they are applied to (settings, depths, weights, regions) and the names that they use. It holds
neither prose, nor module paths, nor addresses, nor byte code, so the digest is the same on every machine and with every
version of Python, and after a module is moved.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Iterator
from numbers import Integral, Real
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

# Digits of a number: weights are computed with logarithms, whose last digit differs between machines.
DIGITS = 9


def digest(*parts: object) -> str:
    """16 hexadecimal digits that change with the description of the parts."""
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def describe(value: object, seen: frozenset[object] = frozenset()) -> Any:
    """The value as JSON: data as they are, a function as what it refers to.

    Args:
        value: data, a dataclass, or a function.
        seen: the functions around it; a recursive function is described once.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return f"{float(value):.{DIGITS}g}"
    if isinstance(value, np.ndarray):
        return ["array", describe(value.tolist(), seen)]
    if isinstance(value, tuple | list | range):
        return [describe(item, seen) for item in value]
    if isinstance(value, dict):
        return {str(name): describe(item, seen) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [type(value).__name__, describe(fields, seen)]
    return _describe_callable(value, seen)


def _describe_callable(value: object, seen: frozenset[object]) -> Any:
    """A function, method or partial; of anything else its name or that of its type."""
    if isinstance(value, functools.partial):
        return [describe(part, seen) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, MethodType):
        return [describe(value.__self__, seen), value.__name__]
    plain = inspect.unwrap(value) if callable(value) else value
    if not isinstance(plain, FunctionType):
        return str(getattr(value, "__name__", type(value).__name__))
    return plain.__name__ if plain in seen else _describe_function(plain, seen | {plain})


def _describe_function(function: FunctionType, seen: frozenset[object]) -> Any:
    code = function.__code__
    names = sorted(set(_names(code)))
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    closure = dict(zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))
    return {
        "name": function.__name__,
        "names": names,
        "closure": describe(closure, seen),
        "defaults": describe(function.__defaults__, seen),
        "data": describe({name: one for name, one in used.items() if _belongs(one, function.__module__)}, seen),
    }


def _belongs(value: object, module: str) -> bool:
    """Whether a global is part of the definition: data, or another function of the same module."""
    if callable(value):
        return isinstance(inspect.unwrap(value), FunctionType) and value.__module__ == module
    return isinstance(value, int | float | str | tuple) or dataclasses.is_dataclass(value)


def _names(code: CodeType) -> Iterator[str]:
    """Globals and attributes that the code and the functions inside it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
