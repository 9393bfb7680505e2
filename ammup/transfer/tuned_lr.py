"""The check of a tuned learning rate, without the imports of the rules."""

import math

from ammup.errors import InputError


def check_lr(lr: float) -> None:
    """Raise InputError unless a learning rate is positive and finite."""
    if not 0 < lr < math.inf:
        raise InputError(
            f"lr={lr!r} must be positive and finite",
            python="give the learning rate tuned at from_depth",
            option="give the learning rate that was tuned at the depth of --from",
        )
