# ruff: noqa: NPY002  (users' models draw from the global generator of NumPy)
"""Random streams that depend only on a key, not on global state or the order of calls."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_stream(*key: object) -> torch.Generator:
    """A CPU generator that is seeded from ``key``."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python from ``key`` in the context; restore them afterwards."""
    with RandomState(*key).restored():
        yield


class RandomState:
    """A resumable state of the global generators of torch, NumPy and Python, first seeded from ``key``."""

    def __init__(self, *key: object) -> None:
        self.seed = random_stream(*key).initial_seed()
        self.saved: tuple[Tensor, list[Tensor], Any, Any] | None = None

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Continue the stream in the context where the last one ended; restore the global generators afterwards."""
        initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        devices = range(torch.cuda.device_count()) if initialized else ()
        outside = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=devices):
            try:
                self._resume()
                yield
                cuda = [torch.cuda.get_rng_state(device) for device in devices]
                self.saved = torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()
            finally:
                random.setstate(outside[0])
                np.random.set_state(outside[1])

    def _resume(self) -> None:
        if self.saved is None:
            _seed_torch(self.seed)
            random.seed(self.seed)
            np.random.seed(self.seed % 2**32)
            return
        cpu, cuda, python, numpy = self.saved
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
        random.setstate(python)
        np.random.set_state(numpy)


def _seed_torch(seed: int) -> None:
    """``torch.manual_seed``, which without an accelerator formats the stack for three devices that will never start."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
