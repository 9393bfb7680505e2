"""Freed memory stays inside, and goes back afterwards."""

import subprocess
import sys

import pytest

from ammup.training import allocator as memory

_PROBE = """
import resource, torch
from ammup.training.allocator import freed_memory_kept
def faults(n=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / n
def resident():
    return int(open("/proc/self/statm").read().split()[1])
outside = faults()
with freed_memory_kept():
    faults(2)
    inside = faults()
    held = resident()
print(outside, inside, held, resident())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="not glibc")
def test_blocks_of_64_mib_fault_now_and_then_inside_and_every_time_outside() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    outside, inside, held, left = (float(value) for value in done.stdout.split())
    pages = (64 << 20) / 4096
    assert outside > 0.5 * pages or outside > 0.5 * pages / 512  # with huge pages there are 512 times fewer
    assert inside < 0.5 * outside  # the heap grows by a block now and then
    assert held - left > 0.5 * pages


def test_where_libc_is_not_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.freed_memory_kept():
        pass
