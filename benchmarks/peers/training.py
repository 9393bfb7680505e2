"""Compare the speed of ammup with that of other methods for training a grid of learning rates on the same machine.

Every method trains the same replicas (learning rates) of the same net from the same weights on the same minibatches,
with all cores. "obvious loop" is a plain PyTorch loop: Conv2d(padding_mode="circular"), a DataLoader and
torch.optim.SGD, one replica after another. "vmap" is torch.func's grad and vmap over stacked weights, as in its
tutorial on ensembles, eager and compiled. "JAX" is jit(vmap(scan)). "ours, loop" trains one replica after another in a
process with all threads, "ours, stacked" all replicas simultaneously, and "ours, processes" works like `ammup sweep`: a
process with one thread for each core, which uses the faster of the two.

First, the script checks in float64 that all methods give the same weights. Then they alternate in separate processes.
A table cell is the median, over the turns, of training images times replicas per second, and the compilation time. "<"
is the bound of a method that was stopped: after 120 seconds of its first turn, or 20 seconds of a later one. "failed"
marks a method that raised; the reason is printed. JAX must be installed (pip install jax).

    python -m benchmarks.peers.training --turns 5
    python -m benchmarks.peers.training --device cuda
"""

import argparse
import importlib.util
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from ammup.experiments.pool import LocalPool, _RecordingContext
from ammup.training.precision import precision
from benchmarks.peers.ways import BATCH, Case, Prepared, Weights, obvious, ours, vmapped


def _jax(case: Case) -> Prepared:
    from benchmarks.peers.in_jax import in_jax  # jax is optional

    return in_jax(case)


WAYS: dict[str, Callable[[Case], Prepared]] = {
    "obvious loop": obvious,
    "vmap, eager": partial(vmapped, compiled=False),
    "vmap, compiled": partial(vmapped, compiled=True),
    "JAX": _jax,
    "ours, loop": partial(ours, strategy="loop"),
    "ours, stacked": partial(ours, strategy="stacked"),
}
PROCESSES = "ours, processes"
SHAPES = {"mlp": (8, 8), "cnn": (10, 16), "resnet": (4, 16)}  # depth, side of the images
MAX_STEPS = 75  # the number of synthetic images suffices for these
FIRST_LIMIT, LIMIT = 120, 20  # seconds of the first turn, which compiles, and of the others; a slower method is stopped


_prepared: dict[tuple[str, Case], Prepared] = {}


def seconds(way: str, case: Case) -> float:
    """Seconds of one training of all replicas; the first call of a case also prepares and compiles."""
    start = time.perf_counter()
    if (way, case) not in _prepared:
        _prepared.clear()
        _prepared[way, case] = WAYS[way](case)
        start = time.perf_counter()
    with precision(torch.device(case.device), tf32=False):  # torch's own convolutions would be TF32 on a GPU
        _prepared[way, case].run()
    if case.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def outcome(way: str, case: Case) -> Weights:
    """The weights of all replicas after training."""
    prepared = WAYS[way](case)
    return prepared.weights(prepared.run())


_shares: dict[tuple[Case, tuple[float, ...]], Prepared] = {}


def share(case: Case, lrs: tuple[float, ...]) -> None:
    """Train the replicas of one worker with the strategy that was faster in the first call, as in a sweep."""
    if (case, lrs) in _shares:
        _shares[case, lrs].run()
        return
    _shares.clear()
    seconds = {}
    for strategy in ("loop", "stacked"):
        start = time.perf_counter()
        prepared = ours(case, strategy=strategy, lrs=lrs)
        prepared.run()
        seconds[prepared] = time.perf_counter() - start
    _shares[case, lrs] = min(seconds, key=seconds.__getitem__)


def in_processes(pools: list[LocalPool], case: Case) -> float:
    """Seconds of all replicas, distributed among the workers."""
    start = time.perf_counter()
    futures = [pool.submit(share, case, tuple(case.lrs[i :: len(pools)])) for i, pool in enumerate(pools)]
    for future in futures:
        future.result()
    return time.perf_counter() - start


class SingleProcess(LocalPool):
    """A process with all threads, which can be killed and restarted."""

    def __init__(self) -> None:
        self.context = _RecordingContext()  # for kill(); LocalPool itself would limit the process to one thread
        ProcessPoolExecutor.__init__(self, 1, mp_context=self.context)


def check_equality(case: Case, processes: dict[str, SingleProcess]) -> None:
    """Check in float64 that all methods give the same weights."""
    reference = processes["obvious loop"].submit(outcome, "obvious loop", case).result()
    for way, process in processes.items():
        for result, expected in zip(process.submit(outcome, way, case).result(), reference, strict=True):
            for name, weight in expected.items():
                np.testing.assert_allclose(result[name], weight, rtol=1e-8, atol=1e-11, err_msg=f"{way}: {name}")
    print(f"{case.family}: the same weights after {case.steps} steps in float64: {', '.join(processes)}", flush=True)


