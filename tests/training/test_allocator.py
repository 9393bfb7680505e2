"""Freed memory stays in the process inside the context and is returned at its end."""

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
    resident_inside = resident()
print(outside, inside, resident_inside, resident())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="not glibc")
def test_page_faults_are_rare_inside_the_context() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    outside, inside, resident_inside, resident_after = (float(value) for value in done.stdout.split())
    pages = (64 << 20) / 4096
    assert outside > 0.5 * pages or outside > 0.5 * pages / 512  # with huge pages there are 512 times fewer
    assert inside < 0.5 * outside  # not 0, because the heap occasionally grows
    assert resident_inside - resident_after > 0.5 * pages


def test_without_glibc_the_context_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.freed_memory_kept():
        pass
