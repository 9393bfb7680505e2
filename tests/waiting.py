"""Waits that end: for a condition, within a limit."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, limit: float = 120.0, every: float = 0.02) -> None:
    """Return once the condition is true; fail where it is not within ``limit`` seconds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"the condition was still false after {limit:g} seconds"
        time.sleep(every)
