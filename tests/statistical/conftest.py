"""Use all cores: the nets of these tests are wide enough for several threads.

The test processes share the cores evenly, because more threads than cores would be about ten times slower.
"""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    yield
    torch.set_num_threads(before)
