"""The one exception for input that cannot be used, and the checks that raise it most."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from numbers import Integral


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


def checked_whole(name: str, value: object, *, at_least: int) -> int:
    """The argument ``name`` as a Python int: NumPy's integers overflow.

    Raises:
        InputError: no whole number, or one below ``at_least``.
    """
    if not isinstance(value, Integral) or value < at_least:
        raise InputError(f"{name}={value!r} must be a whole number of at least {at_least}")
    return int(value)


def unknown(kind: str, name: str, names: Collection[str], where: str) -> InputError:
    """The error for a name that is not among too many to list: the nearest ones, and ``where`` the others are."""
    if not names:
        return InputError(f"{kind} {name!r} is not known: there are none here")
    near = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
    return InputError(f"{kind} {name!r} is not known; nearest of {len(names)}: {near}; {where}")
