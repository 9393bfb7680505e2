"""The one exception for input that cannot be used, the checks that raise it most, and readers of untrusted texts."""

import json
import tomllib
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """What was given, what is allowed, and what to do, in one line.

    The command line prints it and ends with exit code 2.
    """


def check_known(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise InputError unless ``value`` is one of the allowed names of the argument ``name``."""
    names = tuple(allowed)
    if value not in names:
        raise InputError(f"{name}={value!r} is not known; allowed: {', '.join(names)}")


def check_level(level: float) -> None:
    """Raise InputError unless it is a confidence level."""
    if not 0 < level < 1:
        raise InputError(f"level={level} is not a confidence level; give a number between 0 and 1, such as 0.95")


def unknown(kind: str, name: str, names: Collection[str], where: str) -> InputError:
    """The error for a name that is not among too many to list: the nearest ones, and ``where`` the others are."""
    if not names:
        return InputError(f"{kind} {name!r} is not known: there are none here")
    near = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
    return InputError(f"{kind} {name!r} is not known; nearest of {len(names)}: {near}; {where}")


def parse_json(text: str | bytes, *, infinite: bool = False) -> Any:
    """What JSON says. Python's reader ends on deep nesting in its own way, and takes NaN and Infinity, which are none.

    Args:
        text: of JSON.
        infinite: take them all the same: Python's writer writes them.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=float if infinite else _refused)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML.

    Raises:
        InputError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}") from error
    except RecursionError as error:
        raise InputError("not TOML: it is nested too deeply") from error


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
