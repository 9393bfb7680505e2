"""What a stored figure depends on besides the code, when two of them differ, and the JSON files that store them."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ammup.atomic import write_atomically
from ammup.validation import StoredModel

ENVIRONMENT = ("torch", "numpy", "device", "dtype")
# Two samples differ by more than this many standard errors of the difference once in ten million.
DRIFT_ERRORS = 5.3


class Environment(StoredModel):
    """Versions, device, dtype and threads of a process."""

    python: str | None = None
    torch: str
    numpy: str
    device: str
    dtype: str
    threads: int | None = None
    machine: str | None = None

    @property
    def relevant(self) -> tuple[str, ...]:
        """The values on which a figure depends by more than rounding."""
        return tuple(getattr(self, name) for name in ENVIRONMENT)


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


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write indented JSON atomically, one value a line, so that a diff shows what changed."""
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
