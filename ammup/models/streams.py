# ruff: noqa: NPY002  (users' models draw from the global generator of NumPy)
"""Random streams that depend on a key and on nothing else: no global state, no order of calls."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_stream(*key: object) -> torch.Generator:
    """A CPU generator that depends on ``key`` and on nothing else."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """The global generators of torch, NumPy and Python seeded from ``key`` inside, and restored afterwards."""
    with RandomState(*key).restored():
        yield


class RandomState:
    """A state of the global generators of torch, NumPy and Python, first seeded from ``key``, that can be resumed."""

    def __init__(self, *key: object) -> None:
        self.seed = random_stream(*key).initial_seed()
        self.left: tuple[Tensor, list[Tensor], Any, Any] | None = None

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Continue inside from where it was left; afterwards the generators are restored."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        outside = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=devices):
            try:
                self._resume()
                yield
                cuda = [torch.cuda.get_rng_state(device) for device in devices]
                self.left = torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()
            finally:
                random.setstate(outside[0])
                np.random.set_state(outside[1])

    def _resume(self) -> None:
        if self.left is None:
            torch.manual_seed(self.seed)
            random.seed(self.seed)
            np.random.seed(self.seed % 2**32)
            return
        cpu, cuda, python, numpy = self.left
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
        random.setstate(python)
        np.random.set_state(numpy)
