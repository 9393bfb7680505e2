"""Settings of glibc's allocator that prevent it from returning freed memory to the operating system after every step.

glibc immediately returns each freed block of more than 32 MiB, so the next step has page faults when it allocates the
block again. With 64 channels, 32×32 images and batch size 128, the page faults take a quarter of a training step
(`python benchmarks/training_step.py`). The settings apply to the entire process and cannot be read back. Only a process
that is started for training may change them, such as a sweep worker or a benchmark, never the process of a caller.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt. Setting any of them permanently disables glibc's dynamic adjustment of its thresholds. So _KEEP
# is reset to _ADAPTED, the values that the adjustment reaches in a process that frees large blocks.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_MAX: 0}
_ADAPTED = {_TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 0, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}


def keep_freed_memory() -> None:
    """Prevent glibc from returning freed memory of this process from now on. No effect if libc is not glibc."""
    libc = _glibc()
    if libc is not None:
        _set(libc, _KEEP)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """A context in which freed memory is not returned until its end, for benchmarks that compare both behaviours."""
    keep_freed_memory()
    try:
        yield
    finally:
        libc = _glibc()
        if libc is not None:
            _set(libc, _ADAPTED)
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)
