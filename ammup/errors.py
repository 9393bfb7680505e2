"""The exception for invalid input, and the most frequent checks that raise it."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from numbers import Integral


class InputError(ValueError):
    """Invalid input. The message states in one line what was given, what is allowed and what to do.

    The command line prints ``command_line`` and exits with code 2.

    Args:
        message: what was given and what is allowed; also what to do, if that is the same for all users.
        python: what to do in Python, such as passing an argument; part of the message.
        option: what to do instead on the command line, such as passing an option.

    Attributes:
        command_line: the message for users of the command line.
    """

    def __init__(self, message: str, *, python: str = "", option: str = "") -> None:
        super().__init__("; ".join(filter(None, (message, python))))
        self.command_line = "; ".join(filter(None, (message, option)))

    def prefixed(self, prefix: str) -> "InputError":
        """The same error with a text before its messages, such as the name of a file."""
        error = InputError(f"{prefix}{self}")
        error.command_line = f"{prefix}{self.command_line}"
        return error


class UnreliableTransfer(UserWarning):
    """A learning rate was transferred by a rule whose measurement is unreliable. The message gives a reason."""


def check_known(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise InputError unless ``value`` is one of the allowed names of the argument ``name``."""
    names = tuple(allowed)
    if value not in names:
        raise InputError(f"unknown {name}={value!r}; expected one of: {', '.join(names)}")


def check_level(level: float) -> None:
    """Raise InputError unless ``level`` is a confidence level, a number between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level={level}: expected a confidence level between 0 and 1, such as 0.95")


def checked_integer(name: str, value: object, *, at_least: int) -> int:
    """Return the argument ``name`` as a Python int, because NumPy's integers overflow.

    Raises:
        InputError: the value is not an integer, or is below ``at_least``.
    """
    if not isinstance(value, Integral) or value < at_least:
        raise InputError(f"{name}={value!r}: expected an integer of at least {at_least}")
    return int(value)


def unknown(kind: str, name: str, names: Collection[str], where: str) -> InputError:
    """Return the error for an unknown name. Its message lists the most similar of the allowed names.

    Args:
        kind: what the name identifies, such as "claim".
        name: the unknown name.
        names: the allowed names.
        where: the end of the message, which states where to find all names.
    """
    if not names:
        return InputError(f"unknown {kind} {name!r}: there is no {kind}")
    similar = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
    return InputError(f"unknown {kind} {name!r}; nearest of {len(names)}: {similar}; {where}")
