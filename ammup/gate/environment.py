"""The environment of a measurement (versions, device, dtype), and the JSON files that store measured values."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ammup.atomic import write_atomically
from ammup.validation import StoredModel

# The fields of an environment on which a measured value depends by more than rounding.
ENVIRONMENT = ("torch", "numpy", "device", "dtype")
# Two independent estimates of the same quantity differ by more than this many standard errors of their difference with
# probability 1e-7.
DRIFT_ERRORS = 5.3


class Environment(StoredModel):
    """The versions, device, dtype and number of threads of a process."""

    python: str | None = None
    torch: str
    numpy: str
    device: str
    dtype: str
    threads: int | None = None
    machine: str | None = None

    @property
    def relevant(self) -> tuple[str, ...]:
        """The values of the fields in ``ENVIRONMENT``."""
        return tuple(getattr(self, name) for name in ENVIRONMENT)

    def differences(self, other: "Environment") -> str:
        """The relevant fields that differ from another environment, such as "torch 2.8 instead of 2.9"; "" if none."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in ENVIRONMENT)
        return ", ".join(f"{name} {mine} instead of {theirs}" for name, mine, theirs in pairs if mine != theirs)


def environment() -> Environment:
    """The environment of this process."""
    import torch

    from ammup.models.device import default_device

    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=np.__version__,
        device=default_device(),
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        threads=torch.get_num_threads(),
        machine=platform.machine(),
    )


def in_continuous_integration() -> bool:
    """Whether the environment variable CI is set to anything but 0, false, no or off, as CI services set it."""
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no", "off")


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write indented JSON atomically, with one value per line so that a diff shows the changed values.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
