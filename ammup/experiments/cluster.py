"""Run sweeps on a Dask cluster, such as a LocalCluster, Slurm or Kubernetes, with one worker for each GPU."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ammup.errors import InputError

CONNECT_SECONDS = 5.0


@contextmanager
def dask_executor(scheduler: str) -> Iterator[Executor]:
    """Connect to a Dask scheduler and return its workers as a `concurrent.futures` executor.

    Args:
        scheduler: address of the scheduler, such as "tcp://head:8786".

    Raises:
        InputError: `distributed` is not installed, or no scheduler answers at the address.
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
        # Dask must not cache results (pure=False): they contain the measured seconds.
        yield client.get_executor(pure=False)  # type: ignore[no-untyped-call]
