"""Random streams that depend on a key and on nothing else: no global state, no order of calls."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def random_stream(*key: object) -> torch.Generator:
    """A CPU generator that depends on ``key`` and on nothing else."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """The global generators of torch seeded from ``key`` inside, and as they were afterwards."""
    with RandomState(*key).restored():
        yield


class RandomState:
    """A state of torch's global generators, first seeded from ``key``, that can be left and come back to."""

    def __init__(self, *key: object) -> None:
        self.seed = random_stream(*key).initial_seed()
        self.left: tuple[Tensor, list[Tensor]] | None = None

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Go on inside from where it was left; afterwards the generators are as they were before."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=devices):
            if self.left is None:
                torch.manual_seed(self.seed)
            else:
                cpu, cuda = self.left
                torch.set_rng_state(cpu)
                torch.cuda.set_rng_state_all(cuda)
            yield
            self.left = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]
