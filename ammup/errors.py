"""The one exception for input that cannot be used, and the check that raises it most."""

from collections.abc import Iterable


class InputError(ValueError):
    """What was given, what is allowed, and what to do, in one line.

    The command line prints it and ends with exit code 2.
    """


def check_known(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise InputError unless ``value`` is one of the allowed names of the argument ``name``."""
    names = tuple(allowed)
    if value not in names:
        raise InputError(f"{name}={value!r} is not known; allowed: {', '.join(names)}")
