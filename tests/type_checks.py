"""The run-time checks of the package's signatures: shapes by jaxtyping, everything else by beartype alone.

jaxtyping checks the arguments of each call twice and binds them to the signature, also where no shape is annotated:
15 µs a call. A function without shapes needs none of that.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import config

# An int passes for a float as in Python's own typing rules.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_jaxtyped = jaxtyping.jaxtyped


def install() -> None:
    """Check the modules of the package that are imported from now on."""
    jaxtyping.jaxtyped = _decorator
    jaxtyping.install_import_hook("ammup", f"{__name__}.check")


def has_shapes(hint: Any) -> bool:
    """Whether a type contains one of jaxtyping's, or is a text, which may name one."""
    if isinstance(hint, str) or getattr(type(hint), "__name__", "") == "ForwardRef":
        return True
    if isinstance(hint, list | tuple):
        return any(map(has_shapes, hint))
    if isinstance(hint, type) and hint.__module__.startswith("jaxtyping"):
        return True
    inside = (*get_args(hint), getattr(hint, "__value__", None), getattr(hint, "__bound__", None))
    return any(has_shapes(one) for one in inside if one is not None)


def _decorator(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    with_shapes = _jaxtyped(typechecker=typechecker)

    def decorate(fn: Any) -> Any:
        plain = inspect.isfunction(fn) and not any(map(has_shapes, inspect.get_annotations(fn).values()))
        return _without_shapes(fn, typechecker) if plain else with_shapes(fn)

    return decorate


def _without_shapes(fn: Callable[..., Any], typechecker: Callable[..., Any]) -> Callable[..., Any]:
    checked = typechecker(fn)

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        if config.jaxtyping_disable or getattr(called, "__no_type_check__", False):
            return fn(*args, **kwargs)
        return checked(*args, **kwargs)

    return called
