"""Sweeps on a Dask cluster: a laptop's LocalCluster, Slurm, Kubernetes, one worker for each GPU."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ammup.errors import InputError

CONNECT_SECONDS = 5.0


@contextmanager
def dask_executor(scheduler: str) -> Iterator[Executor]:
    """The workers behind a scheduler's address as a `concurrent.futures` executor.

    Raises:
        InputError: `distributed` is not installed, or nobody answers at that address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("--scheduler needs Dask: pip install 'ammup[dask]'") from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        # Blocks are not pure in Dask's sense: their results carry the seconds they took.
        yield client.get_executor(pure=False)  # type: ignore[no-untyped-call]