def in_turn(processes: dict[str, SingleProcess], way: str, case: Case, limit: float) -> float:
    """Seconds of one turn: minus the limit of a peer that exceeds it, NaN if it fails; the reason is printed."""
    try:
        return processes[way].submit(seconds, way, case).result(timeout=limit)
    except TimeoutError:
        images = BATCH * case.steps * case.replicas
        reason = f"stopped after {limit} seconds: fewer than {images / limit:.0f} images per second"
        processes[way].kill()
        processes[way] = SingleProcess()
        result = -limit
    except Exception as error:  # a peer can raise anything
        if way.startswith("ours"):
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
        result = float("nan")
    print(f"   {way}: {reason}", flush=True)
    return result


def compare(
    case: Case, turns: int, processes: dict[str, SingleProcess], pools: list[LocalPool]
) -> dict[str, tuple[float, float]]:
    """(Images × replicas per second, additional seconds of the first training) of each method.

    The rate is NaN if the method failed, and minus its upper bound if it was stopped.
    """
    ways = [*processes, *([PROCESSES] if pools else [])]
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way in ways:
            if times[way] and not times[way][-1] > 0:  # stopped or failed
                times[way].append(times[way][-1])
            elif way == PROCESSES:
                times[way].append(in_processes(pools, case))
            else:
                times[way].append(in_turn(processes, way, case, LIMIT if turn else FIRST_LIMIT))
    images = BATCH * case.steps * case.replicas
    # A method that was stopped in a later turn has only the bound of that turn.
    medians = {way: statistics.median(t[1:]) if t[-1] > 0 else t[-1] for way, t in times.items()}
    return {way: (images / medians[way], seconds[0] - medians[way]) for way, seconds in times.items()}


def _cell(rate: float, extra: float) -> str:
    if math.isnan(rate):
        return f"{'failed':>18}"
    return f"{rate:>11.0f} ({extra:>4.1f})" if rate > 0 else f"{f'< {-rate:.0f}':>18}"


def row(case: Case, names: list[str], rates: dict[str, tuple[float, float]]) -> str:
    """One line of the table."""
    finite = {way: rate for way, (rate, _) in rates.items() if rate > 0}
    best = max(rate for way, rate in finite.items() if way.startswith("ours"))
    others = [rate for way, rate in finite.items() if not way.startswith("ours")]
    cells = [_cell(*rates[name]) for name in names]
    ratios = [
        f"{best / rate:.2f}×" if rate else "unknown" for rate in (finite.get("obvious loop"), max(others, default=None))
    ]
    net = f"{case.family}, {case.width}, {case.side}×{case.side}, {case.replicas} rates"
    return "".join([f"{net:<28}", *cells, f"{ratios[0]:>14}{ratios[1]:>16}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--without", choices=WAYS, nargs="+", default=[], help="methods to exclude")
    parser.add_argument("--families", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--replicas", type=int, nargs="+", default=[4, 40])
    arguments = parser.parse_args()
    has_jax = importlib.util.find_spec("jax") is not None and arguments.device == "cpu"
    ways = [way for way in WAYS if way not in arguments.without and (way != "JAX" or has_jax)]
    processes = {way: SingleProcess() for way in ways}
    cores = len(os.sched_getaffinity(0)) if arguments.device == "cpu" else 0
    pools = [LocalPool(1) for _ in range(cores)]
    for family in ("mlp", "cnn", "resnet"):
        exact = Case(
            family=family, depth=3, width=8, side=8, replicas=3, steps=5, dtype="float64", device=arguments.device
        )
        check_equality(exact, processes)
    names = [*processes, *([PROCESSES] if pools else [])]
    print(
        f"\nimages × replicas per second (and additional seconds of the first turn), {arguments.device}, {cores} cores"
    )
    print("".join([f"{'net':<28}", *(f"{name:>18}" for name in names), f"{'ours/obvious':>14}{'ours/best peer':>16}"]))
    for family in arguments.families:
        depth, side = SHAPES[family]
        for width, replicas in itertools.product(arguments.widths, arguments.replicas):
            case = Case(
                family=family,
                depth=depth,
                width=8 * width if family == "mlp" else width,
                side=side,
                replicas=replicas,
                steps=MAX_STEPS if family == "mlp" else min(MAX_STEPS, max(2, 240 // (replicas * width // 8))),
                device=arguments.device,
            )
            print(row(case, names, compare(case, arguments.turns, processes, pools)), flush=True)
    for pool in [*processes.values(), *pools]:
        pool.shutdown()


if __name__ == "__main__":
    main()
