"""The one exception for input that cannot be used."""


class InputError(ValueError):
    """What was given, what is allowed, and what to do, in one line.

    The command line prints it and ends with exit code 2.
    """
