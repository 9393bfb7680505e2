"""What a stored figure depends on besides the code, when two of them differ, and the files that keep them."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ENVIRONMENT = ("torch", "numpy", "device", "dtype")
# Two samples differ by more than so many standard errors of the difference once in ten million.
DRIFT_ERRORS = 5.3


def environment() -> dict[str, Any]:
    """Versions, device, dtype and threads of this process."""
    import torch

    from ammup.models.device import default_device

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": default_device(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a file for people to read in a diff, whole or not at all."""
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(path)
