"""Keeping the memory of activations from going back to the operating system after every step, in processes of ours.

glibc returns each freed block of more than 32 MiB at once, and the next step pays for it again, page fault by page
fault: at 64 channels of 32×32 images and batch 128 that is a quarter of a training step
(`python benchmarks/training_step.py`). glibc's settings belong to the whole process and cannot be read back, so only a
process that exists to train may change them: a worker of a sweep, or a benchmark. Never the process of a caller.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt. Setting one ends glibc's own adaptation of its thresholds for good; what is set afterwards is
# what it adapts to in a process that frees large blocks.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_MAX: 0}
_ADAPTED = {_TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 0, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}


def keep_freed_memory() -> None:
    """Keep freed memory in this process from now on. Does nothing where libc is not glibc."""
    libc = _glibc()
    if libc is not None:
        _set(libc, _KEEP)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """The same inside only, and give the memory back afterwards: for a benchmark that compares both."""
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
