"""Functions that the workers of a pool run. A worker imports this module, which imports nothing that takes long."""

import os
import signal
from pathlib import Path


def square(x: int) -> int:
    return x * x


def die_once(marker: str) -> str:
    """Kill the process, as if it were out of memory, unless the marker exists."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker


def die(_job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def thread_settings() -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ.get("THP_MEM_ALLOC_ENABLE", "")
