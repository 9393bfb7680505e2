"""Random streams that depend on a key and on nothing else: no global state, no order of calls."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def random_stream(*key: object) -> torch.Generator:
    """A CPU generator that depends on ``key`` and on nothing else."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """The global generators of torch seeded from ``key`` inside, and as they were afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(random_stream(*key).initial_seed())
        yield
