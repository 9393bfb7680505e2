"""One cell of the table of benchmarks/gpu.py: a method that trains a grid of learning rates on a device, timed."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ammup.training import cuda_graph
from ammup.training.precision import precision
from benchmarks.peers.ways import BATCH, Case, Prepared, obvious, ours, vmapped
from benchmarks.tracked.kernel import product_peak


@contextmanager
def peer_precision(case: Case) -> Iterator[None]:
    """The dtype of the case for a method of torch without settings of its own."""
    # With its cache, autocast would compute all steps with the bfloat16 weights of the first one.
    lower = torch.autocast(case.device, torch.bfloat16, enabled=case.dtype == "bfloat16", cache_enabled=False)
    with precision(torch.device(case.device), tf32=case.dtype == "tf32"), lower:
        yield


def in_peer_precision(way: Callable[[Case], Prepared], case: Case) -> Prepared:
    """The method, in the dtype of the case."""
    prepared = way(case)

    def run() -> Any:
        with peer_precision(case):
            return prepared.run()

    return Prepared(run=run, weights=prepared.weights)


def stacked(case: Case, *, recorded: bool) -> Prepared:
    """The stack, with or without a recorded graph. On a CPU, which has no graphs, both are the same.

    Raises:
        RuntimeError: no step was recorded on a GPU.
    """
    prepared = ours(case, strategy="stacked")

    def run() -> Any:
        record, helps, count = cuda_graph.record, cuda_graph.recording_helps, 0

        def counted(*arguments: Any) -> Any:
            nonlocal count
            result = record(*arguments)
            count += 1
            return result

        cuda_graph.record = counted
        cuda_graph.recording_helps = lambda device: recorded and helps(device)
        try:
            trained = prepared.run()
        finally:
            cuda_graph.record, cuda_graph.recording_helps = record, helps
        if recorded and not count and case.device != "cpu":
            raise RuntimeError("no step was recorded")
        return trained

    return Prepared(run=run, weights=prepared.weights)


def in_jax(case: Case) -> Prepared:
    from benchmarks.peers.in_jax import in_jax  # jax is optional

    return in_jax(case)


WAYS: dict[str, Callable[[Case], Prepared]] = {
    "obvious loop": partial(in_peer_precision, obvious),
    "ours, loop": partial(ours, strategy="loop"),
    "ours, stacked": partial(stacked, recorded=False),
    "ours, recorded": partial(stacked, recorded=True),
    "vmap": partial(in_peer_precision, partial(vmapped, compiled=False)),
    "vmap, compiled": partial(in_peer_precision, partial(vmapped, compiled=True)),
    "JAX": in_jax,
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured cell.

    Attributes:
        seconds: median time of a training of all replicas, after the first one.
        first: seconds of the first training, which compiles.
        images_per_second: training images times replicas per second.
    """

    seconds: float
    first: float
    images_per_second: float


def measure(way: str, case: Case, turns: int) -> dict[str, float]:
    """Time a method; runs in a separate process."""
    prepared = WAYS[way](case)
    times = [_seconds(prepared, case) for _ in range(turns + 1)]
    seconds = statistics.median(times[1:])
    if case.device != "cpu":
        del prepared
        torch.cuda.empty_cache()  # the other methods' processes use the same device
    rate = BATCH * case.steps * case.replicas / seconds
    return asdict(Measured(seconds=seconds, first=times[0], images_per_second=rate))


def _seconds(prepared: Prepared, case: Case) -> float:
    start = time.perf_counter()
    prepared.run()
    if case.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peaks(device: str, dtype: str, size: int) -> tuple[float, float]:
    """(Operations per second of a matrix product of this dtype, bytes per second of a copy) of the device."""
    with precision(torch.device(device), tf32=dtype == "tf32"):
        product = product_peak("float32" if dtype == "tf32" else dtype, device, n=size)
    source = torch.zeros(16 * size**2, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return product, 2 * len(source) / best


def roofline_rate(case: Case, product: float, bandwidth: float) -> float:
    """Images per second of a step at the roofline: the slower of its operations and of the memory they must access.

    Each of the three products of a layer (forward, gradient of the input, gradient of the weight) reads or writes its
    input and its output once. Weights, activation functions and the optimizer are not counted.
    """
    model, elements = case.model().to(case.device), 0
    images = torch.zeros(2, 3, case.side, case.side, device=case.device)

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal elements
        elements += 3 * (inputs[0].numel() + output.numel()) // len(images)

    for module in model.modules():
        if any(p.ndim > 1 for p in module.parameters(recurse=False)):
            module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(images), torch.zeros(2, dtype=torch.int64, device=case.device)).backward()
    operations = counter.get_total_flops() / len(images)
    width = 2 if case.dtype == "bfloat16" else 4
    return 1 / max(operations / product, width * elements / bandwidth)
