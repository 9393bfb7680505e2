"""A digest of the definition of a claim: of the data and functions that it uses, not of the texts that describe it.

The rows and the statistic of a claim are functions: bound methods of a setting, closures, or functions of a module. The
description of a function consists of its name, the names that it uses, and the values behind them: settings, depths,
weights, regions, default arguments, and the functions of the same package that it calls. Docstrings, module paths,
addresses and byte code are left out, so the digest is the same on every machine and with every version of Python, and
it does not change when a function moves to another module of its package.
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

# Significant digits of a number. Some weights are computed with logarithms, whose last digit differs between machines.
DIGITS = 9
# The names under which renamed functions and methods are described, so that a rename changes no digest.
FORMER_NAMES = {
    "_bound_excess": "_titu",
    "_growth_over_recursion": "_over_recursion",
    "_total_and_part_sum": "_parts",
    "mean_square": "_mean_square",
    "tangent_moments": "_tangent_moments",
    "unit_vjp": "pulled_back",
    "with_arguments": "having",
}

# Names that pytest adds to functions with an assert statement, if it rewrites those of the package. They are left out,
# so that a digest is the same in tests and on the command line.
ADDED_BY_PYTEST = {
    "@py_builtins",
    "@pytest_ar",
    "AssertionError",
    "locals",
    "_call_assertion_pass",
    "_call_reprcompare",
    "_format_assertmsg",
    "_format_boolop",
    "_format_explanation",
    "_saferepr",
    "_should_repr_global_name",
}


def digest(*parts: object) -> str:
    """The BLAKE2b digest of the description of the parts, as 16 hexadecimal digits."""
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def describe(value: object, seen: frozenset[object] = frozenset()) -> Any:
    """The value as JSON types. Data are converted, and a function becomes its name with everything it refers to.

    Args:
        value: data, a dataclass, or a function.
        seen: the functions that are being described. They are represented by their names, so that recursion ends.
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
    """Describe a function, method or partial. Any other object is represented by its name or the name of its type."""
    if isinstance(value, functools.partial):
        return [describe(part, seen) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, MethodType):
        return [describe(value.__self__, seen), _described_name(value.__name__)]
    function = inspect.unwrap(value) if callable(value) else value
    if not isinstance(function, FunctionType):
        return str(getattr(value, "__name__", type(value).__name__))
    if function in seen:
        return _described_name(function.__name__)
    return _describe_function(function, seen | {function})


def _describe_function(function: FunctionType, seen: frozenset[object]) -> Any:
    code = function.__code__
    names = set(_names(code)) - ADDED_BY_PYTEST
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    data = {_described_name(name): one for name, one in used.items() if _is_described(one, function.__module__)}
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    return {
        "name": _described_name(function.__name__),
        "names": sorted(_described_name(name) for name in names),
        "closure": describe(dict(zip(code.co_freevars, cells, strict=True)), seen),
        "defaults": describe(function.__defaults__, seen),
        "data": describe(data, seen),
    }


def _described_name(name: str) -> str:
    return FORMER_NAMES.get(name, name)


def _is_described(value: object, module: str) -> bool:
    """Whether a global belongs to the definition: data, or a function of the same module or package."""
    if callable(value):
        return isinstance(inspect.unwrap(value), FunctionType) and _package(value.__module__) == _package(module)
    return isinstance(value, int | float | str | tuple) or dataclasses.is_dataclass(value)


def _package(module: str) -> str:
    """The package of a module; a top-level module stands for itself."""
    return module.rpartition(".")[0] or module


def _names(code: CodeType) -> Iterator[str]:
    """The names of the globals and attributes that the code and its nested functions use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
